"""KDE: a new first layer and a new head, taught by the original on records it never saw, then on the retained ones."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from expunge.core.config import setting
from expunge.core.errors import InvalidProblem, Obstacle
from expunge.core.level import Level
from expunge.core.method import Cost
from expunge.core.problem import Problem
from expunge.core.records import Records
from expunge.engine.anatomy import head, no_head, reset, stem
from expunge.engine.context import Context
from expunge.engine.passes import Batch, Pass, Passes
from expunge.engine.split import held_choosing
from expunge.numerics.losses import distillation, mean_loss, soft_cross_entropy

_ENDS = "kde resets the first layer and the head"


class KnowledgeDistillation(Passes):
    """Reset the first layer and the head; distil the original on held-out records; distil and train on retained ones.

    The held-out records are those of the choosing part: they are trained on, so nothing can be chosen by them
    afterwards, and the accuracy on them that ends a ruined run is that of known records. The audit has others.
    """

    title = "Reset and distil on held-out records (KDE)"
    source = "NeurIPS 2023 unlearning competition, 6th place, as re-implemented for Cadet et al. 2024, arXiv 2410.01276"
    guarantee = Level.AUDITED
    unasked: ClassVar[bool] = False
    dips: ClassVar[bool] = True
    classes: ClassVar[bool] = True
    teacher: ClassVar[bool] = True
    trial: ClassVar[Mapping[str, object]] = {"epochs": 4, "warm": 2}

    @dataclass(frozen=True, kw_only=True)
    class Config(Passes.Config):
        """Settings; the defaults are the entry's."""

        epochs: int = setting(6, "passes: first over held-out, then over retained records", low=0, search=(2, 12))
        warm: int = setting(3, "how many of them are over held-out records", low=0, search=(0, 6))
        warm_lr: float = setting(9e-4, "learning rate of these", above=0, search=(1e-4, 3e-2))
        lr: float = setting(
            1e-3, "peak learning rate on retained records; it falls by epochs", above=0, search=(1e-4, 3e-2)
        )
        optimiser: str = setting("sgd", "optimiser, new for the retained records", choices=("adamw", "sgd"))
        weight_decay: float = setting(5e-4, "decoupled for adamw, L2 for sgd", low=0)
        temperature: float = setting(
            5.0, "by which logits are divided before they are compared", above=0, search=(1, 8)
        )

    _held: Records | None = None

    def obstacles(self, problem: Problem) -> list[Obstacle]:
        """Return also that there are no held-out records to be taught on, and no layers to reset."""
        found = super().obstacles(problem)
        if self.config.warm and not held_choosing(problem):
            what, fix = "kde distils on held-out records", "give a holdout, or set warm = 0"
            found.append(Obstacle(what=what, found="none in the choosing part", fix=fix))
        if not found and head(problem.source.open(), problem) is None:
            found.append(no_head(_ENDS))
        return found

    def passes(self, epoch: int) -> tuple[Pass, ...]:
        """Return a pass over held-out records, or one over retained ones at a rate that falls by half a cosine."""
        c, done = self.config, epoch - self.config.warm - 1
        if done < 0:
            rate = c.warm_lr / c.lr
            return (Pass("retain", self.follow, c.batch_size, rate=rate, moments="warm", retain=self._held),)
        rate = 0.5 * (1 + math.cos(math.pi * done / (c.epochs - c.warm)))
        return (Pass("retain", self.learn, c.batch_size, rate=rate),)

    def cost(self, problem: Problem) -> Cost:
        """Return the visits of all passes, those over held-out records included."""
        twin = copy.copy(self)
        if problem.held_out is not None:  # as many as the choosing part will have
            twin._held = problem.held_out.select(problem.held_out.ids[: held_choosing(problem)])
        return super(KnowledgeDistillation, twin).cost(problem)

    def prepare(self, model: nn.Module, problem: Problem, run: Context) -> Cost:
        """Reset the first layer and the head."""
        self._held = run.choosing.holdout
        first, last = stem(model), head(model, problem)
        if first is None or last is None:
            raise InvalidProblem([no_head(_ENDS)])
        reset(model, [first, last])
        return Cost()

    def follow(self, batch: Batch) -> Tensor:
        """Return KL(teacher || student) at the temperature, without the factor T^2."""
        assert batch.retain is not None
        assert batch.teacher is not None
        assert batch.teacher.retain is not None
        t = self.config.temperature
        return distillation(batch.retain, batch.teacher.retain, temperature=t) / t**2

    def learn(self, batch: Batch) -> Tensor:
        """Return that, the mean loss, and the cross entropy against the teacher's softened answers."""
        assert batch.retain is not None
        assert batch.teacher is not None
        assert batch.teacher.retain is not None
        soft = soft_cross_entropy(batch.retain, batch.teacher.retain, temperature=self.config.temperature)
        return soft + mean_loss(batch.retain) + self.follow(batch)
