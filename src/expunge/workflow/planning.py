"""The plan of one problem under one policy: what the planner needs, gathered."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from expunge.audit import policy as policies
from expunge.audit.foresight import audit_cost, foresee
from expunge.audit.judge import lacking, wanted
from expunge.audit.policy import Policy
from expunge.core import registry
from expunge.core.check import EvidenceKind
from expunge.core.errors import UsageError
from expunge.core.level import Level
from expunge.core.method import Cost, Method
from expunge.core.plan import Foresight, Plan
from expunge.core.problem import Problem
from expunge.engine import benchmarks
from expunge.engine.available import available
from expunge.engine.benchmarks import Benchmarks
from expunge.engine.references import most_of_checking, seeds_matter
from expunge.numerics.equivalence import MIN_REFERENCES
from expunge.plan.auto import AUTO, GLANCES, Candidate, candidates, others, spoken_for
from expunge.plan.planner import make_plan, retraining_cost
from expunge.workflow.settings import Settings


def policy_of(problem: Problem, settings: Settings) -> Policy:
    """Return the policy that judges: the one that is named, else that of the task, with the tasks of lm-eval if any.

    Raises:
        UsageError: the policy cannot be read, or these tasks cannot be asked.
    """
    policy = policies.load(settings.policy or policies.for_task(problem.task))
    tasks = Benchmarks.of(settings.lm_eval, where="lm_eval") if settings.lm_eval else policy.lm_eval
    if settings.lm_eval and not tasks.tasks:
        raise UsageError(
            "no task of lm-eval is named", where="lm_eval", expected='tasks = ["..."]', fix="name some, or leave it out"
        )
    if not tasks.tasks:
        return policy
    benchmarks.look(problem, tasks)
    return policy.asking(tasks)


def reference_count(problem: Problem, settings: Settings, policy: Policy) -> int:
    """Return how many references judge: all that were given, and what the trainer, if there is one, adds to them.

    A trainer to which seeds make no difference adds none: the models would all be one.
    """
    given = len(settings.given_references)
    if problem.trainer is None or not seeds_matter(problem):
        return given
    return max(given, policy.references if settings.references is None else settings.references)


def filters(method: Method, problem: Problem) -> bool:
    """Return whether a method leaves the model as it is, and filters what goes in and comes out."""
    return method.guarantee_on(problem) is Level.SUPPRESSED


def only_filters(problem: Problem, settings: Settings) -> bool:
    """Return whether nothing but filters is asked for: then nothing is trained, and nothing audited."""
    names = settings.methods
    made = [registry.load("methods", name)(settings.configs.get(name)) for name in names if name != AUTO]
    return bool(names) and len(made) == len(names) and all(filters(method, problem) for method in made)


def declared_passes(problem: Problem) -> float | None:
    """Return how often the trainer says it reads each record, None where it does not say."""
    declared = getattr(problem.trainer, "passes", None)
    return float(declared) if declared is not None else None


def plan_of(
    problem: Problem, settings: Settings, policy: Policy, *, passes: float | None, begun: Collection[str] = ()
) -> Plan:
    """Return the plan; ``passes`` as declared or measured, ``begun`` the methods of which there is an attempt."""
    alone = only_filters(problem, settings)
    references = 0 if alone else reference_count(problem, settings, policy)
    have = available(problem)
    suite = policy.suite(have)
    tuned = candidates(problem, settings.configs) if AUTO in settings.methods else ()
    first = None if settings.methods else spoken_for(problem, settings.configs)
    only = tuple(dict.fromkeys(n for name in settings.methods for n in _named(name, tuned)))
    plan = make_plan(
        problem,
        budget=settings.budget,
        references=references,
        choosing_references=0 if first else _choosing_references(problem, policy, references, only, tuned),
        given=0 if alone else len(settings.given_references),
        audit=Cost() if alone else audit_cost(problem, policy, suite),
        passes=passes,
        checking=most_of_checking(problem, passes) if passes and problem.trainer is not None else Cost(),
        only=only,
        first=first.method if first else "",
        tuned=[each.method for each in tuned],
        tuning=settings.budget * settings.tuning if tuned else 0.0,
        configs={**settings.configs, **{each.method: each.base for each in ((*tuned, first) if first else tuned)}},
        alike=problem.trainer is not None and not seeds_matter(problem),
        begun=begun,
        missing={}
        if alone
        else lacking(wanted(suite), have | {EvidenceKind.REFERENCES} if references >= MIN_REFERENCES else have),
        policies=() if alone else _policies(problem, policy, references, len(settings.given_references), passes),
    )
    advice = (*plan.advice, *_glances(problem, settings, tuned, plan), *_floor(settings, tuned))
    return replace(plan, floor=settings.floor, advice=advice)


def _floor(settings: Settings, tuned: Sequence[Candidate]) -> list[str]:
    """Return that a floor holds nothing where nothing is tuned, in words."""
    if settings.floor is None or tuned:
        return []
    return [
        f"The floor of {settings.floor:.1%} is one of tuning, and nothing is tuned: name auto, or leave what stays to "
        "the audit."
    ]


def _glances(problem: Problem, settings: Settings, tuned: Sequence[Candidate], plan: Plan) -> list[str]:
    """Return which methods ``auto`` may come to beside those that are planned, in words."""
    if not tuned or plan.retraining is None:
        return []
    left, names = plan.tuning * GLANCES, []
    for each in others(problem, settings.configs, tuned):
        left -= registry.load("methods", each.method)(each.base).cost(problem).share_of(plan.retraining)
        if left < 0:
            break
        names.append(each.method)
    if not names:
        return []
    return [
        f"auto looks at up to {len(names)} further methods with one trial each ({', '.join(names)}): one that does "
        "better at once than those that are planned may be tuned, and tried, in the place of the last of them."
    ]


def _named(name: str, tuned: Sequence[Candidate]) -> list[str]:
    return [each.method for each in tuned] if name == AUTO else [name]


def _choosing_references(
    problem: Problem, policy: Policy, references: int, only: Sequence[str], tuned: Sequence[Candidate]
) -> int:
    """Return how many models are retrained to choose by; a method that was tuned without any goes on without."""
    alone = bool(only) and {each.method for each in tuned} >= set(only)
    return policy.choosing_references if references and problem.trainer is not None and not alone else 0


def _without(seen: Foresight, given: int, *, trainer: bool) -> Foresight:
    """Return what is foreseen with ``given`` of its references made elsewhere, at no cost here."""
    choosing = seen.choosing_references if trainer else 0
    return replace(seen, choosing_references=choosing, share=None if seen.share is None else seen.share - given)


def _policies(
    problem: Problem, policy: Policy, references: int, given: int, passes: float | None
) -> tuple[Foresight, ...]:
    """Return what the policy that judges and each of ours costs and can show here, cheapest first."""
    whole = retraining_cost(problem, passes)
    others = [other for name in policies.names(problem.task) if (other := policies.load(name)).digest != policy.digest]
    if policy.lm_eval.tasks:  # the same policy but for these
        others = [other for other in others if other.name != policy.name]
    found = [foresee(problem, policy, references=references, whole=whole, chosen=True)]
    for other in others:
        count = max(given, other.references) if problem.trainer is not None and seeds_matter(problem) else given
        found.append(foresee(problem, other, references=count, whole=whole))
    found = [_without(seen, given, trainer=problem.trainer is not None) for seen in found]
    return tuple(sorted(found, key=lambda seen: (seen.references, seen.checks, seen.policy)))
