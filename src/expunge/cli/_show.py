"""How a finished request is shown: text for people, one object for programs, and the exit code."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

from expunge.cli import _console, _next
from expunge.core.level import Level

if TYPE_CHECKING:
    from expunge.core.report import Report
    from expunge.workflow import Result


def show_result(result: Result, *, again: Sequence[str], as_json: bool, quiet: bool = False) -> typer.Exit:
    """Print the result and return the exit that belongs to it: 0 where a claim of erasure is reached, else 1.

    ``again`` are the words of a command that goes on in the same directory; ``quiet`` leaves the headline and paths.
    """
    done = result.nothing_to_do or result.claim not in (None, Level.SUPPRESSED)
    if as_json:
        _console.emit_json(_record(result, again))
    elif result.not_found is not None:
        _console.say("Not found in what was searched: nothing was forgotten, and no model was written.", style="bold")
        for each in json.loads(result.not_found.read_text())["not found"]:
            _console.say(
                f"{each['what']}: {each['found']}. Where more was meant: {each['fix']}", first="  - ", indent=4
            )
        _paths(("result", result.not_found))
    elif result.report is None:
        _console.say("Nothing to do: the request names no records. The model is an identical copy.", style="bold")
        _paths(("model", result.folder))
    else:
        from expunge.render.text import summary

        text = summary(result.report, width=_console.width())
        _console.verbatim(text.split("\n\n")[0] if quiet else f"\n{text}\n")
        for note in _in_vain(result.report) if quiet and not result.judged and result.claim is None else ():
            _console.say(note, first="  - ", indent=4)  # nothing else says why
        _paths(("report", result.page), ("certificate", result.certificate), ("model", result.folder))
        if not quiet:
            _show_next(result, again)
    return typer.Exit(0 if done else 1)


def _in_vain(report: Report) -> list[str]:
    """Return why a command came to no model that could be judged."""
    failed = [one for one in report.attempts if not one.model and one.claim is None]  # a filter has none by its nature
    return [*(f"{one.title} came to no model: {one.outcome.stopped}" for one in failed), *report.notes]


def _paths(*entries: tuple[str, object]) -> None:
    for name, path in entries:
        if path is not None:
            _console.verbatim(f"{name:<13}{path}")


def _show_next(result: Result, again: Sequence[str]) -> None:
    _console.say("\nNext:", style="bold")
    for step in _next.steps(result, again):
        _console.say(step.why, first="  - ", indent=4)
        if step.command:
            _console.verbatim(f"      {step.command}")


def _record(result: Result, again: Sequence[str]) -> dict[str, Any]:
    return {
        "verdict": result.verdict.value if result.verdict else None,
        "claim": result.claim.value if result.claim else None,
        "nothing_to_do": result.nothing_to_do,
        "not_found": str(result.not_found) if result.not_found else None,
        "report": str(result.page) if result.report else None,
        "certificate": str(result.certificate) if result.certificate else None,
        "model": str(result.folder) if result.folder else None,
        "attempts": [
            {
                "method": attempt.method,
                "verdict": attempt.audits[-1].verdict.value if attempt.audits else None,
                "claim": attempt.claim.value if attempt.claim else None,
                "share": attempt.share,
            }
            for attempt in (result.report.attempts if result.report else ())
        ],
        "notes": list(result.report.notes) if result.report else [],
        "next": _next.steps(result, again),
    }
