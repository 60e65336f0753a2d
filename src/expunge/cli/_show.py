"""How a finished request is shown: text for people, one object for programs, and the exit code."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

import typer

from expunge.cli import _console

if TYPE_CHECKING:
    from expunge.workflow import Result


def show_result(result: Result, *, as_json: bool) -> typer.Exit:
    """Print the result and return the exit that belongs to it: 0 where the claim is reached, else 1."""
    done = result.nothing_to_do or result.claim is not None
    if as_json:
        _console.emit_json(
            {
                "verdict": result.verdict.value if result.verdict else None,
                "claim": result.claim.value if result.claim else None,
                "nothing_to_do": result.nothing_to_do,
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
            }
        )
        return typer.Exit(0 if done else 1)
    if result.report is None:
        _console.say("Nothing to do: the request names no records. The model is an identical copy.", style="bold")
        _console.say(f"model        {result.folder}")
        return typer.Exit(0)
    from expunge.render.text import summary

    _console.say("\n" + summary(result.report))
    _console.say(f"\nreport       {result.page}")
    if result.certificate is not None:
        _console.say(f"certificate  {result.certificate}")
    if result.folder is not None:
        _console.say(f"model        {result.folder}")
    _console.say(_next(result), style="dim")
    return typer.Exit(0 if done else 1)


def _next(result: Result) -> str:
    if result.certificate is None:
        return (
            "\nNext: open the report. Another --method in the same directory reuses its references and counts as "
            "one more attempt; --method retrain is exact."
        )
    development = result.out / "development-key.pub"
    key = f"{development} --allow-development-key" if development.exists() else "YOUR-KEY.pub"
    program = "expunge" if shutil.which("expunge") else sys.argv[0]
    return (
        "\nNext: open the report; check the certificate as a stranger would:\n"
        f"  {program} verify {result.certificate} --model {result.folder} --key {key}"
    )
