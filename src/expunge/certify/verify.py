"""Verify a certificate against a model folder and one trusted key: offline, and without opening the model.

Nothing in a certificate is believed before its signature fits: what another key signed, or what was changed
afterwards, is not read any further.

Not covered: revocation, and when it was signed (no third party puts a time on it).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from expunge.certify import dsse, keys, statement
from expunge.certify._parts import (
    Part,
    base_part,
    claim_part,
    file_parts,
    key_part,
    report_part,
    signature_parts,
    weights_part,
)
from expunge.certify.subjects import read_folder
from expunge.core.certificate import PAYLOAD_TYPE, Predicate
from expunge.core.digest import BASE_FILE
from expunge.core.errors import UsageError
from expunge.core.level import Level

_MAX_BYTES = 64 << 20  # thousands of shards and checks take a few megabytes; nothing larger is read


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What was found.

    All but ``ok``, ``parts`` and ``does_not_show`` is empty unless everything fits, so that nobody reads a
    claim off a certificate that does not.
    """

    ok: bool
    parts: tuple[Part, ...]
    shows: tuple[str, ...] = ()
    does_not_show: tuple[str, ...] = ()
    certificate: str = ""
    issued: str = ""
    development_key: bool | None = None
    claim: Level | None = None
    statement: str = ""


def verify(
    certificate: Path,
    *,
    model: Path,
    key: Path | Ed25519PublicKey,
    report: Path | None = None,
    base: Path | None = None,
    allow_development: bool = False,
) -> Verification:
    """Return which parts of the certificate fit the model folder, the key and the report, and which do not.

    Reads model files once, safetensors files twice. Whatever is wrong with the certificate, the model or
    the report is reported, not raised. Of adapters ``base`` is the folder of the model that they belong to.

    Raises:
        UsageError: a path is missing or unreadable, or ``key`` holds no public key.
    """
    public = keys.load_public(key) if isinstance(key, Path) else key
    data = _read(certificate, what="certificate")
    record = None if report is None else _read(report, what="report")
    files = read_folder(model)
    parts, content = _open(data, public)
    if content is None:
        return Verification(ok=False, parts=tuple(parts), does_not_show=_NOTHING)
    predicate = content.predicate
    compared = file_parts(content.subjects, files)
    fit = all(part.ok for part in compared)
    parts += [key_part(predicate, allowed=allow_development), claim_part(predicate), *compared]
    parts.append(weights_part(predicate, model, files_fit=fit))
    if base is not None:
        parts.append(base_part(model, base))
    if record is not None:
        parts.append(report_part(predicate, record))
    if not all(part.ok for part in parts):
        return Verification(ok=False, parts=tuple(parts), does_not_show=_NOTHING)
    return Verification(
        ok=True,
        parts=tuple(parts),
        shows=_shows(predicate, signer=keys.key_id(public), report=record is not None),
        does_not_show=(*_does_not_show(predicate, report=record is not None), *_of_the_base(model, given=base)),
        certificate=predicate.certificate,
        issued=predicate.issued,
        development_key=predicate.development_key,
        claim=predicate.claim,
        statement=predicate.statement,
    )


_NOTHING = ("Anything about this model: one part that does not fit is enough.",)


def _open(data: bytes, key: Ed25519PublicKey) -> tuple[list[Part], statement.Statement | None]:
    """Return what was found on the way to the signed content, and that content if it can be believed."""
    try:
        envelope = dsse.read(data)
    except dsse.BadEnvelope as error:
        fix = "get it again from where it came: it is truncated, changed, or another kind of file"
        return [Part(name="envelope", ok=False, found=str(error), expected="a DSSE envelope", fix=fix)], None
    parts = [Part(name="envelope", ok=True, found="whole and readable")]
    parts += signature_parts(envelope, key, payload_type=PAYLOAD_TYPE)
    if not parts[-1].ok:
        return parts, None
    try:
        content = statement.read(envelope.payload)
    except statement.BadStatement as error:
        expected = "a certificate of erasure that this version knows"
        return [*parts, Part(name="statement", ok=False, found=str(error), expected=expected)], None
    found = f"certificate {content.predicate.certificate}, issued {content.predicate.issued}"
    return [*parts, Part(name="statement", ok=True, found=found)], content


def _shows(predicate: Predicate, *, signer: str, report: bool) -> tuple[str, ...]:
    shows = [
        f"The holder of key {signer} signed this certificate, and nothing in it changed since.",
        "The files in the model folder are, byte for byte, the ones that it names.",
    ]
    if report:
        shows.append(
            "The report is the one that it names, and its intervals, verdict and claim follow from its figures."
        )
    return (*shows, f"The holder of the key states: {predicate.statement}")


def _does_not_show(predicate: Predicate, *, report: bool) -> tuple[str, ...]:
    missing = [
        "Who holds the key: you know that from where you got it.",
        *predicate.limits,
        *(f"Not covered: {text}" for text in predicate.not_covered),
        *(f"Kept where it was made, and derived from forgotten data: {text}" for text in predicate.kept),
    ]
    if predicate.development_key:
        missing.insert(0, "Anything to a third party: it was signed with a development key.")
    if not report:
        missing.append("What the report says: it was not given, so it was not compared.")
    return tuple(missing)


def _of_the_base(model: Path, *, given: Path | None) -> tuple[str, ...]:
    if given is not None:
        return ()
    if not (model / BASE_FILE).is_file():
        return ()
    return (
        "That the base you have is the one which the adapters belong to: it was not given, so it was not compared.",
    )


def _read(path: Path, *, what: str) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_BYTES)
    except OSError as error:
        raise UsageError(
            f"cannot read the {what}",
            where=str(path),
            found=error.strerror or type(error).__name__,
            expected=f"the {what} file, as the run directory holds it",
            fix=f"give the path of the {what} file",
        ) from None
