"""l1-sparse: train on what remains, with a pull of all weights to zero that fades."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from expunge.core.config import setting
from expunge.core.level import Level
from expunge.engine.descent import Descent
from expunge.numerics.units import Units


class L1Sparse(Descent):
    """Minimise ``retain loss + gamma * sum of |w|`` over all weights that may move, biases and normalisation included.

    In epoch e = 0, 1, ... of E, of which the last E0 (``free_epochs``) have no penalty, gamma is ``penalty`` times
    1 - e / (E - E0). Nothing is pruned: weights become small, and the share of zeros is nothing to report. The slope of
    |w| at 0 is 0.
    """

    title = "Fine-tuning on retained records with an l1 penalty (l1-sparse)"
    source = "Jia et al. 2023, arXiv 2304.04934, sparsity-aware unlearning (FT_prune in the authors' code)"
    guarantee = Level.AUDITED
    unasked: ClassVar[bool] = False

    @dataclass(frozen=True, kw_only=True)
    class Config(Descent.Config):
        """Settings; those of the loop are the authors' code's."""

        epochs: int = setting(10, "passes over the retain set", low=0, search=(1, 10))
        batch_size: int = setting(256, "records per step", low=1)
        lr: float = setting(0.01, "peak learning rate", above=0, search=(1e-4, 0.1))
        optimiser: str = setting("sgd", "optimiser", choices=("adamw", "sgd"))
        weight_decay: float = setting(5e-4, "decoupled for adamw, L2 for sgd", low=0)
        penalty: float = setting(5e-4, "weight of the penalty in the first epoch", low=0, search=(1e-5, 1e-2))
        free_epochs: int = setting(0, "epochs at the end without penalty", low=0)

    def weight(self, epoch: int) -> float:
        """Return the weight of the penalty in ``epoch`` (1, 2, ...)."""
        length = self.config.epochs - self.config.free_epochs
        return self.config.penalty * (1 - (epoch - 1) / length) if epoch <= length else 0.0

    def before_epoch(self, model: nn.Module, epoch: int, optimiser: torch.optim.Optimizer) -> None:
        """Note the weight of the penalty, and on what it lies."""
        self._weight, self._on = self.weight(epoch), [p for p in model.parameters() if p.requires_grad]

    def objective(self, retain: Units, forget: Units | None) -> Tensor:
        """Return the mean retain loss and the penalty."""
        loss = retain.loss.mean()
        return loss + self._weight * sum(p.abs().sum() for p in self._on) if self._weight else loss
