"""MSG: draw those weights anew that tell retained from forgotten records least, and train them on what remains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from expunge.core.config import setting
from expunge.core.errors import Obstacle
from expunge.core.level import Level
from expunge.core.method import Cost, Need
from expunge.core.problem import Problem
from expunge.engine.context import Context
from expunge.engine.gradients import mean_gradient
from expunge.engine.passes import Batch, Pass, Passes
from expunge.numerics.losses import mean_loss

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


class SmallGradients(Passes):
    """Re-draw the weights with the smallest gradients of (retain loss - forget loss); train them fully, others slowly.

    The retain loss is that of as many records, drawn at random, as are to be forgotten. Acts on the weights of
    convolutions, as the entry does; in a network without any on those of linear layers. Gradients are read in
    evaluation mode and averaged over records, in the entry's code summed over batches in training mode.
    """

    title = "Masked small gradients (MSG)"
    source = "NeurIPS 2023 unlearning competition, 2nd place, as re-implemented for Cadet et al. 2024, arXiv 2410.01276"
    guarantee = Level.AUDITED
    needs: ClassVar[frozenset[Need]] = frozenset({Need.RETAIN, Need.FORGET})
    unasked: ClassVar[bool] = False
    dips: ClassVar[bool] = True

    @dataclass(frozen=True, kw_only=True)
    class Config(Passes.Config):
        """Settings; the defaults are the entry's. The rate rises and falls again, epoch by epoch."""

        share: float = setting(
            0.3, "share of each layer's weights that is drawn anew", low=0, high=1, search=(0.05, 0.6)
        )
        slow: float = setting(0.1, "factor on the gradients of the weights that are kept", low=0, high=1)
        optimiser: str = setting("sgd", "optimiser", choices=("adamw", "sgd"))
        weight_decay: float = setting(5e-4, "decoupled for adamw, L2 for sgd; at full strength on all weights", low=0)

    def obstacles(self, problem: Problem) -> list[Obstacle]:
        """Return also that no layer has weights to draw anew."""
        found = super().obstacles(problem)
        if not found and not _weights(problem.source.open()):
            what, fix = (
                "msg finds no weights to draw anew",
                "let a convolution or linear layer move, or choose finetune",
            )
            found.append(Obstacle(what=what, found="no convolution or linear layer that may move", fix=fix))
        return found

    def passes(self, epoch: int) -> tuple[Pass, ...]:
        """Return one pass over the retain set; the rate rises linearly for half of the epochs and falls as linearly."""
        rise, last = (self.config.epochs + 1) // 2, self.config.epochs + 1
        rate = epoch / rise if epoch <= rise else (last - epoch) / (last - rise)
        return (Pass("retain", self.objective, self.config.batch_size, rate=rate),)

    def objective(self, batch: Batch) -> Tensor:
        """Return the mean loss of the retain batch."""
        assert batch.retain is not None
        return mean_loss(batch.retain)

    def preparation(self, problem: Problem) -> Cost:
        """Return the visits of the gradients that are read."""
        return Cost(trained=len(problem.forget_view) + min(len(problem.forget_view), len(problem.retain_view)))

    def prepare(self, model: nn.Module, problem: Problem, run: Context) -> Cost:
        """Draw the weights of small gradients anew, and note how fast each may move."""
        retain = problem.retain_view
        drawn = torch.randperm(len(retain))[: len(problem.forget_view)].tolist()
        up = mean_gradient(model, problem, retain.select([retain.ids[i] for i in drawn]), run)
        down = mean_gradient(model, problem, problem.forget_view, run)
        named = {id(p): name for name, p in model.named_parameters()}
        self._factors = []
        with torch.no_grad():
            for weight in _weights(model):
                slope = up[named[id(weight)]] - down[named[id(weight)]]
                small = _smallest(slope.abs(), round(self.config.share * weight.numel()))
                room = torch.empty_like(weight, memory_format=torch.contiguous_format)
                fresh = nn.init.kaiming_normal_(room, mode="fan_out", nonlinearity="relu")
                weight.copy_(torch.where(small, fresh, weight))
                self._factors.append((weight, torch.full_like(weight, self.config.slow).masked_fill_(small, 1.0)))
        return self.preparation(problem)

    def before_update(self, model: nn.Module, step: int, steps: int) -> None:
        """Slow the weights that were kept; weight decay comes later, in the step itself."""
        for weight, factor in self._factors:
            if weight.grad is not None:  # a layer that this batch did not use has none
                weight.grad.mul_(factor)


def _smallest(size: Tensor, count: int) -> Tensor:
    """Return which ``count`` entries are the smallest; of equal ones the first."""
    chosen = torch.zeros(size.numel(), dtype=torch.bool, device=size.device)
    chosen[size.flatten().argsort(stable=True)[:count]] = True
    return chosen.view_as(size)


def _weights(model: nn.Module) -> list[Tensor]:
    layers = [m for m in model.modules() if isinstance(m, _CONVOLUTIONS)]
    layers = layers or [m for m in model.modules() if isinstance(m, nn.Linear)]
    return list({id(m.weight): m.weight for m in layers if m.weight.requires_grad}.values())
