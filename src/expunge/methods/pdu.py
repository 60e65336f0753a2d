"""PDU: flatten what is said of forgotten tokens, under the constraint that the loss of retained ones stays low."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from expunge.core.config import setting
from expunge.core.method import Cost
from expunge.core.problem import Problem
from expunge.engine.batches import order
from expunge.engine.context import Context
from expunge.engine.forgetting import Forgetting
from expunge.engine.visits import Batch
from expunge.numerics.token_losses import flatness


class Pdu(Forgetting):
    """Minimise ``mean (max logit - mean logit)^2`` of forgotten tokens so that what is kept costs at most epsilon.

    Primal and dual steps in turn: the weight of the retained term grows by ``dual_rate * (kept - epsilon)`` with every
    step, and never falls below 0. Epsilon is measured: the original's own mean loss of retained tokens plus ``slack``,
    or ``slack`` itself of a divergence. It is measured without dropout, which therefore rests while one is bounded.
    The paper takes 0.3 for a model of 7 billion weights. The logits are those that predict forgotten tokens; a public
    code takes those one place later.
    """

    title = "Flat logits under a constraint (PDU)"
    source = "Entesari et al. 2025, arXiv 2506.05314"
    adapts: ClassVar[bool] = True  # type: ignore[assignment]  # its hooks change no weight
    trial: ClassVar[Mapping[str, object]] = {**Forgetting.trial, "epochs": 4, "dual_after": 1}

    @dataclass(frozen=True, kw_only=True)
    class Config(Forgetting.Config):
        """Settings of PDU."""

        retain: str = setting(
            "nll",
            "what is bounded: the loss of the retained records (`nll`), their divergence from the original's answers "
            "(`kl`), or nothing (`none`): then forgotten logits are made flat, and no constraint is left",
            choices=("nll", "kl", "none"),
        )
        # Flatness is a square: the moments of AdamW that it leaves behind would let a loss of weight 1 mend nothing.
        retain_weight: float = setting(
            100.0,
            "weight of what holds the retained records at first; where nothing is bounded of repairs, first to last",
            low=0,
        )
        slack: float = setting(0.2, "nats above the original that what is kept may cost", low=0, search=(0.05, 1))
        dual_rate: float = setting(5.0, "how fast that weight moves", low=0)
        dual_after: int = setting(5, "epochs, from the first, in which it stays", low=0)

    def preparation(self, problem: Problem) -> Cost:
        """Return a look at as many retained records as are forgotten, where their loss is what is kept."""
        return Cost(read=self._looked_at(problem))

    def prepare(self, model: nn.Module, problem: Problem, run: Context) -> Cost:
        """Measure the bound: on retained records drawn by a hash of seed and id."""
        self._bound = self.config.slack
        if count := self._looked_at(problem):
            view = problem.retain_view
            some = view.select([view.ids[i] for i in order(view.ids, seed=run.seed, epoch=0)[:count]])
            reads = run.spent
            self._bound += run.mean_loss(model, some)
            run.spent = reads  # it is counted as preparation
        return self.preparation(problem)

    @property
    def compares(self) -> bool:  # type: ignore[override]
        """Whether what is kept is held to what it costs the original."""
        return super().compares or self.config.retain == "nll"

    @property
    def weight(self) -> float:
        """The weight of what holds the retained records, as it stands."""
        return self._weight

    def forgotten(self, batch: Batch) -> Tensor:
        """Return how far the logits of forgotten tokens are from flat."""
        assert batch.forget is not None
        return flatness(batch.forget)

    def kept(self, batch: Batch) -> Tensor:
        """Return what holds the retained records, and note it."""
        value = super().kept(batch)
        self._cost = float(value.detach())
        return value

    def before_epoch(self, model: nn.Module, epoch: int, optimiser: torch.optim.Optimizer) -> None:
        """Take the weight from where checkpoints keep it."""
        self._epoch = epoch
        self._weight = optimiser.param_groups[0].setdefault("dual", self.config.retain_weight)

    def after_update(self, model: nn.Module, step: int, steps: int, optimiser: torch.optim.Optimizer) -> None:
        """Move the weight, once per step; of nothing there is none."""
        if self.config.retain != "none" and self._epoch > self.config.dual_after:
            self._weight = max(0.0, self._weight + self.config.dual_rate * (self._cost - self._bound))
            optimiser.param_groups[0]["dual"] = self._weight

    def observe(self, model: nn.Module, epoch: int, run: Context) -> dict[str, float]:
        """Return also the weight and the bound, where something is bounded."""
        seen = super().observe(model, epoch, run)
        return seen if self.config.retain == "none" else {**seen, "retain weight": self._weight, "bound": self._bound}

    def _looked_at(self, problem: Problem) -> int:
        return min(len(problem.retain_view), len(problem.forget_view)) if self.config.retain == "nll" else 0
