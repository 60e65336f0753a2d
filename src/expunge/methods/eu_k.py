"""EU-k: draw the last blocks anew and train them from scratch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from expunge.core.config import setting
from expunge.core.errors import Obstacle
from expunge.core.level import Level
from expunge.core.method import Cost
from expunge.core.problem import Problem
from expunge.engine.anatomy import cannot_reset, freeze_all_but, last, reset, unresettable
from expunge.engine.context import Context
from expunge.engine.descent import Descent
from expunge.numerics.losses import mean_loss
from expunge.numerics.units import Units


class EuK(Descent):
    """Draw the head and the k blocks before it anew, freeze the rest, and train on what remains.

    Weights, biases, normalisation and its statistics are all drawn anew, at any depth. What is frozen still comes from
    a training that saw the forgotten records. The paper trains as long as the original was trained: ``epochs`` says
    so. The penalty on the distance to the start that later re-implementations add is not in the paper, and not here.
    """

    title = "Retrain the last k blocks on the retained records"
    source = "Goel et al. 2022, arXiv 2201.06640, EU-k"
    guarantee = Level.AUDITED
    unasked: ClassVar[bool] = False
    dips: ClassVar[bool] = True
    trial: ClassVar = {"epochs": 8, "lr": 0.1}

    @dataclass(frozen=True, kw_only=True)
    class Config(Descent.Config):
        """Settings of EU-k."""

        epochs: int = setting(30, "passes over the retain set; as many as the original's training", low=0)
        lr: float = setting(0.01, "peak learning rate", above=0, search=(1e-3, 0.1))
        optimiser: str = setting("sgd", "optimiser", choices=("adamw", "sgd"))
        k: int = setting(1, "blocks before the head drawn anew with it; more than there are: all", low=0, search=(0, 9))

    def obstacles(self, problem: Problem) -> list[Obstacle]:
        """Return what the contract says, and layers among the last ones that cannot be drawn anew."""
        found = super().obstacles(problem)
        if found:
            return found
        stubborn = unresettable(last(problem.source.open(), self.config.k))
        return [cannot_reset([type(part).__name__ for part in stubborn])] if stubborn else []

    def prepare(self, model: nn.Module, problem: Problem, run: Context) -> Cost:
        """Draw the last blocks anew, and freeze what comes before."""
        fresh = last(model, self.config.k)
        freeze_all_but(model, fresh)
        reset(fresh)
        return Cost()

    def objective(self, retain: Units, forget: Units | None) -> Tensor:
        """Return the mean loss of the retain batch."""
        return mean_loss(retain)
