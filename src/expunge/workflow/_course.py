"""The course of a run: which methods are tried, one after the other, until one erases."""

from __future__ import annotations

from pathlib import Path

from expunge.audit.judge import leak_decisions
from expunge.core import registry
from expunge.core.errors import InvalidProblem
from expunge.core.level import Level
from expunge.core.method import Method, Need
from expunge.core.plan import Plan
from expunge.core.report import Audit
from expunge.core.serial import plain
from expunge.core.verdict import control_has_power
from expunge.plan.auto import AUTO
from expunge.workflow._finished import finished, shown_again
from expunge.workflow._opening import opened
from expunge.workflow.ending import FINAL, Shipped, finish
from expunge.workflow.heirs import deliver, erases
from expunge.workflow.launch import kept_back
from expunge.workflow.planning import filters, only_filters, plan_of
from expunge.workflow.settings import Result, Settings
from expunge.workflow.stages import EXTERNAL, Stages
from expunge.workflow.tuning import course


def whole_way(stages: Stages, settings: Settings, notes: list[str]) -> Result:
    """Try what is planned until a method erases, and write report, model and certificate."""
    if stages.run.done(FINAL):
        return shown_again(stages, settings)
    _runnable(stages, settings)
    made = _filtered(stages, settings)
    if made and only_filters(stages.problem, settings):
        stages.original()
        plan = plan_in(stages, settings)
        return finish(stages, settings, plan, notes, tried=made)
    if stages.references > len(stages.given) or stages.passes() is None:
        stages.trainer()
    plan = plan_in(stages, settings)
    stages.progress.plan(plan)
    left_out = [each for each in plan.options if not each.planned and each.method in settings.methods]
    notes += [f"{each.title} was not tried: {each.why}" for each in left_out]
    if not plan.order:
        costs = [(each.share, each.title) for each in plan.options if each.share is not None]
        least = ": {1}, the cheapest, costs {0:.0%} of one retraining".format(*min(costs)) if costs else ""
        notes.append(f"No method was tried{least}; the plan says what keeps each back")
    stages.original()
    control = stages.control()
    tried: list[int] = []
    for name, config, tuned in course(stages, settings, plan, notes, blind=_blind(control)):
        method: Method = registry.load("methods", name)(config)
        guarantee = method.guarantee_on(stages.problem)
        if _blind(control) and guarantee is Level.AUDITED and name not in settings.methods:
            notes.append(
                f"{name} was not tried: the audit cannot tell the original from retrained models, "
                "so no verdict on another model would mean anything"
            )
            stages.progress.say(notes[-1])
            continue
        if because := kept_back(method):
            notes.append(because)
            stages.progress.say(because)
            continue
        number = try_method(stages, name, method, tuned, asked=name in plan.order)
        stages.judge(number, guarantee)
        tried.append(number)
        if erases(stages.attempt(number)):
            break
        if not (settings.escalate or filters(method, stages.problem)):
            done = {stages.attempt(each).method for each in tried}
            left = [option.title for option in plan.options if option.planned and option.method not in done]
            notes += [f"Not tried, since the run was to stop after one attempt: {', '.join(left)}"] if left else []
            break
    return finish(stages, settings, plan, notes, tried=tried)


def _runnable(stages: Stages, settings: Settings) -> None:
    """Refuse a course of which no named method can run: nothing is trained for it."""
    problem, begun = stages.problem, stages.begun()
    named = [registry.load("methods", name)(settings.configs.get(name)) for name in settings.methods if name != AUTO]
    found = [m.obstacles(problem) or ([] if m.name in begun else m.futile(problem)) for m in named]
    if found and all(found) and AUTO not in settings.methods:
        raise InvalidProblem([obstacle for each in found for obstacle in each])


def _filtered(stages: Stages, settings: Settings) -> list[int]:
    """Write the filters that are asked for, before anything is trained or audited; return their attempts.

    What a filter claims rests on no model that never saw the records: who needs one needs it now.
    """
    made = []
    for name in settings.methods:
        method = None if name == AUTO else registry.load("methods", name)(settings.configs.get(name))
        if method is None or not filters(method, stages.problem) or method.obstacles(stages.problem):
            continue
        number = try_method(stages, name, method)
        if stages.attempt(number).claim is not None:
            deliver(stages.run, number)
            made.append(number)
    return made


def try_method(stages: Stages, name: str, method: Method, tuned: str = "", *, asked: bool = True) -> int:
    """Run a method and save its model; return the number of the attempt.

    ``tuned`` says how its settings were found; whether it was ``asked`` for, by name or by the plan.
    """
    if Need.TRAINER in method.needs:
        stages.trainer()
    number = stages.begin(name, plain(method.config), tuned=tuned)
    stages.forget(number, method, alone=bool(tuned), asked=asked)
    return number


def audit_of(stages: Stages, settings: Settings, notes: list[str], folder: Path) -> Result:
    """Judge the model that is saved in ``folder`` as an attempt."""
    if stages.run.done(FINAL):
        raise finished(stages.run, stages.read(FINAL, Shipped))
    source = stages.problem.source
    model = opened(stages.problem, folder, notes)
    stages.trainer()
    plan = plan_in(stages, settings)
    stages.original()
    beside = source.settings(folder)
    number = stages.begin(EXTERNAL, {"model": source.digest(model), **({"settings": beside} if beside else {})})
    stages.adopt(number, model)
    stages.judge(number, Level.AUDITED)
    return finish(stages, settings, plan, notes, tried=[number])


def plan_in(stages: Stages, settings: Settings) -> Plan:
    """Return the plan of a run directory, by what was measured and begun there."""
    return plan_of(stages.problem, settings, stages.policy, passes=stages.passes(), begun=stages.begun())


def _blind(control: Audit) -> bool:
    return not control_has_power(leak_decisions(control.findings))
