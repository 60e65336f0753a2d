"""``expunge conformance``: does a method, check, task or estimator keep its contract?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from expunge.cli import _console, _options

if TYPE_CHECKING:
    from expunge.conformance.run import Tried

_MARKS = {
    "passed": ("ok      ", "green"),
    "failed": ("FAILED  ", "bold red"),
    "exempt": ("exempt  ", "yellow"),
    "not applicable": ("-       ", "dim"),
}


def command(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="A method, check, task or estimator: its name, room/name, or package.module:Class.",
            show_default=False,
        ),
    ],
    as_json: _options.AsJson = False,
) -> None:
    """Try every promise of its contract on a method, check, task or estimator, ours or a plug-in's.

    Runs on small problems of its own, in seconds, and says what was seen. Exit code 1 where a promise is broken.
    """
    from expunge.conformance.run import conform, find, settings
    from expunge.engine.runtime import single_thread

    single_thread()
    room, cls = find(name)
    tried_with = settings(room, cls)
    if tried_with and not as_json:
        _console.say(" ".join(f"{key}={value}" for key, value in tried_with.items()), first="tried with ", indent=11)
        _console.say("If it has phases, let its `trial` settings enter each one twice, and leave it once.\n")
    with _console.own_stdout():
        found = conform(room, cls, said=_silent if as_json else _say)
    counts = {word: sum(one.result.value == word for one in found.tried) for word in _MARKS}
    if as_json:
        _console.emit_json(
            {
                "room": found.room,
                "name": found.name,
                "passed": found.passed,
                "settings": tried_with,
                "tried": found.tried,
            }
        )
    else:
        _end(found.passed, counts, f"{room}/{found.name}")
    raise typer.Exit(0 if found.passed else 1)


def _say(one: Tried) -> None:
    mark, style = _MARKS[one.result.value]
    _console.say(one.case.replace("_", " "), first=mark, indent=8, style=style)
    if one.result.value == "failed":
        catches = f" ({', '.join(one.catches)})" if one.catches else ""
        _console.say(one.promise + catches, first="  must hold:", indent=14)
        _console.say(one.because, first="  was seen:", indent=14)
    elif one.because:
        _console.say(one.because, first="  because:", indent=14)


def _silent(one: Tried) -> None:
    """Say nothing: the object on stdout holds all of it."""


def _end(passed: bool, counts: dict[str, int], name: str) -> None:
    said = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    _console.say(f"\n{name}: {'keeps' if passed else 'breaks'} its contract ({said})", style="bold")
    if not passed and not counts["failed"]:
        _console.say("Nothing could be tried: a thing whose cases are all exempt or not applicable shows nothing.")
    elif not passed:
        _console.say(
            "Mend what was seen. Where a promise cannot hold by design, name the case and the reason in the class: "
            'exempt = {"case_name": "reason"}; exemptions are listed in the documentation.'
        )
