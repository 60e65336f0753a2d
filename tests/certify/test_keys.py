import os
import stat

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from expunge.certify import _new_file, keys
from expunge.core.errors import StorageFailed, UsageError

PEM, PKCS8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
SPKI, OPEN = serialization.PublicFormat.SubjectPublicKeyInfo, serialization.NoEncryption()


def test_a_pair_signs_and_verifies(tmp_path):
    made = keys.generate(tmp_path / "acme")
    private, public = keys.load_private(made.private), keys.load_public(made.public)
    public.verify(private.sign(b"message"), b"message")
    assert made.key_id == private.key_id == keys.key_id(public)
    assert made.public == tmp_path / "acme.pub"
    assert made.public.read_bytes() == private.public_pem


def test_key_id_is_the_digest_of_the_raw_public_key():
    # RFC 8032 section 7.1, test 1.
    secret = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    public = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
    key = keys.SigningKey(Ed25519PrivateKey.from_private_bytes(secret))
    assert key.key_id == keys.sha256(public)
    assert key.sign(b"").hex().startswith("e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155")


def test_a_folder_gets_the_default_name_and_parents_are_made(tmp_path):
    assert keys.generate(tmp_path).private == tmp_path / keys.DEFAULT_NAME
    assert keys.generate(tmp_path / "a" / "b").private.is_file()


def test_the_private_file_is_for_its_owner_alone(tmp_path):
    before = os.umask(0)
    try:
        made = keys.generate(tmp_path / "acme")
    finally:
        os.umask(before)
    assert stat.S_IMODE(made.private.stat().st_mode) == 0o600
    assert stat.S_IMODE(made.public.stat().st_mode) == 0o644


@pytest.mark.parametrize("taken", ["acme", "acme.pub"])
def test_nothing_is_overwritten(tmp_path, taken):
    (tmp_path / taken).write_text("precious")
    with pytest.raises(UsageError, match="never overwritten"):
        keys.generate(tmp_path / "acme")
    assert (tmp_path / taken).read_text() == "precious"
    assert [path.name for path in tmp_path.iterdir()] == [taken]


def test_a_name_taken_meanwhile_is_not_overwritten(tmp_path):
    (tmp_path / "acme").write_text("precious")
    with pytest.raises(UsageError, match="never overwritten"):
        _new_file.write_new(tmp_path / "acme", b"new", mode=0o600)
    assert (tmp_path / "acme").read_text() == "precious"
    assert [path.name for path in tmp_path.iterdir()] == ["acme"]


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    """The disk is full when the second file of the pair is written."""
    written = []

    def link(source, target):
        written.append(target)
        if len(written) == 2:
            raise OSError(28, "No space left on device")
        os.rename(source, target)
        open(source, "w").close()

    monkeypatch.setattr(_new_file.os, "link", link)
    with pytest.raises(StorageFailed, match="No space left"):
        keys.generate(tmp_path / "acme")
    assert len(written) == 2
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_place_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageFailed, match="cannot write"):
        keys.generate(tmp_path / "file" / "acme")


# --- development keys ---------------------------------------------------------------------------------------


def test_a_development_key_knows_it_in_any_form(tmp_path):
    made = keys.generate(tmp_path / "trial", development=True)
    assert keys.load_private(made.private).development
    stripped = tmp_path / "stripped"
    text = made.private.read_text()
    assert text.startswith("expunge development key")
    stripped.write_text(text[text.index("-----BEGIN") :])
    assert keys.load_private(stripped).development
    assert keys.load_private(stripped).key_id == made.key_id == keys.key_id(keys.load_public(made.public))


def test_development_keys_differ(tmp_path):
    ids = {keys.generate(tmp_path / str(i), development=True).key_id for i in range(3)}
    assert len(ids) == 3


def test_a_real_key_is_none(tmp_path):
    made = keys.generate(tmp_path / "acme")
    assert not keys.load_private(made.private).development
    assert made.private.read_text().startswith("-----BEGIN PRIVATE KEY-----")


def test_a_key_made_elsewhere_is_none():
    assert not keys.SigningKey(Ed25519PrivateKey.generate()).development


def test_the_secret_is_not_shown():
    assert repr(keys.SigningKey(Ed25519PrivateKey.generate())) == "SigningKey()"


# --- what is no key -----------------------------------------------------------------------------------------

ED = Ed25519PrivateKey.generate()
GOOD_PRIVATE = ED.private_bytes(PEM, PKCS8, OPEN)
GOOD_PUBLIC = ED.public_key().public_bytes(PEM, SPKI)
RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
LOCKED = ED.private_bytes(PEM, PKCS8, serialization.BestAvailableEncryption(b"pass"))
WRONG_FOR_BOTH = {
    "garbage": (b"\xff\x00\x01" * 50, "no PEM block"),
    "empty": (b"", "no PEM block"),
    "two keys": (GOOD_PUBLIC + GOOD_PRIVATE, "a PEM block called PUBLIC KEY, a PEM block called PRIVATE KEY"),
    "endless": (b"\n" * (1 << 17) + GOOD_PUBLIC, "no PEM block"),
}
WRONG_PRIVATE = {
    **WRONG_FOR_BOTH,
    "public": (GOOD_PUBLIC, "a PEM block called PUBLIC KEY"),
    "encrypted": (LOCKED, "a PEM block called ENCRYPTED PRIVATE KEY"),
    "openssh": (
        ED.private_bytes(PEM, serialization.PrivateFormat.OpenSSH, OPEN),
        "a PEM block called OPENSSH PRIVATE KEY",
    ),
    "RSA": (RSA.private_bytes(PEM, PKCS8, OPEN), r"a key of another kind \(RSA\)"),
    "EC": (EC.private_bytes(PEM, PKCS8, OPEN), r"a key of another kind \(EC\)"),
    "damaged": (GOOD_PRIVATE.replace(b"MC4C", b"MC4D"), "a damaged private key"),
    "cut": (GOOD_PRIVATE[:40], "a damaged private key"),
}
WRONG_PUBLIC = {
    **WRONG_FOR_BOTH,
    "private": (GOOD_PRIVATE, "a PEM block called PRIVATE KEY"),
    "RSA": (RSA.public_key().public_bytes(PEM, SPKI), r"a key of another kind \(RSA\)"),
    "damaged": (GOOD_PUBLIC.replace(b"MCow", b"MCov"), "a damaged public key"),
    "cut": (GOOD_PUBLIC[:-40], "a damaged public key"),
}


@pytest.mark.parametrize("case", WRONG_PRIVATE)
def test_what_is_no_private_key_is_told_apart(tmp_path, case):
    data, found = WRONG_PRIVATE[case]
    (tmp_path / "key").write_bytes(data)
    with pytest.raises(UsageError, match=f"not an Ed25519 private key.*\n  found: {found}\n") as caught:
        keys.load_private(tmp_path / "key")
    assert caught.value.obstacles[0].fix


@pytest.mark.parametrize("case", WRONG_PUBLIC)
def test_what_is_no_public_key_is_told_apart(tmp_path, case):
    data, found = WRONG_PUBLIC[case]
    (tmp_path / "key").write_bytes(data)
    with pytest.raises(UsageError, match=f"not an Ed25519 public key.*\n  found: {found}\n"):
        keys.load_public(tmp_path / "key")


@pytest.mark.parametrize("load", [keys.load_private, keys.load_public])
def test_missing_files_and_folders_are_told_apart(tmp_path, load):
    with pytest.raises(UsageError, match=r"cannot read .*\n  found: No such file"):
        load(tmp_path / "nothing")
    with pytest.raises(UsageError, match="found: a folder"):
        load(tmp_path)
