"""UAM: learn what remains from where the forgotten records are hardest."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from expunge.core.config import setting
from expunge.core.level import Level
from expunge.core.method import Cost, Need
from expunge.core.problem import Problem
from expunge.engine.context import Context
from expunge.engine.passes import Batch, Pass, Passes
from expunge.numerics.losses import mean_loss


class UnlearningAware(Passes):
    """In every step go a length rho up the forget loss, take the slope of the retain loss there, come back, and step.

    rho falls by half a cosine to nothing over all steps. The forget batch is answered in a call of its own, so that
    batch normalisation sees it alone; the public code answers both sets in one call.
    """

    title = "Unlearning-aware minimisation (UAM)"
    source = "Unlearning-Aware Minimization, NeurIPS 2025; rule as in the torchunlearn package"
    guarantee = Level.AUDITED
    needs: ClassVar[frozenset[Need]] = frozenset({Need.RETAIN, Need.FORGET})
    unasked: ClassVar[bool] = False

    @dataclass(frozen=True, kw_only=True)
    class Config(Passes.Config):
        """Settings of UAM."""

        rho: float = setting(0.1, "length of the way up, in the first step; 0 is fine-tuning", low=0, search=(0.01, 2))

    def passes(self, epoch: int) -> tuple[Pass, ...]:
        """Return one pass over the retain set with a forget batch beside each step."""
        return (Pass("both", self.objective, self.config.batch_size, unanswered="retain"),)

    def prepare(self, model: nn.Module, problem: Problem, run: Context) -> Cost:
        """Note what a step needs."""
        self._model, self._task = model, problem.meaning
        self._epoch_steps = self.passes(1)[0].steps(problem)
        return Cost()

    def before_epoch(self, model: nn.Module, epoch: int, optimiser: Any) -> None:
        """Count steps on from the epochs before, also those of an earlier process."""
        self._step = (epoch - 1) * self._epoch_steps

    def objective(self, batch: Batch) -> Tensor:
        """Return the mean retain loss of the model that has gone up the forget loss."""
        assert batch.forget is not None
        assert batch.retain_side is not None
        moving = [p for p in self._model.parameters() if p.requires_grad]
        self._from = [(p, p.detach().clone()) for p in moving]
        slopes = torch.autograd.grad(mean_loss(batch.forget), moving, allow_unused=True)
        norm = math.sqrt(sum(float((g.double() ** 2).sum()) for g in slopes if g is not None))
        way = self.config.rho * 0.5 * (1 + math.cos(math.pi * self._step / (self.config.epochs * self._epoch_steps)))
        with torch.no_grad():
            for p, g in zip(moving, slopes, strict=True):
                if g is not None and norm > 0:
                    p.add_(g, alpha=way / norm)
        return mean_loss(self._task.units(self._model, batch.retain_side.batch))

    def before_update(self, model: nn.Module, step: int, steps: int) -> None:
        """Come back, to the bit."""
        with torch.no_grad():
            for p, value in self._from:
                p.copy_(value)
        self._step += 1
