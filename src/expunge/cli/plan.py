"""``expunge plan``: what is possible, what it costs, what would be claimed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from expunge.cli import _console, _job, _next, _options
from expunge.core.serial import plain

if TYPE_CHECKING:
    from expunge.core.plan import Plan
    from expunge.core.problem import Problem


def command(
    job: _options.JobFile,
    method: _options.MethodNames = None,
    budget: _options.Budget = None,
    floor: _options.Floor = None,
    references: _options.References = None,
    policy: _options.Policy = None,
    device: _options.Device = None,
    quiet: _options.Quiet = False,
    as_json: _options.AsJson = False,
) -> None:
    """Show which methods a job allows, their guarantee and cost, and in which order they would be tried.

    Trains nothing. Where the trainer does not say how often it reads each record, costs are shown as `?`
    until `erase` has measured it. Where nothing could be tried the exit code is 1.
    """
    from expunge.workflow import plan

    problem, settings = _job.load(job)
    settings = _job.merge(
        settings,
        methods=tuple(method) if method else None,
        budget=_job.share(budget) if budget else None,
        floor=_job.accuracy(floor) if floor else None,
        references=references,
        policy=policy,
        device=device,
    )
    with _console.own_stdout():
        found = plan(problem, **settings)
    _show(found, problem, as_json=as_json, quiet=quiet)
    if not found.order:
        raise typer.Exit(1)
    if as_json or quiet:
        return
    _console.say("Next: go the whole way; interrupted anywhere, the same command resumes", style="bold")
    flags = {"method": method, "budget": budget, "floor": floor, "references": references, "policy": policy}
    again = _job.words("erase", job, **flags, device=device)
    _console.verbatim(f"      {_next.line(*again)}")


def _show(found: Plan, problem: Problem, *, as_json: bool, quiet: bool) -> None:
    from expunge.cli._progress import show_plan

    gone, held = len(problem.forget_view), len(problem.held_out or ())
    stay, stand_ins = len(problem.retain_view), 0
    if problem.calibration is not None:
        stay, stand_ins = 0, stay
    if as_json:
        counts = {"forget_count": gone, "retain_count": stay, "calibration_count": stand_ins, "holdout_count": held}
        _console.emit_json({**plain(found), **counts})
        return
    if quiet:
        _console.say(f"would try: {', '.join(found.order) or 'nothing'}")
        return
    instead = f", {stand_ins} stand for what stayed" if stand_ins else ""
    _console.say(f"{gone} record{'s' * (gone != 1)} to forget; {stay} stay{instead}, {held} held out")
    show_plan(found)
