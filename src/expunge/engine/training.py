"""Training from scratch, reproducible by seed: expunge's own trainer."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from expunge.core import registry
from expunge.core.digest import sha256
from expunge.core.problem import Problem
from expunge.core.records import Records
from expunge.core.serial import canonical
from expunge.engine.batches import shuffled
from expunge.engine.checkpoint import Checkpoints
from expunge.engine.loop import LoopConfig, Steps, run_loop
from expunge.engine.memory import sparing_again
from expunge.engine.runtime import seed_everything

SMALLER = 4
"""How many times smaller than the training's batches are where few passes must do: hardly fewer steps than it took."""
LEAST = 3
"""Records of such a batch: of two the last one of a pass may be alone, and one alone cannot be normalised."""


def smaller(batch_size: int, *, least: int = LEAST) -> int:
    """Return a batch of a quarter as many records as the training's, of ``least`` where it had so many."""
    return max(min(batch_size, least), batch_size // SMALLER)


def settings_of(problem: Problem) -> LoopConfig | None:
    """Return the settings of the training, where the problem's trainer says them, as expunge's own does."""
    config = getattr(problem.trainer, "config", None)
    return config if isinstance(config, LoopConfig) else None


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """A trainer that keeps the contract: same seed twice equal, another seed different, reads only its view.

    Attributes:
        build: makes a new, randomly initialised model; a module-level function, so that workers find it.
        task: name of the task.
        config: settings of the loop.
    """

    build: Callable[[], nn.Module]
    task: str = "classification"
    config: LoopConfig = LoopConfig(epochs=30)

    @property
    def passes(self) -> int:
        """How many times a record is read."""
        return self.config.epochs

    @property
    def meaning(self) -> Any:
        """The task."""
        return registry.load("tasks", self.task)()

    def describe(self) -> str:
        """Return a text that is equal for equal trainers."""
        settings = sha256(canonical(self.config))[:16]
        return f"expunge trainer of {self.build.__module__}:{self.build.__qualname__}, settings {settings}"

    def begin(self, seed: int) -> nn.Module:
        """Return a new model that is not trained."""
        seed_everything(seed)
        return self.build()

    def __call__(
        self,
        records: Records,
        *,
        seed: int,
        start: nn.Module | None = None,
        checkpoints: Checkpoints | None = None,
    ) -> nn.Module:
        """Return a new model trained on ``records``; initial weights and order are functions of ``seed``.

        With ``start`` a copy of that model is trained on instead.
        """
        model = self.begin(seed) if start is None else copy.deepcopy(start)
        task = self.meaning
        size = self.config.batch_size
        steps = Steps(
            count=lambda epoch: -(-len(records) // size),
            batches=lambda epoch: shuffled(records, size, seed=seed, epoch=epoch),
            objective=lambda batch: task.units(model, batch).loss.mean(),
        )
        with sparing_again(model, self.config):
            run_loop(model, steps, self.config, seed=seed, checkpoints=checkpoints)
        if checkpoints:
            checkpoints.clear()
        return model
