"""Balancing: go on training with every group and class of one weight, beside counter-examples where there are some."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from expunge.core.config import setting
from expunge.core.errors import Obstacle
from expunge.core.level import Level
from expunge.core.method import Cost
from expunge.core.problem import Problem
from expunge.engine.balance import lacks_groups, weights
from expunge.engine.context import Context
from expunge.engine.passes import Batch, Pass, Passes
from expunge.numerics.losses import weighted_loss


class Balance(Passes):
    """Train on the retained records weighted by group and class; with ``counter``, on counter-examples beside them.

    Counter-examples are ``Problem.counterexamples``, the user's own, real or synthetic: records of the group and class
    that the forgotten ones crowded out. Without any, balancing is by weight alone.
    """

    title = "Go on training with groups balanced"
    source = "balanced weights: King and Zeng 2001; counter-examples: Kaushik et al. 2020, arXiv 1909.12434"
    guarantee = Level.AUDITED
    unasked: ClassVar[bool] = False
    classes: ClassVar[bool] = True

    @dataclass(frozen=True, kw_only=True)
    class Config(Passes.Config):
        """Settings of balancing."""

        counter: float = setting(0.5, "weight of the counter-examples' mean loss", low=0, search=(0.1, 10))

    def obstacles(self, problem: Problem) -> list[Obstacle]:
        """Return what the contract says, and records without a group."""
        return [*super().obstacles(problem), *lacks_groups(problem, self.name)]

    def prepare(self, model: nn.Module, problem: Problem, run: Context) -> Cost:
        """Weigh the records."""
        self._weights: Mapping[str, float] = weights(problem, problem.retain_view)
        self._take(problem)
        return Cost()

    def passes(self, epoch: int) -> Sequence[Pass]:
        """Return one pass over the retain set, with counter-examples beside every step: each about once an epoch.

        The two losses are added before the step: an adaptive optimiser makes of the loss of a pass of its own a step of
        one size, whatever it is multiplied with.
        """
        size, beside = self.config.batch_size, getattr(self, "_beside", None)
        if beside is None or not self.config.counter:
            return (Pass("retain", self._weighted, size),)
        some = max(1, round(len(beside) * min(1.0, size / self._retained)))
        return (Pass("both", {"retain": self._weighted, "forget": self._countered}, size, beside=some, forget=beside),)

    def cost(self, problem: Problem) -> Cost:
        """Return the visits of the pass, those of counter-examples included."""
        self._take(problem)
        return super().cost(problem)

    def _take(self, problem: Problem) -> None:
        self._beside, self._retained = problem.more_records, len(problem.retain_view)

    def _weighted(self, batch: Batch) -> Tensor:
        retain: Any = batch.retain
        return weighted_loss(retain, [self._weights[name] for name in batch.retain_side.ids])  # type: ignore[union-attr]

    def _countered(self, batch: Batch) -> Tensor:
        assert batch.forget is not None  # they stand in the place of the forgotten ones, of which none is read
        return self.config.counter * batch.forget.loss.mean()
