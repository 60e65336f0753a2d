"""Single steps of the way, for benchmarks: what all methods need, one attempt, the choice of a method, the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from expunge.core import registry
from expunge.core.errors import InvalidProblem, Obstacle, UsageError
from expunge.core.problem import Problem
from expunge.engine.progress import Progress
from expunge.engine.runtime import Workers
from expunge.plan.auto import AUTO
from expunge.workflow._course import plan_in, try_method
from expunge.workflow._opening import with_run
from expunge.workflow.ending import finish
from expunge.workflow.settings import Result, Settings
from expunge.workflow.stages import Stages
from expunge.workflow.tuning import course, found


def prepare(
    problem: Problem, *, progress: Progress | None = None, pool: type[Workers] = Workers, **settings: Any
) -> Path:
    """Do what every method on this problem needs, and return the run directory: the references, the control audit.

    A copy of the directory is a run to which :func:`attempt` and :func:`erase` with the same settings add a method.
    Keyword arguments are the fields of :class:`Settings`.

    Raises:
        InvalidProblem: lists all obstacles, before anything is written.
        ForeignRun: ``out`` holds another job.
    """

    def work(stages: Stages, notes: list[str]) -> Result:
        if stages.references > len(stages.given) or stages.passes() is None:
            stages.trainer()
        stages.original()
        stages.control()
        return Result(stages.run.folder, None, None, problem=stages.problem)

    return with_run(problem, Settings.of(settings), progress, work, pool=pool).out


class Choice(NamedTuple):
    """A method, its settings, and what finding them cost as a share of one retraining."""

    method: str
    config: Mapping[str, object]
    share: float


def attempt(
    problem: Problem, *, progress: Progress | None = None, pool: type[Workers] = Workers, **settings: Any
) -> Path:
    """Run the first of the named methods, save its model unjudged, and return the run directory.

    Of ``auto`` that is the method that tuning finds best, with its settings. :func:`judge` with the same settings, in
    another process if need be, goes on with the audit. Keyword arguments are the fields of :class:`Settings`.

    Raises:
        InvalidProblem: lists all obstacles, before anything is written; or ``auto`` finds nothing to try.
    """
    chosen = Settings.of(settings)

    def work(stages: Stages, notes: list[str]) -> Result:
        name, config, tuned = _first(stages, chosen)
        try_method(stages, name, registry.load("methods", name)(config), tuned)
        return Result(stages.run.folder, None, None, problem=stages.problem)

    return with_run(problem, chosen, progress, work, pool=pool).out


def choose(
    problem: Problem, *, progress: Progress | None = None, pool: type[Workers] = Workers, **settings: Any
) -> Choice:
    """Return what :func:`attempt` with the same arguments would run, and run nothing else.

    Of ``auto`` the search is stages of the run directory: killed, the same call goes on. Keyword arguments are the
    fields of :class:`Settings`.

    Raises:
        InvalidProblem: lists all obstacles, before anything is written; nothing is to be forgotten, or ``auto`` finds
            nothing to try.
    """
    if not problem.forget_ids:
        raise InvalidProblem([Obstacle(what="nothing to choose a method for", where="request", found="no record")])
    chosen, made = Settings.of(settings), list[Choice]()

    def work(stages: Stages, notes: list[str]) -> Result:
        name, config, _ = _first(stages, chosen)
        made.append(Choice(name, config or {}, sum(one.share for one in found(stages, chosen.floor))))
        return Result(stages.run.folder, None, None, problem=stages.problem)

    with_run(problem, chosen, progress, work, pool=pool)
    return made[0]


def judge(
    problem: Problem, *, progress: Progress | None = None, pool: type[Workers] = Workers, **settings: Any
) -> Result:
    """Audit what :func:`attempt` saved in the run directory, and write the report.

    Keyword arguments are the fields of :class:`Settings`, as :func:`attempt` was given them.

    Raises:
        UsageError: nothing was attempted there.
    """
    chosen = Settings.of(settings)

    def work(stages: Stages, notes: list[str]) -> Result:
        plan = plan_in(stages, chosen)
        tried = stages.attempts()
        if not tried:
            raise UsageError(
                "nothing to judge",
                where=stages.run.folder.name,
                found="no attempt",
                expected="a run directory in which a method was run",
                fix="run `attempt` with the same settings first",
            )
        for one in tried:
            stages.judge(one.number, one.guarantee)
        return finish(stages, chosen, plan, notes, tried=[one.number for one in tried])

    return with_run(problem, chosen, progress, work, pool=pool)


def _first(stages: Stages, settings: Settings) -> tuple[str, Mapping[str, object] | None, str]:
    """Return the first method to run: its name, its settings, and how these were found where they were tuned."""
    name = settings.methods[0]
    if name != AUTO:
        config = settings.configs.get(name)
        if wrong := registry.load("methods", name)(config).obstacles(stages.problem):
            raise InvalidProblem(wrong)
        return name, config, ""
    if stages.passes() is None:
        stages.trainer()  # what a retraining costs bounds the search
    plan = plan_in(stages, settings)
    first = next(course(stages, settings, plan, [], blind=False), None)
    if first is None:
        raise InvalidProblem(
            [
                Obstacle(
                    what="tuning found nothing to try",
                    where=f"method {AUTO}",
                    found=f"a budget of {settings.budget:.0%} of one retraining"
                    + (f", a floor of {settings.floor:.1%}" if settings.floor is not None else ""),
                    expected="settings that fit into it and keep the accuracy on held-out records",
                    fix="raise the budget, or name a method"
                    if settings.floor is None
                    else "raise the budget, lower the floor, or name a method",
                )
            ]
        )
    return first
