"""``expunge find``: retained records that are like those of the request."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path
from typing import Annotated

import typer

from expunge.cli import _console, _job, _next, _options
from expunge.core.errors import UsageError


def command(
    job: _options.JobFile,
    way: Annotated[str, typer.Option("--way", metavar="NAME", help="How to look for them.")] = "alike",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FILE", help="Where to list them. [default: found.csv beside the job]", show_default=False
        ),
    ] = None,
    device: _options.Device = None,
    quiet: _options.Quiet = False,
    as_json: _options.AsJson = False,
) -> None:
    """Look for retained records that are like those of the request: the rest of a backdoor, more wrong labels.

    Lists them in a file, the likeliest first, for people to look through; nothing is forgotten. `also = ["found.csv"]`
    in the job file forgets those that are left in it as well.
    """
    from expunge.core.storage import write_file
    from expunge.workflow import find

    problem, settings = _job.load(job)
    file = out or job.parent / "found.csv"
    if file.exists() or file.is_symlink():  # a link to nothing would be replaced
        raise UsageError(
            "a file is already there",
            where="--out",
            found=file.name,
            expected="a new one: it may have been looked through, and hold less than is found",
            fix="move it away, or give another --out",
        )
    with _console.own_stdout():
        found = find(problem, way, device=settings["device"] if device is None else device)
    if found.ids:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["id", "likely"])
        writer.writerows(zip(found.ids, found.likely, strict=True))
        write_file(file, text.getvalue().encode(), mode=0o600)
    if as_json:
        counts = {name: getattr(found, name) for name in ("way", "named", "searched", "strangers", "taken", "reason")}
        where = str(file) if found.ids else None
        chance = {"by_chance": round(found.by_chance, 1), "at_most": round(found.at_most * found.searched, 1)}
        _console.emit_json({**counts, "found": len(found.ids), **chance, "file": where})
        return
    _console.say(found.sentence)
    if found.ids and not quiet:
        _console.say("Next: look through them, and take out what does not belong there", style="bold")
        _console.verbatim(f"      {_next.near(file)}")
        before = _job.lists(job)
        place = "in the place of `also`" if before else "before its first table"
        _console.say(f"then forget them as well: in the job file, {place},")
        lists = [*before, os.path.relpath(file, job.parent)]
        _console.verbatim(f"      also = {json.dumps(lists)}")
