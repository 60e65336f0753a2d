"""RNI: a new head, and in every epoch a few other tensors, shaken by noise and trained on what remains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from expunge.core.config import setting
from expunge.core.errors import InvalidProblem, Obstacle
from expunge.core.level import Level
from expunge.core.method import Cost
from expunge.core.problem import Problem
from expunge.engine.anatomy import NORMALISERS, head, no_head, reset
from expunge.engine.context import Context
from expunge.engine.loop import forget_moments
from expunge.engine.passes import Batch, Pass, Passes
from expunge.numerics.losses import mean_loss

_HEAD = "rni resets the head"


class NoiseInTurn(Passes):
    """Reset the head; train a few tensors and all normalisation in each epoch, some after noise; in the last ones all.

    A tensor is shaken the first time that it is picked. Every epoch starts with an optimiser that remembers nothing.
    """

    title = "Noise on a few tensors in turn (RNI)"
    source = "NeurIPS 2023 unlearning competition, 7th place, as re-implemented for Cadet et al. 2024, arXiv 2410.01276"
    guarantee = Level.AUDITED
    unasked: ClassVar[bool] = False
    dips: ClassVar[bool] = True
    trial: ClassVar[Mapping[str, object]] = {"epochs": 4, "fine": 2, "tensors": 2}

    @dataclass(frozen=True, kw_only=True)
    class Config(Passes.Config):
        """Settings; the defaults are the entry's."""

        epochs: int = setting(9, "passes over the retain set", low=0, search=(3, 12))
        fine: int = setting(
            4, "how many of them, the last ones, train all tensors, without noise", low=0, search=(1, 6)
        )
        lr: float = setting(2e-4, "learning rate", above=0, search=(1e-4, 3e-2))
        last_lr: float = setting(
            1e-3, "learning rate of the last epoch, if it is a fine one", above=0, search=(1e-4, 3e-2)
        )
        optimiser: str = setting("sgd", "optimiser", choices=("adamw", "sgd"))
        weight_decay: float = setting(5e-4, "decoupled for adamw, L2 for sgd", low=0)
        tensors: int = setting(9, "tensors that are picked for an epoch, beside normalisation", low=1)
        shaken: float = setting(0.7, "share of them that may be shaken, rounded down", low=0, high=1)
        noise: float = setting(0.04, "standard deviation of the noise", low=0, search=(0.001, 0.3))

    def obstacles(self, problem: Problem) -> list[Obstacle]:
        """Return also that there is no head to reset; reads two records for it."""
        found = super().obstacles(problem)
        if not found and head(problem.source.open(), problem) is None:
            found.append(no_head(_HEAD))
        return found

    def passes(self, epoch: int) -> tuple[Pass, ...]:
        """Return one pass over the retain set."""
        last = epoch == self.config.epochs and self.config.fine > 0
        rate = self.config.last_lr / self.config.lr if last else 1.0
        return (Pass("retain", self.objective, self.config.batch_size, rate=rate),)

    def prepare(self, model: nn.Module, problem: Problem, run: Context) -> Cost:
        """Reset the head, and pick what moves in which epoch."""
        last = head(model, problem)
        if last is None:
            raise InvalidProblem([no_head(_HEAD)])
        reset(model, [last])
        normal = {id(p) for m in model.modules() if isinstance(m, NORMALISERS) for p in m.parameters(recurse=False)}
        self._all = [p for p in model.parameters() if p.requires_grad]
        self._normal = [p for p in self._all if id(p) in normal]
        others = [p for p in self._all if id(p) not in normal]
        self._picked: list[list[Tensor]] = []
        self._shaken: list[list[Tensor]] = []
        before: set[int] = set()
        for epoch in range(max(0, self.config.epochs - self.config.fine)):
            picked = [others[i] for i in torch.randperm(len(others))[: self.config.tensors].tolist()]
            drawn = torch.randperm(len(picked))[: int(self.config.shaken * len(picked) + 1e-9)].tolist()
            self._shaken.append([picked[i] for i in drawn if id(picked[i]) not in before] if epoch else [])
            self._picked.append(picked)
            before |= {id(p) for p in picked}
        return Cost()

    def before_epoch(self, model: nn.Module, epoch: int, optimiser: Any) -> None:
        """Let move what is picked for this epoch, shake some of it, and forget all momentum."""
        early = epoch <= len(self._picked)
        moving = {id(p) for p in ([*self._picked[epoch - 1], *self._normal] if early else self._all)}
        with torch.no_grad():
            for p in self._shaken[epoch - 1] if early else ():
                p.add_(torch.randn_like(p, memory_format=torch.contiguous_format), alpha=self.config.noise)
        for p in self._all:
            p.requires_grad_(id(p) in moving)
        forget_moments(optimiser)

    def objective(self, batch: Batch) -> Tensor:
        """Return the mean loss of the retain batch."""
        assert batch.retain is not None
        return mean_loss(batch.retain)
