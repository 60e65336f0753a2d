"""Retraining from scratch on what remains: the right answer, and the yardstick of all others."""

from __future__ import annotations

from typing import ClassVar

from expunge.core.errors import Refused
from expunge.core.level import Level
from expunge.core.method import Cost, Method, Need
from expunge.core.outcome import Outcome
from expunge.core.problem import Problem
from expunge.engine.base import start_of
from expunge.engine.context import Context
from expunge.engine.references import seeds_matter

_CHECKED = "the trainer's contract was checked: same seed, same bits; other seed or other records, other bits"
_CHECKED_WITHOUT_SEEDS = (
    "the trainer's contract was checked: same records, same bits; other records, other bits; seeds make no difference, "
    "so that retraining gives this model and no other"
)


class Retrain(Method):
    """A new model, trained by the problem's trainer on the retain set with a seed of its own."""

    title = "Retrain from scratch"
    source = "definition of exact unlearning, Cao and Yang 2015, IEEE S&P"
    guarantee = Level.EXACT
    needs: ClassVar[frozenset[Need]] = frozenset({Need.RETAIN, Need.TRAINER})
    spreads = True

    def cost(self, problem: Problem) -> Cost:
        """Return one retraining; a trainer that does not say its passes is taken for one pass until measured."""
        return Cost(trained=float(getattr(problem.trainer, "passes", 1)) * len(problem.retain_view))

    def unlearn(self, problem: Problem, run: Context) -> Outcome:
        """Return the retrained model."""
        if run.retrain is None:
            raise Refused("retraining needs a trainer", found="none")
        model, retrained = run.retrain(run.seed)
        return Outcome(
            model=model,
            cost=retrained.cost,
            touched=1.0,
            stopped="training finished",
            evidence=(
                "the trainer was called with a view of the retained records only",
                "every retained record was read through that view, and it hands out no other record",
                _CHECKED if seeds_matter(problem) else _CHECKED_WITHOUT_SEEDS,
                f"assumption: {_started(problem)}, and reads training records from nowhere else",
            ),
        )


def _started(problem: Problem) -> str:
    base = start_of(problem)
    if base is None:
        return "the trainer starts from new weights"
    called = f"whose weights have the digest {base}" if base else "that it was given"
    return f"the trainer starts from the base {called}, which is taken as it is"
