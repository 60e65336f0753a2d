"""Ed25519 signing keys: make a pair of files, load either.

Source: RFC 8032 (Ed25519), RFC 8410 (its PKCS#8 and SubjectPublicKeyInfo forms), RFC 7468 (PEM).

A development key is one made for trying out. The fact lies in the key itself: the first half of its secret
is one published constant, so that no change of file, name or format loses it, and every signer that holds
the key sees it. (128 secret bits remain.)

Not covered: keys in hardware or a key service, passphrases, revocation.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from expunge.certify._new_file import write_new
from expunge.core.digest import sha256
from expunge.core.errors import StorageFailed, UsageError

DEFAULT_NAME = "signing-key"
_DEVELOPMENT_SEED = hashlib.sha256(b"expunge development key, version 1").digest()[:16]
_DEVELOPMENT_NOTE = b"expunge development key: for trying out, worth nothing to anyone else\n"
_MAX_BYTES = 1 << 16  # a PEM key takes a few hundred bytes; reading stops here whatever the file is


@dataclass(frozen=True)
class SigningKey:
    """A private key; never shown, never serialised."""

    private: Ed25519PrivateKey = field(repr=False)

    @property
    def key_id(self) -> str:
        """The id of its public half."""
        return key_id(self.private.public_key())

    @property
    def development(self) -> bool:
        """Whether it was made for trying out."""
        return self.private.private_bytes_raw().startswith(_DEVELOPMENT_SEED)

    @property
    def public_pem(self) -> bytes:
        """What stands in the file of its public half."""
        return _public_pem(self.private.public_key())

    def sign(self, message: bytes) -> bytes:
        """Return the signature, 64 bytes; the same message gives the same signature."""
        return self.private.sign(message)


@dataclass(frozen=True)
class KeyFiles:
    """Where a new pair lies, and its id."""

    private: Path
    public: Path
    key_id: str


def key_id(public: Ed25519PublicKey) -> str:
    """Return the id of a public key: SHA-256 of its 32 raw bytes, in hex."""
    return sha256(public.public_bytes_raw())


def generate(path: Path, *, development: bool = False) -> KeyFiles:
    """Write a new pair to ``path`` (a folder, or the name of the private file) and ``path`` + ``.pub``.

    The private file is for its owner alone (mode 0600). Nothing is ever overwritten.

    Raises:
        UsageError: one of the two files exists.
        StorageFailed: they cannot be written; none is left behind.
    """
    target = path / DEFAULT_NAME if path.is_dir() else path
    public = target.with_name(f"{target.name}.pub")
    for file in (target, public):
        if file.exists():
            raise UsageError(
                "a key file is never overwritten",
                where=str(file),
                fix="choose another name, or move the old pair away",
            )
    note = _DEVELOPMENT_NOTE if development else b""
    seed = _DEVELOPMENT_SEED + secrets.token_bytes(16) if development else secrets.token_bytes(32)
    key = Ed25519PrivateKey.from_private_bytes(seed)
    write_new(target, note + _private_pem(key), mode=0o600)
    try:
        write_new(public, note + _public_pem(key.public_key()), mode=0o644)
    except (StorageFailed, UsageError):
        target.unlink()
        raise
    return KeyFiles(target, public, key_id(key.public_key()))


def load_private(path: Path) -> SigningKey:
    """Return the private key in a PEM file.

    Raises:
        UsageError: no such file, or it holds something else; says what.
    """
    data = _read_pem(path, label="PRIVATE KEY", kind="private")
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise _not_a_key(path, found="a damaged private key", kind="private") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise _not_a_key(path, found=f"a key of another kind ({_kind(key)})", kind="private")
    return SigningKey(key)


def load_public(path: Path) -> Ed25519PublicKey:
    """Return the public key in a PEM file.

    Raises:
        UsageError: no such file, or it holds something else; says what.
    """
    data = _read_pem(path, label="PUBLIC KEY", kind="public")
    try:
        key = serialization.load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        raise _not_a_key(path, found="a damaged public key", kind="public") from None
    if not isinstance(key, Ed25519PublicKey):
        raise _not_a_key(path, found=f"a key of another kind ({_kind(key)})", kind="public")
    return key


def _private_pem(key: Ed25519PrivateKey) -> bytes:
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def _public_pem(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _read_pem(path: Path, *, label: str, kind: str) -> bytes:
    if path.is_dir():
        raise _not_a_key(path, found="a folder", kind=kind)
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES)
    except OSError as error:
        raise UsageError(
            f"cannot read the {kind} key",
            where=str(path),
            found=error.strerror or type(error).__name__,
            expected=f"a file with one Ed25519 {kind} key in PEM form",
            fix="give the path of a key file; `expunge keygen` makes a pair",
        ) from None
    labels = [found.decode() for found in re.findall(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----", data)]
    if labels != [label]:
        found = ", ".join(f"a PEM block called {name}" for name in labels) or "no PEM block"
        raise _not_a_key(path, found=found, kind=kind)
    return data


def _kind(key: object) -> str:
    return type(key).__name__.removesuffix("PrivateKey").removesuffix("PublicKey").strip("_")


def _not_a_key(path: Path, *, found: str, kind: str) -> UsageError:
    fix = {
        "private": "give the private file of a pair that `expunge keygen` made, not the .pub beside it",
        "public": "give the .pub file of the signer's pair, not the private one",
    }[kind]
    return UsageError(
        f"not an Ed25519 {kind} key",
        where=str(path),
        found=found,
        expected=f"one unencrypted Ed25519 {kind} key in PEM form",
        fix=fix,
    )
