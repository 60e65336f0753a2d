"""CFW: confuse the first layer with noise, and repair it on the retained records, every class with its weight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from expunge.core.config import setting
from expunge.core.errors import Obstacle
from expunge.core.level import Level
from expunge.core.method import Cost
from expunge.core.problem import Problem
from expunge.engine.anatomy import stem
from expunge.engine.context import Context
from expunge.engine.descent import Descent
from expunge.engine.relabelling import labels_of
from expunge.numerics.units import Scored


class ConfusedFirst(Descent):
    """Add noise to the weights of the first layer; fine-tune with class weights; add a little before the last epoch.

    The entry names its class weights (1 for the first of ten classes, 0.05 for the others); here a class weighs in
    inverse proportion to its retained records, 1 on the average of the records, as the re-implementation does. They
    multiply the loss of each record; public code multiplies the mean of the batch, which weighs no class.
    """

    title = "Confuse the first layer, fine-tune with class weights (CFW)"
    source = "NeurIPS 2023 unlearning competition, 3rd place, as re-implemented for Cadet et al. 2024, arXiv 2410.01276"
    guarantee = Level.AUDITED
    unasked: ClassVar[bool] = False
    dips: ClassVar[bool] = True
    classes: ClassVar[bool] = True

    @dataclass(frozen=True, kw_only=True)
    class Config(Descent.Config):
        """Settings; the defaults are the entry's. The rate falls from step to step, in its code from epoch to epoch."""

        epochs: int = setting(4, "passes over the retain set", low=0, search=(1, 10))
        lr: float = setting(7e-4, "peak learning rate", above=0, search=(1e-4, 3e-2))
        schedule: str = setting("cosine", "learning rate over steps", choices=("constant", "one_cycle", "cosine"))
        optimiser: str = setting("sgd", "optimiser", choices=("adamw", "sgd"))
        weight_decay: float = setting(5e-4, "decoupled for adamw, L2 for sgd", low=0)
        noise: float = setting(
            0.6, "standard deviation of the noise on the first layer, at the start", low=0, search=(0.01, 1)
        )
        late_noise: float = setting(0.005, "the same before the last of several epochs", low=0)

    def obstacles(self, problem: Problem) -> list[Obstacle]:
        """Return also that there is no first layer to confuse."""
        found = super().obstacles(problem)
        if not found and not _movable(problem.source.open()):
            what, fix = "cfw finds no first layer to confuse", "let the first layer move, or choose another method"
            found.append(Obstacle(what=what, found="no convolution or linear layer whose weights may move", fix=fix))
        return found

    def prepare(self, model: nn.Module, problem: Problem, run: Context) -> Cost:
        """Add the first noise, and weigh the classes."""
        labels = labels_of(problem, problem.retain_view)
        assert labels is not None  # an obstacle says so
        counts = np.bincount(labels)
        weights = len(labels) / (np.count_nonzero(counts) * np.maximum(counts, 1))
        self._weights = torch.tensor(weights, dtype=torch.float64)
        _confuse(model, self.config.noise)
        return Cost()

    def before_epoch(self, model: nn.Module, epoch: int, optimiser: Any) -> None:
        """Add the last noise."""
        if epoch == self.config.epochs > 1:
            _confuse(model, self.config.late_noise)

    def objective(self, retain: Scored, forget: Scored | None) -> Tensor:
        """Return the mean over records of the weight of the class times the loss."""
        return (self._weights.to(retain.loss)[retain.target] * retain.loss).mean()


@torch.no_grad()
def _confuse(model: nn.Module, deviation: float) -> None:
    for weight in _movable(model):
        weight.add_(torch.randn_like(weight, memory_format=torch.contiguous_format), alpha=deviation)


def _movable(model: nn.Module) -> list[Any]:
    first: Any = stem(model)
    return [first.weight] if first is not None and first.weight.requires_grad else []
