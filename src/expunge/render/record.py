"""The report as canonical JSON, and back."""

from __future__ import annotations

import json

from expunge.core.digest import sha256
from expunge.core.errors import Tampered, UsageError
from expunge.core.report import Report
from expunge.core.serial import build, canonical, plain

_FORMAT = "expunge-report-1"
_FIX = "see whether it is the file that was meant; restore it from where it came, or run the audit again"


def dump(report: Report) -> bytes:
    """Return the record: canonical JSON and a newline; equal reports give equal bytes.

    Built again from its own data first, so that 1 and 1.0 in a field of floats are written alike, and what
    could not be read back is noticed where it was made.
    """
    return canonical(build(Report, plain(report), where="report")) + b"\n"


def load(data: bytes, *, digest: str | None = None) -> Report:
    """Return the report of a record that :func:`dump` made.

    ``digest`` is the SHA-256 that the record must have, e.g. the one in a certificate. Without it only what
    contradicts the format can be noticed, not a number that was exchanged for another.

    Raises:
        Tampered: truncated, reformatted, of another format, or not of this digest.
    """
    if digest is not None and sha256(data) != digest:
        raise _tampered(found=f"SHA-256 {sha256(data)}", expected=digest)
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _tampered(found="no whole JSON document", expected="a report.json as expunge wrote it") from error
    found = content.get("format") if isinstance(content, dict) else None
    if found != _FORMAT:
        raise _tampered(found=f"format {found!r}", expected=f"format {_FORMAT!r}")
    try:
        report = build(Report, content, where="report")
        written = dump(report)
    except UsageError as error:
        raise _tampered(found=str(error.obstacles[0]), expected="a whole report") from error
    except (ValueError, OverflowError) as error:
        raise _tampered(found=str(error), expected="finite numbers") from error
    if written != data:
        raise _tampered(found="bytes that expunge does not write", expected="canonical JSON and a newline")
    return report


def _tampered(*, found: str, expected: str) -> Tampered:
    return Tampered("not the report that was written", where="report record", found=found, expected=expected, fix=_FIX)
