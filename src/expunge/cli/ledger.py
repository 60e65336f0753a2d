"""``expunge ledger``: what a recorded training holds, and whether a stretch of it comes out again as written."""

from __future__ import annotations

import enum
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from expunge.cli import _console, _job, _options
from expunge.core.errors import UsageError

if TYPE_CHECKING:
    from expunge.engine.ledger import Ledger


class Action(enum.Enum):
    """What to do with a ledger."""

    SHOW = "show"
    VERIFY = "verify"
    PROVE = "prove"


def command(
    action: Annotated[
        Action,
        typer.Argument(
            metavar="ACTION",
            help="`show` what it holds and what the job's deletion would cost; `verify` its chain, and run a stretch "
            "again; `prove` once that a replay of a loop of your own equals a run from scratch.",
            show_default=False,
        ),
    ],
    job: _options.JobFile,
    start: Annotated[
        int | None,
        typer.Option("--from", min=0, help="First step of the stretch. [default: the middle]", show_default=False),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option("--steps", min=1, help="Steps to run. [default: to the next checkpoint]", show_default=False),
    ] = None,
    as_json: _options.AsJson = False,
) -> None:
    """Look into the ledger of a recorded training, or run part of it again and compare.

    Exit code 1 where what comes out is not what is written.
    """
    from expunge.cli._progress import Bars
    from expunge.core.errors import Diverged
    from expunge.engine import replay
    from expunge.engine.ledger import Ledger
    from expunge.engine.recorded import Recorded

    problem, _ = _job.load(job)
    if problem.ledger is None or not isinstance(problem.trainer, Recorded):
        raise UsageError(
            "the problem has no recorded training",
            where=job.name,
            found="no ledger" if problem.ledger is None else "a trainer that does not record",
            expected="Problem(trainer=expunge.recorded(...), ledger=folder)",
            fix="record the training with expunge.train(..., ledger=folder)",
        )
    ledger, trainer = Ledger(problem.ledger), problem.trainer  # opened is verified: every link of the chain
    facts = _facts(ledger)
    if action is Action.SHOW:
        ahead = replay.forecast(ledger, problem.forget_ids)
        facts["deletion"] = {"share_of_steps": ahead.share, "from_step": ahead.start, "notes": ahead.words()}
        _end(facts, as_json, [f"this job's deletion: {said}" for said in ahead.words()], fits=True)
    marks = sorted(ledger.checkpoints)
    first = ledger.length // 2 if start is None else start
    base = max((mark for mark in marks if mark <= first), default=0)
    after = next((mark for mark in marks if mark > first), ledger.length)
    stop = after if steps is None else first + steps
    with tempfile.TemporaryDirectory(prefix="expunge-ledger-") as folder, Bars(quiet=as_json) as bars:
        label = f"{action.value} the ledger"
        bars.start(label, 1 if action is Action.PROVE else stop - base)
        into, why = Path(folder) / "work", ""
        try:
            with _console.own_stdout():
                if action is Action.PROVE:
                    fits = replay.prove(trainer, problem.records, ledger, into)
                else:
                    found = replay.reproduce(
                        trainer,
                        ledger,
                        problem.records,
                        into,
                        start=first,
                        stop=stop,
                        advance=lambda: bars.advance(label),
                    )
                    fits, facts["stretch"] = True, list(found)
        except Diverged as error:
            fits, why = False, str(error.obstacles[0].where)
        bars.finish(label)
    facts["fits"] = fits
    words = {
        (Action.VERIFY, True): "steps {0} to {1} came out as written: loss, rate, order of records and state",
        (Action.VERIFY, False): f"what comes out is not what is written ({why})",
        (Action.PROVE, True): "a replay without one record equals a run from scratch without it: noted in the ledger",
        (Action.PROVE, False): f"a replay without one record is not a run from scratch without it {why}".rstrip(),
    }
    _end(facts, as_json, [words[action, fits].format(*facts.get("stretch", (0, 0)))], fits=fits)


def _facts(ledger: Ledger) -> dict[str, Any]:
    head = ledger.head
    return {
        "rule": head.rule,
        "epochs": list(head.stages),
        "steps_per_epoch": head.steps,
        "steps": ledger.length,
        "finished": bool(head.finished),
        "records": len(ledger.entries),
        "checkpoints": len(ledger.checkpoints),
        "bytes": ledger.bytes,
        "chain": ledger.chain,
        "environment": dict(head.environment),
    }


def _end(facts: dict[str, Any], as_json: bool, said: list[str], *, fits: bool) -> None:
    if as_json:
        _console.emit_json(facts)
    else:
        _console.say(
            f"{facts['steps']} steps over {facts['records']} records, rule {facts['rule']}, "
            f"{'finished' if facts['finished'] else 'not finished'}; {facts['checkpoints']} checkpoints, "
            f"{facts['bytes'] / 1e6:.1f} MB; the chain holds: {facts['chain'][:16]}"
        )
        for line in said:
            _console.say(line, style="" if fits else "bold red")
    raise typer.Exit(0 if fits else 1)
