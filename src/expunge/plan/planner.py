"""The planner: which methods are possible, what they cost, in which order they are worth trying."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

from expunge.core import registry
from expunge.core.check import EvidenceKind
from expunge.core.errors import Obstacle
from expunge.core.method import Cost, Method, Need
from expunge.core.plan import BY_RECIPE, FORCED, ON_REQUEST, OVER_BUDGET, TUNED, Foresight, Option, Plan
from expunge.core.problem import Problem
from expunge.numerics.equivalence import MIN_REFERENCES

NOTHING = Cost()


def make_plan(
    problem: Problem,
    *,
    budget: float,
    references: int,
    choosing_references: int,
    given: int = 0,
    audit: Cost,
    passes: float | None,
    checking: Cost = NOTHING,
    only: Sequence[str] = (),
    first: str = "",
    tuned: Sequence[str] = (),
    tuning: float = 0.0,
    configs: Mapping[str, Mapping[str, object]] | None = None,
    missing: Mapping[str, str] | None = None,
    policies: Sequence[Foresight] = (),
    alike: bool = False,
    begun: Collection[str] = (),
) -> Plan:
    """Return the plan.

    Methods whose guarantee must be earned in the audit come first, cheapest first, as long as together
    they stay within ``budget`` (a share of one retraining), or ``first`` alone of them; then methods whose guarantee
    stands alone, each of which must fit the budget by itself.

    Args:
        problem: the problem.
        budget: 1.0 is the work of one retraining.
        references: number of references for judging.
        choosing_references: number of references for choosing.
        given: how many of those for judging were made elsewhere and cost nothing here.
        audit: work of judging one model, references apart.
        passes: how often a retraining reads each record; None where unknown.
        checking: the most that checking the trainer costs, which is done once before it is used.
        only: names of methods; these alone are planned, in this order, controls too.
        first: the method that recipes speak for here, in the place of all others that must earn their claim.
        tuned: those among ``only`` that ``auto`` chose; a trial that does not fit is never made, nor then an attempt.
        tuning: the most that tuning costs, a part of ``budget``; the rest is what one run of what is tuned may cost.
        configs: settings by method.
        missing: required evidence that the audit will lack, by check.
        policies: what each policy costs and can show here, cheapest first.
        alike: there is a trainer, and it gives one model whatever the seed.
        begun: methods of which there is an attempt: where they are named, what it can do at best keeps none back.
    """
    whole = retraining_cost(problem, passes)
    names = list(only) or [n for n in registry.names("methods") if not registry.load("methods", n).control]
    methods = [registry.load("methods", name)((configs or {}).get(name)) for name in names]
    begun = [name for name in begun if name in only]
    tries = {*tuned, *begun}
    obstacles = {m.name: m.obstacles(problem) or ([] if m.name in tries else m.futile(problem)) for m in methods}
    stands = {method.name: method.guarantee_on(problem).stands_alone for method in methods}
    unasked = {m.name: m.name == first if first and not stands[m.name] else m.unasked for m in methods}
    if not only:
        shares = {m.name: math.inf if obstacles[m.name] else _share(m, problem, whole) for m in methods}
        methods.sort(key=lambda m: (stands[m.name], not unasked[m.name], shares[m.name], m.name))
    options, spent = [], 0.0
    for method in methods:
        found = obstacles[method.name]
        why = TUNED if method.name in tuned else FORCED if only else ""
        option = _option(
            method,
            problem,
            whole,
            found,
            budget=budget,
            spent=spent,
            asked=why,
            most=budget - tuning,
            unasked=BY_RECIPE if method.name == first else _WHY[stands[method.name]] if unasked[method.name] else "",
        )
        spent += (option.share or 0.0) if option.planned and not option.guarantee.stands_alone else 0.0
        options.append(option)
    planned = [method for method, option in zip(methods, options, strict=True) if option.planned]
    trains = references > given or any(Need.TRAINER in method.needs for method in planned)
    options.sort(key=lambda option: not option.planned)
    work = checking if trains else NOTHING
    total = _whole_course(options, whole, audit, work, references + choosing_references, given, budget)
    return Plan(
        options=tuple(options),
        budget=budget,
        references=references,
        choosing_references=choosing_references,
        retraining=whole,
        audit_share=audit.share_of(whole) if whole else None,
        whole=total,
        advice=(
            *_own_words(problem, methods, options),
            *(f"{m.title}: {_reason(each)}." for m in methods if m.name in begun for each in m.futile(problem)),
            *_advice(problem, options, references, given, total, missing or {}, policies, alike),
            *_uncosted(problem, whole),
        ),
        policies=tuple(policies),
        tuning=tuning,
    )


def retraining_cost(problem: Problem, passes: float | None) -> Cost | None:
    """Return the work of one retraining that reads each record so often; None where that is unknown."""
    return Cost(trained=passes * len(problem.retain_view)) if passes else None


_WHY = {
    True: "its guarantee stands by how it works; tried last, when nothing cheaper passes",
    False: "cheaper than retraining; earns its claim only if the audit passes",
}


def _cost(method: Method, problem: Problem, whole: Cost | None) -> Cost:
    # A trainer that does not say how often it reads a record is measured; the method cannot know that.
    return whole if method.name == "retrain" and whole is not None else method.cost(problem)


def _share(method: Method, problem: Problem, whole: Cost | None) -> float:
    cost = _cost(method, problem, whole)
    return cost.share_of(whole) if whole else 3 * cost.trained + cost.read


def _option(
    method: Method,
    problem: Problem,
    whole: Cost | None,
    obstacles: Sequence[Obstacle],
    *,
    budget: float,
    spent: float,
    asked: str,
    most: float,
    unasked: str,
) -> Option:
    guarantee = method.guarantee_on(problem)
    cost = Cost() if obstacles else _cost(method, problem, whole)
    share = cost.share_of(whole) if whole and not obstacles else None
    if share and asked == TUNED:  # whatever its settings cost by themselves, tuning chooses what costs up to so much
        part, share = most / share, most
        cost = Cost(trained=part * cost.trained, read=part * cost.read)
    planned, why = True, unasked
    if obstacles:
        planned, why = False, "; ".join(map(_reason, obstacles))
    elif asked:
        why = asked
    elif not unasked:
        planned, why = False, f"{ON_REQUEST}: --method {method.name}"
    elif share is not None and share + (0 if guarantee.stands_alone else spent) > budget * (1 + 1e-9):
        planned = False
        why = f"{OVER_BUDGET} of {budget:.0%} of one retraining"
    return Option(
        method=method.name,
        title=method.title,
        guarantee=guarantee,
        cost=cost,
        share=share,
        planned=planned,
        why=why,
    )


def _reason(obstacle: Obstacle) -> str:
    told = obstacle.found not in ("", "none")  # that there is none is what the sentence says
    return f"{obstacle.what} (found: {obstacle.found})" if told else obstacle.what


def _whole_course(
    options: Sequence[Option],
    whole: Cost | None,
    audit: Cost,
    checking: Cost,
    references: int,
    given: int,
    budget: float,
) -> float | None:
    planned = [option for option in options if option.planned]
    if whole is None or not planned or any(option.share is None for option in planned):
        return None
    audits = audit.share_of(whole) * (len(planned) + 1 + references)
    attempts = sum(option.share or 0.0 for option in planned if not option.tuned)
    tuned = budget if any(option.tuned for option in planned) else 0.0  # the search and all that it leads to
    return attempts + tuned + references - given + audits + checking.share_of(whole)


def _own_words(problem: Problem, methods: Sequence[Method], options: Sequence[Option]) -> list[str]:
    """Return what the methods that can run here say of their work; of those tried on request only where named."""
    asked = [option for option in options if not option.why.startswith(ON_REQUEST)]
    possible = {option.method: option.title for option in asked if option.cost.trained + option.cost.read}
    named = [
        (possible[method.name], said)
        for method in methods
        if method.name in possible
        for said in method.advice(problem)
    ]
    return [f"{title}: {said}." for title, said in named]


def _uncosted(problem: Problem, whole: Cost | None) -> list[str]:
    """Return why no cost is given as a share of one retraining, in words; nothing where they are."""
    if whole is not None or problem.calibration is not None:  # of these the advice says it with all that they lack
        return []
    if problem.trainer is None:
        return ["Costs are not known as shares of one retraining: there is no trainer to retrain with."]
    return [
        "Costs are not known yet as shares of one retraining: the trainer does not say how often it reads a record, "
        "and erase measures it first."
    ]


_MORE = {
    True: f"Give the audit {MIN_REFERENCES} or more that were retrained elsewhere (given_references).",
    False: "Ask for more with --references, or leave their number to the policy.",
}
"""How to come by references; True: without a trainer."""


def _advice(
    problem: Problem,
    options: Sequence[Option],
    references: int,
    given: int,
    total: float | None,
    missing: Mapping[str, str],
    policies: Sequence[Foresight],
    alike: bool,
) -> tuple[str, ...]:
    advice = []
    uncompared = [name for name, kinds in missing.items() if EvidenceKind.REFERENCES.value in kinds]
    others = {name: kinds for name, kinds in missing.items() if name not in uncompared}
    if problem.calibration is not None:
        advice.append(
            f"The retained records are gone, and {len(problem.retain_view)} calibration records stand for them: "
            "what a method keeps, it keeps as far as these show it. Nothing can be retrained, so there is no exact "
            "method, no cost of a retraining to compare with, and no reference that was not given."
        )
    if problem.trainer is None and not uncompared:
        advice.append(
            "Without a trainer there is no exact retraining to fall back on: where no method passes the audit, nothing "
            "is claimed."
        )
    elif references and uncompared:
        kind = "were given" if given == references else "are planned"
        advice.append(
            f"Only {references} references {kind}: {MIN_REFERENCES} or more are needed to see how far retrained models "
            f"differ, so the verdict will be inconclusive. {_MORE[problem.trainer is None]}"
        )
    elif problem.trainer is None:
        advice.append(
            "Without a trainer there are no references and no exact retraining: nothing can be called erased, "
            f"and an audited claim cannot be reached. {_MORE[True]}"
        )
    elif uncompared and alike:
        advice.append(
            "Retrained models do not differ here: the trainer gives one model whatever the seed, so there is no spread "
            "to judge by, no references are trained, and the audit reaches no verdict. A guarantee by construction "
            "needs none."
        )
    elif uncompared:
        advice.append("Without references the audit cannot reach a verdict.")
    if others:
        kinds = ", ".join(sorted(set(others.values())))
        advice.append(f"Without {kinds}, {', '.join(others)} cannot run, so the verdict will be inconclusive.")
    usable = [seen.policy for seen in policies if not seen.missing and not seen.chosen]
    if missing and usable:
        advice.append(f"All that {' or '.join(usable)} needs is there: --policy {usable[0]}.")
    retrain = next((o for o in options if o.method == "retrain" and not o.why.startswith("retrain needs")), None)
    if references > given and total is not None and total > 1 and retrain is not None:
        advice.append(
            f"The whole course costs up to {total:.1f} retrainings, most of it for the {references - given} references "
            f"of the audit. One retraining (--method {retrain.method} --references 0) is cheaper and stronger: do that "
            "unless you want the audit itself, or will reuse its references."
        )
    return tuple(advice)
