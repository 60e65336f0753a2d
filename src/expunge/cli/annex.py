"""``expunge annex``: how single records fared, for the holder of the run directory."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from expunge.cli import _console, _options
from expunge.core.errors import UsageError

_LEGEND = (
    ("loss", "cross-entropy of the given label, in nats; retrained: mean and spread of the retrained models"),
    ("z", "how many spreads off; below 0: known better than by a retrained model"),
    ("below", "how many retrained models have a smaller loss"),
    ("divergence", "of the answer from those of retrained models, in bits (of one of them from the others)"),
)


def command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The run directory.", show_default=False)],
    ids: Annotated[
        list[str] | None, typer.Option("--id", metavar="ID", help="A record; repeatable.", show_default=False)
    ] = None,
    file: Annotated[
        str | None,
        typer.Option("--ids", metavar="FILE", help="Ids, one per line; `-` reads stdin.", show_default=False),
    ] = None,
    as_json: _options.AsJson = False,
) -> None:
    """Show what the audits saw of single records: loss and answer against the retrained models.

    Read from private/annex.csv, which holds keyed ids only: without the run directory nobody finds a record in it.
    A file of ids keeps them out of the shell's history. Delete the annex when nobody needs it any more.
    """
    from expunge.audit import annex

    wanted = list(dict.fromkeys([*(ids or ()), *(_lines(file) if file is not None else ())]))
    if not wanted:
        raise UsageError(
            "no record is named", where="--id", found="none", expected="ids of records", fix="give --id or --ids"
        )
    found = annex.find(run, wanted)
    if as_json:
        _console.emit_json({"columns": annex.COLUMNS, "records": found})
        return
    _show(found)


def _lines(file: str) -> list[str]:
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            "cannot read the ids",
            where=Path(file).name,
            found=str(getattr(error, "strerror", None) or "not UTF-8"),
            expected="a text file with one id per line",
            fix="check the path",
        ) from error
    return [line for line in text.split("\n") if line]


def _show(found: Mapping[str, Sequence[Mapping[str, str]]]) -> None:
    for name, rows in found.items():
        _console.say(name, style="bold", first="record: ", indent=8)
        if rows:
            _console.table(("model", "loss", "retrained", "z", "below", "divergence"), map(_cells, rows))
        else:
            _console.say("not judged: not in the request, or among the third that methods chose by", indent=2)
        _console.say("")
    if any(found.values()):
        for word, meaning in _LEGEND:
            _console.say(f"{word}: {meaning}", style="dim", first="  ", indent=2)
        _console.say("All figures: private/annex.csv in the run directory, or --json.", style="dim")


def _cells(row: Mapping[str, str]) -> tuple[str, ...]:
    return (
        row["model"],
        _short(row["loss"]),
        f"{_short(row['loss_references'])} ± {_short(row['sd_references'])}",
        _short(row["z"]),
        f"{row['below']} of {row['references']}",
        f"{_short(row['divergence'])} ({_short(row['divergence_references'])})",
    )


def _short(figure: str) -> str:
    """Return a figure with two decimals, or with its power of ten where these would show none of it."""
    if not figure:
        return "–"
    value = float(figure)
    return f"{value:.2f}" if abs(value) < 1e-9 or 0.01 <= abs(value) < 1e5 else f"{value:.0e}"
