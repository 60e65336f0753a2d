"""CF-k: fine-tune the last blocks alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from expunge.core.config import setting
from expunge.core.level import Level
from expunge.core.method import Cost
from expunge.core.problem import Problem
from expunge.engine.anatomy import freeze_all_but, last
from expunge.engine.context import Context
from expunge.engine.descent import Descent
from expunge.numerics.losses import mean_loss
from expunge.numerics.units import Units


class CfK(Descent):
    """Freeze all but the head and the k blocks before it, and train these on what remains.

    What is frozen keeps its batch statistics, too. Parameters that belong to no block (a class token, positions) are
    frozen unless k covers the whole model. The penalty on the distance to the start that later re-implementations add
    is not in the paper, and not here.
    """

    title = "Fine-tune the last k blocks on the retained records"
    source = "Goel et al. 2022, arXiv 2201.06640, CF-k"
    guarantee = Level.AUDITED
    unasked: ClassVar[bool] = False

    @dataclass(frozen=True, kw_only=True)
    class Config(Descent.Config):
        """Settings of CF-k."""

        epochs: int = setting(10, "passes over the retain set", low=0, search=(1, 10))
        lr: float = setting(0.01, "peak learning rate", above=0, search=(1e-4, 0.1))
        optimiser: str = setting("sgd", "optimiser", choices=("adamw", "sgd"))
        k: int = setting(1, "blocks before the head that move with it; more than there are: all", low=0, search=(0, 9))

    def prepare(self, model: nn.Module, problem: Problem, run: Context) -> Cost:
        """Freeze what comes before."""
        freeze_all_but(model, last(model, self.config.k))
        return Cost()

    def objective(self, retain: Units, forget: Units | None) -> Tensor:
        """Return the mean loss of the retain batch."""
        return mean_loss(retain)
