"""FCS: take the labels off the forgotten records, then forget by contrast and repair, in rounds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from expunge.core.config import setting
from expunge.core.level import Level
from expunge.core.method import Cost, Need
from expunge.core.problem import Problem
from expunge.engine.context import Context
from expunge.engine.passes import Batch, Pass, Passes
from expunge.numerics.losses import contrast, from_uniform, mean_loss


class ForgetByContrast(Passes):
    """A pass towards uniform answers on forgotten records; then rounds of contrast with retained ones, and repair.

    Three optimisers go through all rounds, each with its own momentum. Where the retain set is the shorter one it
    starts again beside the forget set; the entry's code ends there.
    """

    title = "Forget by contrast, in rounds (FCS)"
    source = "NeurIPS 2023 unlearning competition, 1st place, as re-implemented for Cadet et al. 2024, arXiv 2410.01276"
    guarantee = Level.AUDITED
    needs: ClassVar[frozenset[Need]] = frozenset({Need.RETAIN, Need.FORGET})
    unasked: ClassVar[bool] = False
    dips: ClassVar[bool] = True
    classes: ClassVar[bool] = True
    trial: ClassVar[Mapping[str, object]] = {"lr": 0.01}

    @dataclass(frozen=True, kw_only=True)
    class Config(Passes.Config):
        """Settings; the defaults are the entry's."""

        epochs: int = setting(8, "rounds of forgetting and repair", low=0, search=(1, 10))
        batch_size: int = setting(256, "records per step", low=1)
        lr: float = setting(
            0.004,
            "learning rate of the repair; the entry's 0.001 for every 64 records of a batch",
            above=0,
            search=(1e-4, 3e-2),
        )
        weight_decay: float = setting(0.01, "of the repair alone; decoupled for adamw, L2 for sgd", low=0)
        optimiser: str = setting("sgd", "optimiser", choices=("adamw", "sgd"))
        uniform_lr: float = setting(0.005, "learning rate of the first pass", above=0, search=(1e-4, 3e-2))
        contrast_lr: float = setting(3e-4, "learning rate of the contrast, at first", above=0, search=(1e-5, 1e-2))
        contrast_lr_end: float = setting(1e-6, "learning rate of the contrast, at last; half a cosine between", above=0)
        temperature: float = setting(1.15, "by which products of logits are divided", above=0)

    def passes(self, epoch: int) -> tuple[Pass, ...]:
        """Return forgetting and repair; before the first round the pass towards uniform answers."""
        c = self.config

        def falling(step: int) -> float:
            done = ((epoch - 1) * self._steps + step) / (c.epochs * self._steps)
            return (
                c.contrast_lr_end + (c.contrast_lr - c.contrast_lr_end) * 0.5 * (1 + math.cos(math.pi * done))
            ) / c.lr

        first = Pass("forget", self.level, c.batch_size, rate=c.uniform_lr / c.lr, moments="level", weight_decay=0.0)
        away = Pass("both", self.apart, c.batch_size, lead="forget", rate=falling, moments="contrast", weight_decay=0.0)
        repair = Pass("retain", self.repair, c.batch_size)
        return (first, away, repair) if epoch == 1 else (away, repair)

    def prepare(self, model: nn.Module, problem: Problem, run: Context) -> Cost:
        """Note how many steps a round of forgetting has."""
        self._steps = self.passes(2)[0].steps(problem)
        return Cost()

    def level(self, batch: Batch) -> Tensor:
        """Return KL(uniform || model) on forgotten records."""
        assert batch.forget is not None
        return from_uniform(batch.forget)

    def apart(self, batch: Batch) -> Tensor:
        """Return the contrast of forgotten with retained records, the latter without gradient."""
        assert batch.forget is not None
        assert batch.retain is not None
        return contrast(batch.forget, batch.retain, temperature=self.config.temperature)

    def repair(self, batch: Batch) -> Tensor:
        """Return the mean loss of the retain batch."""
        assert batch.retain is not None
        return mean_loss(batch.retain)
