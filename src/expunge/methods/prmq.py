"""PRMQ: draw nearly all weights anew, train on what remains towards the original's certainty, and round."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from expunge.core.config import setting
from expunge.core.errors import Obstacle
from expunge.core.level import Level
from expunge.core.method import Cost
from expunge.core.problem import Problem
from expunge.engine.context import Context
from expunge.engine.passes import Batch, Pass, Passes
from expunge.engine.relabelling import labels_of
from expunge.numerics.losses import entropy

_KINDS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


class PrunedAndRounded(Passes):
    """Prune the smallest weights and biases of all layers, draw the weights anew, retrain, round to half precision.

    The last pass is only begun: 4 epochs with 0.2 of the last are the entry's 3.2. What may not move is neither pruned
    nor rounded; of batch statistics nothing is rounded.
    """

    title = "Prune, re-draw, match entropies, quantise (PRMQ)"
    source = "NeurIPS 2023 unlearning competition, 4th place, as re-implemented for Cadet et al. 2024, arXiv 2410.01276"
    guarantee = Level.AUDITED
    unasked: ClassVar[bool] = False
    dips: ClassVar[bool] = True
    classes: ClassVar[bool] = True
    teacher: ClassVar[bool] = True
    trial: ClassVar[dict[str, object]] = {"last": 0.7, "share": 0.5}

    @dataclass(frozen=True, kw_only=True)
    class Config(Passes.Config):
        """Settings; the defaults are the entry's."""

        epochs: int = setting(4, "passes over the retain set, the last one in part", low=0, search=(1, 10))
        last: float = setting(0.2, "share of the last pass that is made", low=0, high=1)
        lr: float = setting(5e-4, "peak learning rate", above=0, search=(1e-4, 3e-2))
        optimiser: str = setting("sgd", "optimiser", choices=("adamw", "sgd"))
        weight_decay: float = setting(5e-4, "decoupled for adamw, L2 for sgd", low=0)
        share: float = setting(0.99, "share of all weights and biases that is pruned", low=0, high=1, search=(0.1, 1))
        rarity: float = setting(0.1, "a class of n retained records weighs n to the power of minus this", low=0)

    def obstacles(self, problem: Problem) -> list[Obstacle]:
        """Return also that there is nothing to prune."""
        found = super().obstacles(problem)
        if not found and not any(_prunable(problem.source.open())):
            what, fix = "prmq finds nothing to prune", "let a convolution or linear layer move, or choose finetune"
            found.append(Obstacle(what=what, found="no convolution or linear layer that may move", fix=fix))
        return found

    def passes(self, epoch: int) -> tuple[Pass, ...]:
        """Return one pass over the retain set."""
        share = self.config.last if epoch == self.config.epochs else 1.0
        return (Pass("retain", self.objective, self.config.batch_size, share=share),)

    def prepare(self, model: nn.Module, problem: Problem, run: Context) -> Cost:
        """Prune, draw anew, and weigh the classes; the teacher was opened before."""
        labels = labels_of(problem, problem.retain_view)
        assert labels is not None  # an obstacle says so
        counts = np.maximum(np.bincount(labels), 1)
        self._weights = torch.tensor(counts.astype(np.float64) ** -self.config.rarity)
        prune(model, self.config.share)
        return Cost()

    def objective(self, batch: Batch) -> Tensor:
        """Return the weighted mean loss and the mean squared difference of the answers' entropies."""
        assert batch.retain is not None
        assert batch.teacher is not None
        assert batch.teacher.retain is not None
        weight = self._weights.to(batch.retain.loss)[batch.retain.target]
        loss = (weight * batch.retain.loss).sum() / weight.sum()
        return loss + F.mse_loss(entropy(batch.retain), entropy(batch.teacher.retain))

    def finish(self, model: nn.Module, problem: Problem, run: Context) -> None:
        """Round to what 16 bits hold."""
        with torch.no_grad():
            for p in model.parameters():
                if p.requires_grad:
                    p.copy_(p.half())


@torch.no_grad()
def prune(model: nn.Module, share: float) -> None:
    """Set the smallest ``share`` of all weights and biases anew, in place, however they lie over the layers.

    Weights are drawn uniformly within one over the root of the inputs of a unit; biases become 0.
    """
    weights, biases = _prunable(model)
    parts = [*weights, *biases]
    sizes = torch.cat([p.abs().flatten() for p in parts])
    gone = torch.zeros(len(sizes), dtype=torch.bool, device=sizes.device)
    gone[sizes.argsort(stable=True)[: round(share * len(sizes))]] = True
    for index, (p, mask) in enumerate(zip(parts, gone.split([p.numel() for p in parts]), strict=True)):
        bound = 1 / math.sqrt(p[0].numel()) if index < len(weights) else 0.0
        drawn = torch.rand_like(p, memory_format=torch.contiguous_format)
        p.copy_(torch.where(mask.view_as(p), (2 * drawn - 1) * bound, p))


def _prunable(model: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """Return the weights and the biases that are pruned, each once."""
    layers = [m for m in model.modules() if isinstance(m, _KINDS)]
    both = ([m.weight for m in layers], [m.bias for m in layers if m.bias is not None])
    first, second = (list({id(p): p for p in parts if p.requires_grad}.values()) for parts in both)
    return first, second
