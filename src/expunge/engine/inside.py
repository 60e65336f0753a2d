"""What the inner blocks of a language model know of forgotten answers, whatever its last ones make of it.

Two ways to read a block: with the model's own norm and head (logit lens, nostalgebraist 2020), and after a linear map
to what the last block says, fitted on retained text (tuned lens, Belrose et al. 2023, arXiv 2303.08112, here by least
squares). The map never meets a forgotten record. Shapes: N scored tokens, B inner blocks, H the width.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from expunge.core.method import Cost
from expunge.core.problem import Problem
from expunge.core.records import Records
from expunge.engine.batches import in_order
from expunge.engine.loop import ready
from expunge.numerics.tokens import Tokens
from expunge.tasks.causal_lm import body_and_head, inner, owners

Array = NDArray[np.float64]
FITTED_ON = 300
"""Retained records that the map is fitted on, at most."""
RIDGE = 1e-2
"""Penalty of the map, as a share of the mean variance of what a block says."""
_BATCH = 32


def readable(problem: Problem) -> bool:
    """Return whether the original has inner blocks that can be read; runs it on one retained record."""
    records = problem.retain_view
    return len(records) > 0 and inner(ready(problem.source.open()), records.read([0])) is not None


def read(problem: Problem, model: Any, forget: Records, retain: Records) -> tuple[dict[str, Array], Cost]:
    """Return the log-probability of forgotten tokens by every inner block, and the work of it.

    ``lens`` and ``probe`` [N, B]: through the model's own head, and after the map fitted on retained text. Nothing
    where the blocks of this model cannot be read.
    """
    known = retain.select(retain.ids[:FITTED_ON])
    model = ready(model)
    with torch.no_grad():
        maps = _maps(model, known)
        if maps is None:
            return {}, Cost()
        lens, probe = [], []
        for batch in in_order(forget, _BATCH):
            said = inner(model, batch)
            assert said is not None, "known from the retained records"
            lens.append(_log_probs(model, batch, said[:-1]))
            mapped = [move(block) for move, block in zip(maps, said[:-1], strict=True)]
            probe.append(_log_probs(model, batch, mapped))
    return {"lens": np.concatenate(lens), "probe": np.concatenate(probe)}, Cost(read=len(forget) + len(known))


def _maps(model: Any, records: Records) -> list[Callable[[Tensor], Tensor]] | None:
    """Return for each inner block the linear map from what it says to what the last one says."""
    sums: list[_Sums] = []
    for batch in in_order(records, _BATCH):
        said = inner(model, batch)
        if said is None:
            return None
        sums = sums or [_Sums(said[-1].shape[1]) for _ in said[:-1]]
        for own, block in zip(sums, said[:-1], strict=True):
            own.add(block.double(), said[-1].double())
    return [own.solved() for own in sums] or None


class _Sums:
    """Sums over tokens that a least-squares map from states [n, H] to others [n, H] is made of."""

    def __init__(self, width: int) -> None:
        self.count = 0
        self.gram, self.both = (torch.zeros(width + 1, width + 1, dtype=torch.float64) for _ in range(2))

    def add(self, block: Tensor, last: Tensor) -> None:
        """Count some tokens in."""
        one = torch.ones(len(block), 1, dtype=torch.float64, device=block.device)
        row = torch.cat([block, one], dim=1)
        self.count += len(block)
        self.gram += (row.T @ row).cpu()
        self.both[:, :-1] += (row.T @ last).cpu()

    def solved(self) -> Callable[[Tensor], Tensor]:
        """Return the map; its intercept is free, and what varies is shrunk a little (:data:`RIDGE`).

        Of a block that says NaN or infinities there is none: what it maps to is NaN, and said to be no number.
        """
        if not (bool(self.gram.isfinite().all()) and bool(self.both.isfinite().all())):
            return lambda block: torch.full_like(block, math.nan)
        mean, target = self.gram[:-1, -1] / self.count, self.both[-1, :-1] / self.count
        variance = self.gram[:-1, :-1] / self.count - torch.outer(mean, mean)
        shared = self.both[:-1, :-1] / self.count - torch.outer(mean, target)
        penalty = RIDGE * float(variance.diagonal().mean()) * torch.eye(len(mean), dtype=torch.float64)
        weight = torch.linalg.lstsq(variance + penalty, shared).solution
        return lambda block: ((block.double().cpu() - mean) @ weight + target).to(block)


def _log_probs(model: Any, batch: Any, states: list[Tensor]) -> Array:
    """Return the log-probability of the scored tokens of a batch as the head reads them off ``states``, [N, B]."""
    parts = body_and_head(model)
    assert parts is not None, "a model whose blocks are known has a head"
    labels = batch[1]
    target, record = labels[:, 1:][labels[:, 1:] >= 0], owners(batch)
    rows = [
        -Tokens(state, parts[1], target.to(state.device), record.to(state.device), len(labels)).loss for state in states
    ]
    return torch.stack(rows, dim=1).double().cpu().numpy()
