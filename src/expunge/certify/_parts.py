"""The parts of a verification: each says what was found, what was expected, and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from expunge.certify._summary import carried
from expunge.certify.dsse import Envelope
from expunge.certify.keys import key_id
from expunge.certify.recheck import contradictions
from expunge.certify.statement import report_digest
from expunge.certify.subjects import Files
from expunge.core.certificate import Predicate
from expunge.core.digest import BASE_FILE, base_digest, base_of, model_digest
from expunge.core.errors import ExpungeError, UsageError
from expunge.core.level import Level
from expunge.core.report import Report
from expunge.core.serial import build, parse, plain
from expunge.core.verdict import claim as may_claim


@dataclass(frozen=True, kw_only=True)
class Part:
    """One thing that was compared."""

    name: str
    ok: bool
    found: str
    expected: str = ""
    fix: str = ""


def signature_parts(envelope: Envelope, key: Ed25519PublicKey, *, payload_type: str) -> list[Part]:
    """Return whether ``key`` signed this envelope, and for this kind of payload."""
    if envelope.payload_type != payload_type:
        what = Part(name="payload type", ok=False, found=envelope.payload_type, expected=payload_type)
        return [what]
    own, named = key_id(key), [signature.key_id for signature in envelope.signatures]
    if envelope.signed_by(key):
        return [Part(name="signature", ok=True, found=f"by key {own}, over exactly these bytes")]
    if own in named:
        found, fix = f"names key {own}, but does not fit", "the certificate was changed after it was signed"
    else:
        found = f"names key {', '.join(named)}"
        fix = "give the public key of whoever signed it, from a place that you trust"
    return [Part(name="signature", ok=False, found=found, expected=f"a signature by key {own}", fix=fix)]


def key_part(predicate: Predicate, *, allowed: bool) -> Part:
    """Return whether the key was made for more than trying out."""
    if not predicate.development_key:
        return Part(name="kind of key", ok=True, found="not a development key, says the signer")
    return Part(
        name="kind of key",
        ok=allowed,
        found="a development key, made for trying out",
        expected="a development key, which you allow" if allowed else "a key that its owner stands for",
        fix="" if allowed else "ask for one signed with a key of the signer's own; for a trial, allow development keys",
    )


def claim_part(predicate: Predicate) -> Part:
    """Return whether the claim is one that the guarantee and the verdict can bear."""
    most = may_claim(predicate.guarantee, [predicate.verdict])
    borne = most is not None and Level.SUPPRESSED < predicate.claim <= most
    basis = f"guarantee {predicate.guarantee.value}, verdict {predicate.verdict.value}"
    return Part(
        name="claim",
        ok=borne,
        found=f"{predicate.claim.value} ({basis})",
        expected=f"at most {most.value}" if most is not None else "none",
    )


def file_parts(subjects: Mapping[str, str], files: Files) -> list[Part]:
    """Return one part for all model files where they fit, else one for each file that does not."""
    missing = [
        Part(name=f"file {name}", ok=False, found="missing", expected=f"sha256 {subjects[name]}")
        for name in sorted(subjects.keys() - files.digests.keys())
    ]
    changed = [
        Part(
            name=f"file {name}",
            ok=False,
            found=f"changed: sha256 {digest}",
            expected=f"sha256 {subjects[name]}",
        )
        for name, digest in files.digests.items()
        if name in subjects and subjects[name] != digest
    ]
    extra = [
        Part(
            name=f"file {name}",
            ok=False,
            found="extra: the certificate does not name it",
            expected="no such file",
            fix="take it out of the model folder, or find out how it came there",
        )
        for name in sorted({*(files.digests.keys() - subjects.keys()), *files.odd})
    ]
    count = len(subjects)
    same = Part(name="model files", ok=True, found=f"{count} of {count}, byte for byte the ones it names")
    return [*missing, *changed, *extra] or [same]


def weights_part(predicate: Predicate, model: Path, *, files_fit: bool) -> Part:
    """Return whether the tensors are those that were judged, whatever the files around them look like."""
    try:
        digest = model_digest(model)
    except (ExpungeError, OSError) as error:
        digest, found = "", " ".join(str(error).split())
    else:
        found = f"model digest {digest}"
    if digest == predicate.model_after and not files_fit:
        found += ": all tensors are equal; where a weights file differs, only its layout or metadata does"
    return Part(
        name="weights",
        ok=digest == predicate.model_after,
        found=found,
        expected=f"model digest {predicate.model_after}",
    )


def base_part(model: Path, base: Path) -> Part:
    """Return whether ``base`` is what the adapters in ``model`` belong to, by its tensors and settings."""
    fix = "give the directory of the base that the adapters were trained on"
    try:
        wanted, digest = base_of(model), base_digest(base)
    except (ExpungeError, OSError) as error:
        return Part(name="base", ok=False, found=" ".join(str(error).split()), expected="the base", fix=fix)
    if wanted is None:
        found, fix = "the model folder names none: it is whole by itself", "leave the base out"
        return Part(name="base", ok=False, found=found, expected=f"adapters, and {BASE_FILE} beside them", fix=fix)
    same = digest == wanted
    there = any(base.glob("*.safetensors"))
    return Part(
        name="base",
        ok=same,
        found=f"base digest {digest}" if there else f"no safetensors in {base.name}",
        expected=f"base digest {wanted}",
        fix="" if same else fix,
    )


def report_part(predicate: Predicate, data: bytes) -> Part:
    """Return whether ``data`` is the report that was signed for, and follows from its own figures."""
    try:
        record = parse(data)
        digest = report_digest(record)
    except (ValueError, RecursionError) as error:
        reason = "not text" if isinstance(error, UnicodeEncodeError) else str(error)
        return Part(name="report", ok=False, found=f"not readable: {reason}", expected="a report in JSON")
    if digest != predicate.report_digest:
        expected = f"sha256 {predicate.report_digest}"
        return Part(name="report", ok=False, found=f"changed, or another: sha256 {digest}", expected=expected)
    try:
        report = build(Report, record)
    except (UsageError, OverflowError) as error:
        found = f"the one it names, but this version cannot read it: {' '.join(str(error).split())}"
        return Part(name="report", ok=False, found=found, fix=f"verify with expunge {predicate.expunge}")
    if wrong := contradictions(report):
        return Part(name="report", ok=False, found=" ".join(wrong), expected="figures that bear its verdict")
    if other := _otherwise(predicate, report):
        found = f"the one it names, which says otherwise: {', '.join(other)}"
        expected = f"all that the certificate has of it, in the words of expunge {predicate.expunge}"
        return Part(name="report", ok=False, found=found, expected=expected)
    found = "the one it names; it says the same, and intervals, decisions, verdicts and claim follow from its figures"
    return Part(name="report", ok=True, found=found)


def _otherwise(predicate: Predicate, report: Report) -> list[str]:
    """Return the names of what the certificate has of the report and the report says otherwise."""
    if report.shipped is None:
        return ["claim"]
    told = plain(carried(report, report.shipped))
    return sorted(name for name, said in plain(predicate).items() if name in told and said != told[name])
