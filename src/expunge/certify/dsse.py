"""DSSE v1 envelopes: what is signed, signing it, and reading it back strictly.

Source: github.com/secure-systems-lab/dsse, protocol.md and envelope.md (v1.0.2).

Stricter than the specification, so that an envelope has one form and no byte of it can change unnoticed:
standard base64 only, no key twice, no unknown key, and a signature counts only under the key id it names.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from expunge.certify.keys import SigningKey, key_id
from expunge.core.serial import canonical, parse


class BadEnvelope(ValueError):
    """Bytes that are no DSSE envelope; the text says why and quotes nothing."""


@dataclass(frozen=True)
class Signature:
    """One signature, and the id of the key that it says made it."""

    key_id: str
    value: bytes


@dataclass(frozen=True)
class Envelope:
    """A readable envelope; nothing in it can be trusted before :meth:`signed_by` says so."""

    payload_type: str
    payload: bytes
    signatures: tuple[Signature, ...]

    def signed_by(self, key: Ed25519PublicKey) -> bool:
        """Return whether ``key`` signed this payload under this type."""
        message, name = pae(self.payload_type, self.payload), key_id(key)
        return any(s.key_id == name and _fits(key, s.value, message) for s in self.signatures)


def pae(payload_type: str, payload: bytes) -> bytes:
    """Return the pre-authentication encoding: the bytes that are signed."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def sign(payload: bytes, *, payload_type: str, key: SigningKey) -> bytes:
    """Return the envelope of ``payload`` as canonical JSON bytes; the same input gives the same bytes."""
    signature = {"keyid": key.key_id, "sig": _encode(key.sign(pae(payload_type, payload)))}
    return canonical({"payload": _encode(payload), "payloadType": payload_type, "signatures": [signature]})


def read(data: bytes) -> Envelope:
    """Return the envelope that ``data`` holds.

    Raises:
        BadEnvelope: ``data`` is truncated, or not such an envelope.
    """
    try:
        envelope = _fields(parse(data), "payload", "payloadType", "signatures")
        if not isinstance(envelope["signatures"], list) or not envelope["signatures"]:
            raise BadEnvelope("it has no list of signatures")
        signatures = [_fields(entry, "keyid", "sig") for entry in envelope["signatures"]]
        return Envelope(
            _text(envelope["payloadType"]),
            _decode(envelope["payload"]),
            tuple(Signature(_text(entry["keyid"]), _decode(entry["sig"])) for entry in signatures),
        )
    except BadEnvelope:
        raise
    except ValueError as error:
        raise BadEnvelope(f"it is not whole JSON: {error}") from None


def _fits(key: Ed25519PublicKey, signature: bytes, message: bytes) -> bool:
    try:
        key.verify(signature, message)
    except InvalidSignature:
        return False
    return True


def _fields(value: Any, *names: str) -> dict[str, Any]:
    if not isinstance(value, dict) or value.keys() != set(names):
        raise BadEnvelope(f"an object does not have exactly the keys {', '.join(names)}")
    return value


def _text(value: Any) -> str:
    if not (isinstance(value, str) and value.isascii() and value.isprintable()):
        raise BadEnvelope("a value is not plain text")
    return value


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _decode(value: Any) -> bytes:
    try:
        data = base64.b64decode(_text(value), validate=True)
    except binascii.Error:
        raise BadEnvelope("a value is not base64") from None
    if _encode(data) != value:
        raise BadEnvelope("a value is not base64 in its one standard form")
    return data
