"""The whole way: plan, forget, audit, certify. The composition root behind API, CLI and service."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from expunge.audit.policy import Policy
from expunge.core import registry
from expunge.core.errors import InvalidProblem, NotFound, UsageError
from expunge.core.finder import Finder, Found
from expunge.core.plan import Plan
from expunge.core.problem import Problem
from expunge.engine.given import examine
from expunge.engine.progress import Progress
from expunge.engine.runtime import Workers, single_thread
from expunge.workflow._course import audit_of, whole_way
from expunge.workflow._opening import folder_of, not_found, tunable, unclaimable, with_run
from expunge.workflow._steps import Choice, attempt, choose, judge, prepare
from expunge.workflow.bad_input import look, sentence
from expunge.workflow.launch import at_its_place, pool_of
from expunge.workflow.planning import declared_passes, plan_of, policy_of
from expunge.workflow.settings import Result, Settings

__all__ = ["Choice", "Result", "Settings", "attempt", "audit", "choose", "erase", "find", "judge", "plan", "prepare"]

NOTHING_ASKED = "The request names no records: nothing of this would be done, and the model would be copied as it is."
"""What a plan says of such a request first."""


def find(problem: Problem, way: str = "alike", *, device: str = "") -> Found:
    """Return retained records that a ``way`` (see ``expunge.find``) finds to belong to the request; changes nothing.

    They are for people to look at; ``problem.widened(found.ids)`` forgets them as well. ``device`` is that of
    :class:`Settings`.

    Raises:
        UnknownName: no such way.
        InvalidProblem: lists all obstacles.
    """
    finder: Finder = registry.load("find", way)()
    problem, _ = at_its_place(problem, Settings(device=device))
    look(problem)
    single_thread()
    return finder.find(problem)


def plan(problem: Problem, **settings: Any) -> Plan:
    """Return what is possible on ``problem``, what it costs, and what would be tried in which order; trains nothing.

    Keyword arguments are the fields of :class:`Settings`.

    Raises:
        InvalidProblem: lists all obstacles.
    """
    chosen = Settings.of(settings)
    problem, where = at_its_place(problem, chosen)
    notes, _ = look(problem)
    tunable(problem, chosen)
    examine(problem, chosen.given_references)
    pool_of(problem, chosen, Workers)  # what several processes cannot do is told before they are asked to
    policy = policy_of(problem, chosen)
    plan = plan_of(problem, chosen, policy, passes=declared_passes(problem))
    said = map(sentence, [*unclaimable(problem, chosen, policy, plan), *notes])
    nothing = () if problem.forget_ids else (NOTHING_ASKED,)
    return replace(plan, advice=(*nothing, *plan.advice, *said, *(f"{each[0].upper()}{each[1:]}." for each in where)))


def erase(
    problem: Problem, *, progress: Progress | None = None, pool: type[Workers] = Workers, **settings: Any
) -> Result:
    """Go the whole way: plan, forget, audit, certify; resumes where an earlier call on ``out`` stopped.

    Keyword arguments are the fields of :class:`Settings`; ``pool`` says where retraining and audits run. A request of
    which nothing is found leaves a file that says so, ``Result.not_found``, and nothing else.

    Raises:
        InvalidProblem: lists all obstacles, before anything is written.
        ForeignRun: ``out`` holds another job.
    """
    chosen = Settings.of(settings)

    def refuse_unclaimable(policy: Policy) -> None:
        if (folder_of(problem, chosen) / "run.json").exists():
            return  # a run that was begun goes on, and one that is finished is shown
        plan = plan_of(problem, chosen, policy, passes=declared_passes(problem))
        if found := unclaimable(problem, chosen, policy, plan):
            raise InvalidProblem(found)

    try:
        return with_run(
            problem,
            chosen,
            progress,
            lambda stages, notes: whole_way(stages, chosen, notes),
            pool=pool,
            before=refuse_unclaimable,
        )
    except NotFound as error:
        return not_found(problem, chosen, error.obstacles)


def audit(
    problem: Problem,
    *,
    model: str | Path,
    progress: Progress | None = None,
    pool: type[Workers] = Workers,
    **settings: Any,
) -> Result:
    """Judge the saved model in ``model``, whoever made it; it counts as an attempt of the run directory.

    Keyword arguments are the fields of :class:`Settings`. No certificate is issued: how the model was made
    is not known.
    """
    chosen = Settings.of(settings)
    if not isinstance(model, (str, Path)):
        raise UsageError(
            "the model to audit is given as an object",
            where="model",
            found=type(model).__name__,
            expected="the folder it is saved in: what is judged is what is shipped",
            fix="save it (model.safetensors, or a .skops file), and give the folder",
        )
    return with_run(
        problem,
        chosen,
        progress,
        lambda stages, notes: audit_of(stages, chosen, notes, Path(model)),
        judged=Path(model),
        pool=pool,
    )
