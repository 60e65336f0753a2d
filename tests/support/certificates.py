"""A certificate with everything that it takes to verify it, in a folder."""

from dataclasses import dataclass, replace
from pathlib import Path

from expunge.certify.build import build_certificate
from expunge.certify.keys import generate, load_private
from expunge.core.digest import BASE_FILE, base_digest, model_digest, salted_levels
from expunge.core.report import Report
from expunge.core.serial import canonical
from tests.support import reports

RECORDS = {part: [(f"{part}-{i}", "77" * 32) for i in range(count)] for part, count in (("forget", 1), ("retain", 199))}
LEVELS = {part: salted_levels(b"secret", entries) for part, entries in RECORDS.items()}


@dataclass(frozen=True)
class Certified:
    """Paths, and the report that was certified."""

    certificate: Path
    model: Path
    key: Path
    private: Path
    report_file: Path
    report: Report


def build(report, *, model, private, levels=LEVELS):
    """Return the bytes of a certificate, with what tests do not vary."""
    files = {"model.safetensors": "88" * 32}
    return build_certificate(report, model=model, files_before=files, levels=levels, key=load_private(private))


def _of_model(report, digest):
    attempts = [
        replace(each, model=digest, audits=tuple(replace(audit, model=digest) for audit in each.audits))
        for each in report.attempts
    ]
    return replace(report, attempts=tuple(attempts), model_after=digest)


def certify(folder, report=None, *, development=False, base=None):
    """Write model, keys, report and certificate below ``folder``; with a ``base`` the model is adapters on that."""
    report = report or reports.report()
    model = reports.save_model(folder / "model")
    if base is not None:
        (model / BASE_FILE).write_bytes(canonical({"base": base_digest(base)}))
        report = _of_model(report, model_digest(model))
    pair = generate(folder / "key", development=development)
    (folder / "report.json").write_bytes(canonical(report) + b"\n")
    certificate = folder / "certificate.json"
    certificate.write_bytes(build(report, model=model, private=pair.private))
    return Certified(certificate, model, pair.public, pair.private, folder / "report.json", report)
