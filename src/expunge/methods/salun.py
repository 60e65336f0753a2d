"""SalUn: random labels on forgotten records, learnt by those weights alone that answer for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from expunge.core.config import setting
from expunge.core.level import Level
from expunge.core.method import Cost
from expunge.core.problem import Problem
from expunge.engine.context import Context
from expunge.engine.gradients import mean_gradient
from expunge.engine.random_labels import RandomLabels
from expunge.numerics.masks import largest, shrunk


class SalUn(RandomLabels):
    """Random labels, where only the weights move on which the forgotten records' loss depends most.

    ``mask = "hard"``: those with the largest gradients of the forgotten records' mean loss at the original, taken over
    all parameters together, equal ones in their order. ``mask = "soft"``: no gradients are read; after every step the
    distances from the original are shrunk by the k-th smallest of them, k falling in a line from ``1 - share`` of all
    parameters towards none. Frozen parameters are not counted. Masked weights end with the original's bits. Batch
    statistics are no parameters and still move, unless ``batch_statistics = "keep"``.

    The gradient is that of the mean over all forgotten records; the authors' code sums those of batch means, which is
    as much where all batches are of one size. The soft form follows the formula: their code starts from new distances
    in every epoch.
    """

    title = "SalUn (random labels, on the weights that matter for the forgotten records)"
    source = "Fan et al. 2024, arXiv 2310.12508, SalUn with a hard mask, and its soft (proximal) form"
    guarantee = Level.AUDITED
    unasked: ClassVar[bool] = False

    @dataclass(frozen=True, kw_only=True)
    class Config(RandomLabels.Config):
        """Settings; the defaults are those of the authors' code for a tenth of CIFAR-10."""

        lr: float = setting(0.013, "peak learning rate", above=0, search=(1e-4, 0.1))
        share: float = setting(
            0.5, "share of the parameters that may move; soft: at first", low=0, high=1, search=(0.1, 1)
        )
        mask: str = setting("hard", "`hard` by gradients, or `soft` by distances", choices=("hard", "soft"))

    def prepare(self, model: nn.Module, problem: Problem, run: Context) -> Cost:
        """Find the mask; it reads the forgotten records once, with gradients."""
        super().prepare(model, problem, run)
        self._start = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
        if self.config.mask == "hard":
            read = mean_gradient(model, problem, problem.forget_view, run)
            self._mask = largest({name: g.abs() for name, g in read.items()}, self.config.share)
        return self.preparation(problem)

    def preparation(self, problem: Problem) -> Cost:
        """Return one pass over the forgotten records for a hard mask, none for a soft one."""
        return Cost(trained=len(problem.forget_view)) if self.config.mask == "hard" else Cost()

    @torch.no_grad()
    def after_update(self, model: nn.Module, step: int, steps: int, optimiser: torch.optim.Optimizer) -> None:
        """Set masked weights back, or all weights nearer to the original.

        Each coordinate steps by its own gradient, decay and moments in every optimiser of ours: setting it back is
        masking all of these.
        """
        moved = {name: p for name, p in model.named_parameters() if name in self._start}
        if self.config.mask == "hard":
            for name, p in moved.items():
                p.copy_(torch.where(self._mask[name], p, self._start[name]))
            return
        away = {name: p - self._start[name] for name, p in moved.items()}
        nearer = shrunk(away, (1 - self.config.share) * (1 - step / steps))
        for name, p in moved.items():
            p.copy_(self._start[name] + nearer[name])
