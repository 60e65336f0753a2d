"""Last-layer retraining: keep the features, and learn anew, from groups that count alike, what they mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from expunge.core.config import setting
from expunge.core.errors import InvalidProblem, Obstacle
from expunge.core.level import Level
from expunge.core.method import Cost
from expunge.core.problem import Problem
from expunge.engine.anatomy import freeze_all_but, head, no_head, reset
from expunge.engine.balance import lacks_groups, weights
from expunge.engine.context import Context
from expunge.engine.passes import Batch, Pass, Passes
from expunge.numerics.losses import weighted_loss

_LAST = "last_layer retrains the last layer"


class LastLayer(Passes):
    """Draw the head anew and train it alone on the retained records, each group and class with one weight.

    The paper fits a logistic regression on a held-out set that has as many records of every group; here all retained
    records are used, weighted, so that nothing held out is spent. Features that hold the forgotten records stay.
    """

    title = "Retrain the last layer, groups balanced"
    source = "Kirichenko, Izmailov and Wilson 2023, arXiv 2204.02937 (deep feature reweighting)"
    guarantee = Level.AUDITED
    unasked: ClassVar[bool] = False
    classes: ClassVar[bool] = True
    dips: ClassVar[bool] = True

    @dataclass(frozen=True, kw_only=True)
    class Config(Passes.Config):
        """Settings of last-layer retraining."""

        epochs: int = setting(10, "passes over the retain set", low=0, search=(3, 20))
        lr: float = setting(1e-2, "peak learning rate", above=0, search=(1e-3, 1e-1))

    def obstacles(self, problem: Problem) -> list[Obstacle]:
        """Return what the contract says, records without a group, and that there is no last layer."""
        found = [*super().obstacles(problem), *lacks_groups(problem, self.name)]
        if not found and head(problem.source.open(), problem) is None:
            found.append(no_head(_LAST))
        return found

    def prepare(self, model: nn.Module, problem: Problem, run: Context) -> Cost:
        """Draw the head anew, freeze the rest, and weigh the records."""
        last = head(model, problem)
        if last is None:
            raise InvalidProblem([no_head(_LAST)])
        self._weights: Mapping[str, float] = weights(problem, problem.retain_view)
        reset(model, [last])
        freeze_all_but(model, [last])
        return Cost()

    def passes(self, epoch: int) -> Sequence[Pass]:
        """Return one pass over the retain set."""
        return (Pass("retain", self._weighted, self.config.batch_size),)

    def _weighted(self, batch: Batch) -> Tensor:
        retain: Any = batch.retain
        return weighted_loss(retain, [self._weights[name] for name in batch.retain_side.ids])  # type: ignore[union-attr]
