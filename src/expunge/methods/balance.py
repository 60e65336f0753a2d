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

        counter: float = setting(0.5, "weight of the counter-examples' mean loss", low=0, search=(0.1, 2.0))

    def obstacles(self, problem: Problem) -> list[Obstacle]:
        """Return what the contract says, and records without a group."""
        return [*super().obstacles(problem), *lacks_groups(problem, self.name)]

    def prepare(self, model: nn.Module, problem: Problem, run: Context) -> Cost:
        """Weigh the records."""
        self._weights: Mapping[str, float] = weights(problem, problem.retain_view)
        self._beside = problem.more_records
        return Cost()

    def passes(self, epoch: int) -> Sequence[Pass]:
        """Return one pass over the retain set, and after it one over the counter-examples."""
        size = self.config.batch_size
        beside = getattr(self, "_beside", None)
        more = [] if beside is None else [Pass("retain", self._countered, size, retain=beside)]
        return (*more, Pass("retain", self._weighted, size))

    def cost(self, problem: Problem) -> Cost:
        """Return the visits of all passes, those over counter-examples included."""
        self._beside = problem.more_records
        return super().cost(problem)

    def _weighted(self, batch: Batch) -> Tensor:
        retain: Any = batch.retain
        return weighted_loss(retain, [self._weights[name] for name in batch.retain_side.ids])  # type: ignore[union-attr]

    def _countered(self, batch: Batch) -> Tensor:
        assert batch.retain is not None
        return self.config.counter * batch.retain.loss.mean()
