"""Selective synaptic dampening: make small what matters more to the forget set than to all training records.

Importances are gathered over batches of one size for both sets. For a batch of B records the mean square of the
batch's gradient is mu^2 + sigma^2 / B (mu, sigma: mean and spread over records), so that other sizes for the two sets
would favour one of them by up to the ratio of the sizes. Records are drawn into batches by a hash of their ids, so
that the order in which they are stored decides nothing.

Where the retained records are gone, all records are the forgotten ones and those that stand for the retained ones. They
are drawn into the same batches: what cancels between the two within a batch is what training had balanced.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from expunge.core.config import Config, setting
from expunge.core.errors import Obstacle
from expunge.core.method import Cost
from expunge.core.problem import Problem
from expunge.core.records import Records
from expunge.engine.batches import order
from expunge.engine.context import Context
from expunge.engine.edits import Edit, Edited
from expunge.engine.gradients import Gradients, by_pieces, gathered
from expunge.engine.shift import ordinary
from expunge.numerics.units import Scored

FEW = 1e-3
"""A share of selected numbers below which a dampening is said to have had little effect."""


class Dampening(Edit):
    """Dampen the parameters whose importance to the forget set exceeds a multiple of that to all records."""

    @dataclass(frozen=True, kw_only=True)
    class Config(Config):
        """Settings of importances."""

        batch_size: int = setting(
            64, "records per gradient, for both sets; 1 is each record's own, the most exact", low=1
        )

    def objective(self, units: Scored) -> Tensor:
        """Return the scalar whose gradient tells importance: the mean loss."""
        return units.loss.mean()

    def magnitude(self, gradient: Tensor) -> Tensor:
        """Return the importance that the gradient of one batch gives to each number: its square."""
        return gradient.square()

    @abstractmethod
    def bounds(self, forget: Gradients, whole: Gradients, problem: Problem) -> tuple[float, float]:
        """Return (alpha, lambda): what is selected, and how strongly it is dampened."""

    def work(self, problem: Problem) -> Cost:
        """Return one visit to every record, and another to those that are forgotten."""
        return Cost(trained=2 * len(problem.forget_view) + len(problem.retain_view))

    def futile(self, problem: Problem) -> list[Obstacle]:
        """Return that the forgotten records look like a random sample, of which there is nothing to act on."""
        if not ordinary(problem):
            return []
        return [
            Obstacle(
                what=f"{self.name} finds nothing to act on: all parameters matter to forgotten and retained ones alike",
                where="request",
                found=f"{len(problem.forget_view)} records that look like a random sample of all",
                expected="a class, or others that inputs and labels tell from those that stay: of a sample little is "
                "dampened, and by chance",
                fix="name another method, or auto; `expunge bench` measures this one all the same",
            )
        ]

    def edit(self, model: nn.Module, problem: Problem, run: Context) -> Edited:
        """Gather both importances, and dampen."""
        size = even(len(problem.forget_view), self.config.batch_size)
        forget = self._importance(model, problem, [problem.forget_view], run, size, draw=0)
        whole = self._importance(model, problem, everything(problem), run, size, draw=1)
        alpha, lam = self.bounds(forget, whole, problem)
        count = sum(p.numel() for p in model.parameters())
        share = dampen(model, forget, whole, alpha=alpha, lam=lam) / max(1, count)
        said = f"dampened {share:.3%} of the parameters, those {alpha:.4g} times as important to the forget set"
        if share >= FEW:
            return Edited(said)
        little = (
            f"little effect: {share:.3%} of the parameters were selected; where the forgotten records are an ordinary "
            "sample of the training records, all parameters matter to both alike, and this method has nothing to act on"
        )
        return Edited(said, (little,))

    def _importance(
        self, model: nn.Module, problem: Problem, parts: Sequence[Records], run: Context, size: int, *, draw: int
    ) -> Gradients:
        batches = _drawn(parts, size, seed=run.seed, epoch=draw)
        gradients = by_pieces(model, problem, batches, run, objective=self.objective)
        # Batches weigh by their records: the last one may be smaller.
        total, _, count = gathered(gradients, lambda g, n: self.magnitude(g) * n)
        return {name: value / count for name, value in total.items()}


def everything(problem: Problem) -> tuple[Records, ...]:
    """Return all records: where the retained ones are gone, the forgotten ones and those that stand for the others."""
    return (problem.records,) if problem.calibration is None else (problem.forget_view, problem.retain_view)


def _drawn(parts: Sequence[Records], size: int, *, seed: int, epoch: int) -> Iterator[list[Any]]:
    """Yield batches of about ``size`` records of all parts together, each as what was read of every part."""
    found = [(part, place) for part in parts for place in range(len(part))]
    indices = order([part.ids[place] for part, place in found], seed=seed, epoch=epoch)
    size = even(len(indices), size)
    for start in range(0, len(indices), size):
        batch = [found[i] for i in indices[start : start + size]]
        places = [(part, [place for of, place in batch if of is part]) for part in parts]
        yield [part.read(own) for part, own in places if own]


def even(count: int, size: int) -> int:
    """Return the size of batches that split ``count`` records as evenly as may be into no more than ``size`` each."""
    return math.ceil(count / math.ceil(count / size)) if count else size


@torch.no_grad()
def dampen(model: nn.Module, forget: Gradients, whole: Gradients, *, alpha: float, lam: float) -> int:
    """Multiply by ``min(lam * whole / forget, 1)`` where ``forget > alpha * whole``; return how many were selected.

    Source: Foster, Schoepf and Brintrup 2024, arXiv 2308.07707, equations 3 and 4.
    """
    selected = 0
    for name, p in model.named_parameters():
        if name in forget:
            chosen = forget[name] > alpha * whole[name]
            factor = (lam * whole[name] / forget[name]).clamp(max=1)
            p.copy_(torch.where(chosen, p * factor, p))  # where nothing is chosen, 0 / 0 is not looked at
            selected += int(chosen.sum())
    return selected
