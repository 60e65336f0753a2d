"""The plan of one problem under one policy: what the planner needs, gathered."""

from __future__ import annotations

from expunge.audit.judge import lacking
from expunge.audit.policy import Policy
from expunge.core import registry
from expunge.core.check import EvidenceKind
from expunge.core.method import Cost
from expunge.core.plan import Plan
from expunge.core.problem import Problem
from expunge.engine.split import judged_count
from expunge.plan.planner import make_plan
from expunge.workflow.settings import Settings


def reference_count(problem: Problem, settings: Settings, policy: Policy) -> int:
    """Return how many references judge; none can be made without a trainer."""
    if problem.trainer is None:
        return 0
    return policy.references if settings.references is None else settings.references


def declared_passes(problem: Problem) -> float | None:
    """Return how often the trainer says it reads each record, None where it does not say."""
    declared = getattr(problem.trainer, "passes", None)
    return float(declared) if declared is not None else None


def plan_of(problem: Problem, settings: Settings, policy: Policy, *, passes: float | None) -> Plan:
    """Return the plan; ``passes`` as declared or measured."""
    references = reference_count(problem, settings, policy)
    suite = policy.suite(corrections=bool(problem.request.corrections))
    judged = judged_count(len(problem.forget_view))
    cost = Cost()
    for name in suite:
        cost += registry.load("checks", name)().cost(judged, 0)
    return make_plan(
        problem,
        budget=settings.budget,
        references=references,
        choosing_references=policy.choosing_references if references else 0,
        audit=cost,
        passes=passes,
        only=settings.methods,
        configs=settings.configs,
        missing=lacking(suite, _have(problem, references)),
    )


def _have(problem: Problem, references: int) -> frozenset[EvidenceKind]:
    kinds = {EvidenceKind.FORGET, EvidenceKind.RETAIN}
    kinds |= {EvidenceKind.HOLDOUT} if problem.held_out is not None else set()
    kinds |= {EvidenceKind.REFERENCES} if references else set()
    kinds |= {EvidenceKind.CORRECTIONS} if problem.request.corrections else set()
    return frozenset(kinds)
