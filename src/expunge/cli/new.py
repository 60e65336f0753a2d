"""``expunge new``: start a method, check or task from a template that keeps its contract."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from expunge.cli import _console, _options


def command(
    kind: Annotated[str, typer.Argument(metavar="method|check|task", help="What to start.", show_default=False)],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name, e.g. neg_grad_plus.", show_default=False)],
    into: Annotated[
        Path,
        typer.Option("--into", metavar="DIR", help="A checkout of expunge, or where to make a package of its own."),
    ] = Path(),
    as_json: _options.AsJson = False,
) -> None:
    """Start a method, check or task: source, test and changelog fragment, from a template that keeps its contract.

    In a checkout of expunge the files go where the project keeps them. Anywhere else a small package is made
    that brings the name to expunge by an entry point.
    """
    from expunge.conformance.scaffold import ROOMS, scaffold

    files = scaffold(kind, name, into)
    if as_json:
        _console.emit_json({"name": name, "room": ROOMS[kind], "files": [str(path) for path in files]})
        return
    _console.say(f"Wrote the {kind} {name}:")
    for path in files:
        _console.say(str(path), first="  ", indent=4)
    _console.say("\nNext:")
    if files[0].name == "pyproject.toml":
        _console.say(f"pip install -e {files[0].parent}", first="  ", indent=4)
    _console.say(f"expunge conformance {ROOMS[kind]}/{name}", first="  ", indent=4)
    _console.say("It passes as it stands. Put your formula in, and run it again.")
    if kind == "check":
        _console.say(
            f"A check is judged once a policy gives it a margin: a [checks.{name}] table, as in audit/standard.toml."
        )
