"""Relearning: how fast a model takes the forgotten records in again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from expunge.core.config import setting
from expunge.core.problem import Problem
from expunge.core.records import Records
from expunge.engine.batches import in_order, shuffled
from expunge.engine.loop import LoopConfig, Steps, run_loop
from expunge.numerics.units import Scored

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class RelearningConfig(LoopConfig):
    """Settings of the relearning attack, the same for every model that is compared."""

    epochs: int = setting(4, "passes over the forget records", low=1)
    batch_size: int = setting(32, "records per step", low=1)
    lr: float = setting(1e-3, "learning rate", above=0)


def relearn(problem: Problem, model: Any, records: Records, config: RelearningConfig, *, seed: int) -> Array:
    """Train ``model`` (a fresh instance, used up) on ``records``; return what each gets right after every pass.

    Values in [0, 1], shape [passes, n]; of a regressor its answers. Optimiser, order and seeds are the same for every
    model.
    """
    right: list[Array] = []

    def after(epoch: int, history: list[dict[str, float]]) -> str:
        model.eval()
        with torch.no_grad():
            units = [problem.meaning.units(model, batch) for batch in in_order(records)]
        right.append(np.concatenate([u.by_record(_right(u)).numpy() for u in units]))
        return ""

    steps = Steps(
        count=lambda epoch: -(-len(records) // config.batch_size),
        batches=lambda epoch: shuffled(records, config.batch_size, seed=seed, epoch=epoch),
        objective=lambda batch: problem.meaning.units(model, batch).loss.mean(),
        after_epoch=after,
    )
    run_loop(model, steps, config, seed=seed)
    return np.asarray(right, dtype=np.float64)


def _right(units: Any) -> Tensor:
    return units.correct.double() if isinstance(units, Scored) else units.output[:, 0].double()
