"""``expunge report``: a report in another form."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from expunge.cli import _console
from expunge.render.formats import FORMATS


def command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory, or a report.json.", show_default=False)],
    form: Annotated[
        str,
        typer.Option("--as", metavar="FORMAT", help=f"One of {', '.join(FORMATS)}."),
    ] = "text",
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write here, not to stdout.", show_default=False)
    ] = None,
) -> None:
    """Show a report, or write it in another form.

    The record is read, not the page: one that was changed is refused, and beside a certificate it must be the
    report that was certified. Nothing is judged again.
    """
    from expunge.core.storage import write_named
    from expunge.render import formats, record

    wanted = formats.named(form, where="--as")
    path = run / "report.json" if run.is_dir() else run
    data = wanted.render(record.load(_read(path), digest=_certified(path)))
    if out is not None:
        write_named(out, data)
        _console.say(f"written: {out}")
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _read(path: Path) -> bytes:
    from expunge.core.errors import UsageError

    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(
            "cannot read the report",
            where=path.name,
            found=error.strerror or type(error).__name__,
            expected="a run directory that has a report.json, or that file",
            fix="give the --out of `expunge erase` or `expunge audit`",
        ) from error


def _certified(path: Path) -> str | None:
    """Return the digest that the certificate beside a report gives it; the signature is verify's business."""
    from expunge.certify import dsse, statement
    from expunge.core.errors import Tampered

    certificate = path.with_name("certificate.json")
    if path.name != "report.json" or not certificate.exists():
        return None
    try:
        return statement.read(dsse.read(certificate.read_bytes()).payload).predicate.report_digest
    except (dsse.BadEnvelope, statement.BadStatement) as error:
        raise Tampered(
            "the certificate beside the report is not what was written",
            where=certificate.name,
            found=str(error),
            expected="the certificate of this report",
            fix="restore it, or copy report.json elsewhere to read it without",
        ) from error
