"""Relearning: how fast a model takes the forgotten records in again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from expunge.core.config import setting
from expunge.core.problem import Problem
from expunge.core.records import Records
from expunge.engine.adapters import merged
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


def relearn(
    problem: Problem,
    model: Any,
    records: Records,
    config: RelearningConfig,
    *,
    seed: int,
    measured: Records | None = None,
    value: Callable[[Any], Tensor] | None = None,
) -> Array:
    """Train ``model`` (a fresh instance, used up) on ``records``; return what each gets right after every pass.

    Of a base with adapters all weights are trained: whoever has both may merge them.
    Values in [0, 1], shape [passes, n]; of a regressor its answers. Optimiser, order and seeds are the same for every
    model. ``measured`` are records to ask for in the place of those; ``value`` says of the units of a batch what is
    kept of each record, [B].
    """
    right: list[Array] = []
    model = merged(model)
    asked = records if measured is None else measured
    of = value or _right_by_record

    def after(epoch: int, history: list[dict[str, float]]) -> str:
        model.eval()
        with torch.no_grad():
            rows = [of(problem.meaning.units(model, batch)).numpy() for batch in in_order(asked)]
        right.append(np.concatenate(rows))
        return ""

    steps = Steps(
        count=lambda epoch: -(-len(records) // config.batch_size),
        batches=lambda epoch: shuffled(records, config.batch_size, seed=seed, epoch=epoch),
        objective=lambda batch: problem.meaning.units(model, batch).loss.mean(),
        after_epoch=after,
        notes=[],
    )
    run_loop(model, steps, config, seed=seed)
    return np.asarray(right, dtype=np.float64)


def _right_by_record(units: Any) -> Tensor:
    right = units.correct if isinstance(units, Scored) else units.output[:, 0]
    found: Tensor = units.by_record(right.double())
    return found
