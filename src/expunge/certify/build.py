"""From a report and a saved model to a signed certificate, or to a refusal.

What is signed is made from the report and from the bytes in the model folder, from nothing else; the same
report, folder and key give the same certificate, so building it again after a crash makes no second one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from expunge.certify import dsse
from expunge.certify._summary import carried
from expunge.certify.keys import SigningKey
from expunge.certify.recheck import contradictions
from expunge.certify.statement import Statement, identify, report_digest, write
from expunge.certify.subjects import read_folder
from expunge.core.certificate import PAYLOAD_TYPE, Predicate
from expunge.core.digest import model_digest
from expunge.core.errors import Refused
from expunge.core.level import Level
from expunge.core.report import Attempt, Report
from expunge.core.serial import build, plain


def build_certificate(
    report: Report,
    *,
    model: Path,
    files_before: Mapping[str, str],
    levels: Mapping[str, Sequence[Sequence[bytes]]],
    key: SigningKey,
) -> bytes:
    """Return the bytes of a certificate file: a signed DSSE envelope.

    Args:
        report: its shipped attempt is what is certified; what it must not say in public must not be in it.
        model: folder of the saved model; every file in it becomes a subject.
        files_before: SHA-256 of every file of the original, by name; empty where it came without files.
        levels: salted Merkle trees by part, all levels, as :func:`expunge.core.digest.salted_levels` gives.
        key: signs; a development key is named as one in the signed content.

    Raises:
        Refused: nothing may be claimed, the report contradicts itself, or the model is not the one audited.
        UsageError: the model folder cannot be read.
    """
    attempt = _claimable(report)
    subjects = _subjects(model)
    _same_model(attempt, model)
    predicate = Predicate(
        certificate="",
        development_key=key.development,
        manifests={part: tree[-1][0].hex() for part, tree in levels.items()},
        buckets={part: len(tree[0]) for part, tree in levels.items()},
        files_before=files_before,
        report_digest=report_digest(plain(build(Report, plain(report)))),
        **carried(report, attempt),
    )
    payload = write(Statement(subjects, identify(predicate)))
    return dsse.sign(payload, payload_type=PAYLOAD_TYPE, key=key)


def _claimable(report: Report) -> Attempt:
    """Return the shipped attempt; its claim and the verdict must follow from the figures in the report."""
    attempt, level, verdict = report.shipped, report.claim, report.verdict
    if level is Level.SUPPRESSED:
        raise _refusal("suppression is not erasure", found="the model is unchanged, filters stand around it")
    said = "no model was judged" if verdict is None else f"verdict {verdict.value}"
    if attempt is None or level is None:
        raise _refusal("nothing is claimed", found=f"{said}, no claim")
    if verdict is None:
        raise _refusal("nothing was judged", found=f"{said}, claim {level.value}")
    wrong = contradictions(report)
    if wrong:
        raise _refusal("the report contradicts itself", found=" ".join(wrong))
    return attempt


def _subjects(model: Path) -> Mapping[str, str]:
    files = read_folder(model)
    if files.odd:
        raise _refusal(
            "the model folder holds something that is no file",
            where=files.odd[0],
            found=f"{len(files.odd)} of them",
            expected="files and folders only",
        )
    unspeakable = [name for name in files.digests if not name.isprintable()]
    if unspeakable:
        raise _refusal("a file of the model has an unprintable name", found=f"{len(unspeakable)} of them")
    return files.digests


def _same_model(attempt: Attempt, model: Path) -> None:
    saved = model_digest(model)
    if attempt.model != saved:
        raise _refusal(
            "the model in the folder is not the one that was judged",
            where="weights",
            found=f"model digest {saved}",
            expected=attempt.model,
        )


def _refusal(what: str, *, where: str = "", found: str = "", expected: str = "") -> Refused:
    return Refused(f"no certificate: {what}", where=where, found=found, expected=expected)
