"""What a policy costs and can show on a problem, known before any work.

With references what a check can show depends on how much seeds differ, which is known only once they are trained; the
margin that a true retrain needs can be given in these units. What has a yardstick of its own is known in full.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy import optimize

from expunge.audit.judge import lacking, wanted
from expunge.audit.policy import Margin, Policy
from expunge.core import registry
from expunge.core.check import EvidenceKind
from expunge.core.method import Cost
from expunge.core.plan import Foresight
from expunge.core.problem import Problem
from expunge.core.verdict import alpha_of_attempt
from expunge.engine import around, members
from expunge.engine.available import available
from expunge.engine.peers import peers
from expunge.engine.relearning import RelearningConfig
from expunge.engine.split import judged_count
from expunge.numerics import dealt, equivalence, known, matched

CHANCE = 0.9
"""A margin is called wide enough where a true retrain passes it so often."""
POWER = 0.8
MANY = 1000
"""References beyond which a margin gets no narrower."""


def audit_cost(problem: Problem, policy: Policy, suite: Mapping[str, Margin]) -> Cost:
    """Return the work of judging one model by those checks of a policy that apply."""
    cost = Cost()
    for name in suite:
        check = registry.load("checks", name)
        documents = policy.lm_eval.limit * len(policy.lm_eval.tasks)
        asks = EvidenceKind.BENCHMARKS in check.needs
        work = check().cost(documents if asks else _records(problem, check.needs), 0)
        if EvidenceKind.GRADIENTS in check.needs:  # a check states its work at the default number of passes
            passes = policy.relearning.epochs / RelearningConfig().epochs
            work = Cost(trained=work.trained * passes, read=work.read * passes)
        if EvidenceKind.AROUND in check.needs:  # and for as many copies as there are of numbers
            work = Cost(trained=work.trained, read=work.read * around.copies(problem) / around.DRAWS)
        cost += work
    return cost


def foresee(
    problem: Problem, policy: Policy, *, references: int, whole: Cost | None, chosen: bool = False
) -> Foresight:
    """Return what the policy costs and can show, for one attempt.

    ``references`` for judging; ``whole`` is the cost of one retraining, None where unknown.
    """
    have = available(problem)
    suite = policy.suite(have)
    enough = references >= equivalence.MIN_REFERENCES
    missing = lacking(wanted(suite), have | {EvidenceKind.REFERENCES} if enough else have)
    choosing = policy.choosing_references if references else 0
    share = None
    if whole is not None:
        share = references + choosing + audit_cost(problem, policy, suite).share_of(whole) * (2 + references)
    return Foresight(
        policy=policy.name,
        chosen=chosen,
        references=references,
        choosing_references=choosing,
        checks=len(wanted(suite)),
        share=share,
        missing=missing,
        shows=_shows(problem, policy, suite, references) if not missing else (),
    )


def margin_for(references: int, *, alpha: float, chance: float = CHANCE) -> float:
    """Return how many seed standard deviations wide a margin must be for a true retrain to pass so often.

    The error over records is left out: with it the margin must be wider.
    """
    references = min(references, MANY)  # of more, Student's quantile is that of as many within 0.2 %
    ranks = np.arange(references) - (references - 1) / 2
    unit = (ranks / np.std(ranks, ddof=1)).tolist()

    def short(margin: float) -> float:
        return equivalence.pass_chance(unit, record_error=0.0, alpha=alpha, margin=margin) - chance

    return float(optimize.brentq(short, 1e-3, 1e3))


def _records(problem: Problem, needs: frozenset[EvidenceKind]) -> int:
    if EvidenceKind.CANARIES in needs and problem.canaries is not None:
        return len(problem.canaries.included) + len(problem.canaries.aside)
    if EvidenceKind.TRIGGER in needs and problem.triggered_records is not None:
        return len(problem.triggered_records)
    if EvidenceKind.PEERS in needs and problem.held_out is not None:
        return judged_count(len(problem.forget_view)) + judged_count(len(problem.held_out))
    if EvidenceKind.HOLDOUT in needs and EvidenceKind.FORGET not in needs and problem.held_out is not None:
        return judged_count(len(problem.held_out))
    return judged_count(len(problem.forget_view))


def _shows(problem: Problem, policy: Policy, suite: Mapping[str, Margin], references: int) -> tuple[str, ...]:
    alpha, required = alpha_of_attempt(1, policy.alpha), wanted(suite)
    said = []
    for name, margin in required.items():
        needs = registry.load("checks", name).needs
        dealing = _dealing(problem, needs)
        if dealing is not None:
            said.append(f"{dealing[0]}: {_known(dealing[1], margin.margin, alpha, len(required))}")
    said += [f"{name} is left out: {because}" for name, because in _left_out(problem, policy, suite).items()]
    if references >= equivalence.MIN_REFERENCES:
        wide = margin_for(references, alpha=alpha)
        said.append(
            f"with {references} references a margin must be about {wide:.1f} seed standard deviations wide for a true "
            f"retrain to pass {CHANCE:.0%} of times, more where records are few"
        )
    return tuple(said)


def _dealing(problem: Problem, needs: frozenset[EvidenceKind]) -> tuple[str, float] | None:
    """Return what is dealt by chance for a check that needs no references, and the standard deviation of its value."""
    if EvidenceKind.CANARIES in needs and problem.canaries is not None:
        inside, outside = len(problem.canaries.included), len(problem.canaries.aside)
        return f"{inside} canaries deleted against {outside} never in", known.auc_error(inside, outside)
    if EvidenceKind.SHARDS in needs:
        units, count = members.judged_units(problem)
        return f"{units} forgotten subjects or records dealt to {count} members", dealt.chance_before(count, units)
    if EvidenceKind.PEERS in needs:
        found = peers(problem)
        inside, outside = found.forgotten.total(), sum(found.heldout[label] for label in found.forgotten)
        return (
            f"{inside} forgotten records against {outside} held-out ones of their classes",
            matched.chance(found.forgotten, found.heldout),
        )
    return None


def _known(error: float, margin: float, alpha: float, required: int) -> str:
    passes = known.pass_chance(error, alpha=alpha, margin=margin)
    far = known.smallest_shown(error, alpha=alpha / required, margin=margin, power=POWER)
    shown = (
        f"{far:.2f} or more from 0.5 is called a failure {POWER:.0%} of times"
        if far < 0.5
        else "too few to call anything a failure"
    )
    return f"{shown}; a true retrain passes {passes:.0%} of times"


def _left_out(problem: Problem, policy: Policy, suite: Mapping[str, Margin]) -> dict[str, str]:
    """Return why checks that need no references do not apply here, where that is not plain to see."""
    reasons = {EvidenceKind.PEERS: lambda: peers(problem).because, EvidenceKind.SHARDS: lambda: members.lacks(problem)}
    kinds = {name: registry.load("checks", name).needs for name in policy.checks if name not in suite}
    shards = members.dealt_out(problem)
    return {
        name: reasons[kind]()
        for name, needs in kinds.items()
        for kind in needs & reasons.keys()
        if kind is not EvidenceKind.SHARDS or shards
    }
