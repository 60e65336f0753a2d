"""WHP: see what a model that knows the forgotten texts even better prefers, and learn to prefer none of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from expunge.core.config import setting
from expunge.core.digest import keyed_int
from expunge.core.method import Cost
from expunge.core.problem import Problem
from expunge.engine.context import Context
from expunge.engine.forgetting import Forgetting
from expunge.engine.loop import LoopConfig, Steps, evaluating, run_loop
from expunge.engine.passes import Batch, Pass
from expunge.numerics.losses import mean_loss
from expunge.numerics.token_losses import generic


class GenericPredictions(Forgetting):
    """Fine-tune a second model on the forgotten records; learn ``v - strength * relu(v_second - v)`` in their place.

    v [V] are the original's logits at each scored token of a forgotten record: what the second model prefers more than
    the original does is lowered by so much, and nothing is raised. These answers are distilled into the weights; code
    that computes them while the model is used leaves the weights alone, and is no erasure. The paper also exchanges
    names of one book for others by a list made for it, which has no like for other texts.

    Original and second model answer beside the model on forgotten batches, chunk by chunk.
    """

    title = "WHP (generic predictions in the place of remembered ones)"
    source = "Eldan and Russinovich 2023, arXiv 2310.02238, equation 1, distilled into the weights"
    distils: ClassVar[bool] = True

    @dataclass(frozen=True, kw_only=True)
    class Config(Forgetting.Config):
        """Settings of WHP."""

        strength: float = setting(1.0, "times that what is preferred more is lowered", low=0, search=(1, 10))
        reinforce_epochs: int = setting(3, "passes of the second model over the forget set", low=1)
        reinforce_lr: float = setting(5e-5, "its learning rate", above=0)

    def preparation(self, problem: Problem) -> Cost:
        """Return the training of the second model."""
        trained = Cost(trained=self.config.reinforce_epochs * len(problem.forget_view))
        return super().preparation(problem) + trained

    def cost(self, problem: Problem) -> Cost:
        """Return also what the second model reads: every forgotten record in every epoch."""
        return super().cost(problem) + Cost(read=self.config.epochs * len(problem.forget_view))

    def prepare(self, model: nn.Module, problem: Problem, run: Context) -> Cost:
        """Train the second model."""
        super().prepare(model, problem, run)
        c, self._task, self._read = self.config, problem.meaning, 0
        self._second = problem.source.open()
        over = Pass("forget", _loss, c.batch_size)
        seed = keyed_int(b"expunge reinforced", run.seed) % 2**31
        steps = Steps(
            count=lambda epoch: over.steps(problem),
            batches=lambda epoch: over.batches(problem, seed=seed, epoch=epoch),
            objective=lambda step: over.objective(step.units(problem.meaning, self._second, self._second)),
            notes=[],
        )
        loop = LoopConfig(epochs=c.reinforce_epochs, batch_size=c.batch_size, lr=c.reinforce_lr)
        checkpoints = run.checkpoints.inside("reinforced") if run.checkpoints is not None else None
        run_loop(self._second, steps, loop, seed=seed, checkpoints=checkpoints)
        return self.preparation(problem)

    def forgotten(self, batch: Batch) -> Tensor:
        """Return the cross entropy of forgotten tokens against the generic predictions."""
        assert batch.forget is not None
        assert batch.forget_side is not None
        assert batch.teacher is not None
        assert batch.teacher.forget is not None
        with evaluating(self._second), torch.no_grad():
            second = self._task.units(self._second, batch.forget_side.batch)
        self._read += len(batch.forget_side.ids)
        return generic(batch.forget, batch.teacher.forget, second, strength=self.config.strength)

    def observe(self, model: nn.Module, epoch: int, run: Context) -> dict[str, float]:
        """Count what the second model has read."""
        run.spent += Cost(read=self._read)
        self._read = 0
        return super().observe(model, epoch, run)


def _loss(batch: Batch) -> Tensor:
    assert batch.forget is not None
    return mean_loss(batch.forget)
