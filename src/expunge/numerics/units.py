"""Units: what losses, attacks and metrics are written over, for every task.

A classifier has one unit per record, a language model one per scored token. Masked tokens never become
units, so padding and batch split cannot change a result.
Shapes: N units, C classes, B records in the batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Units:
    """``loss`` [N] and ``record`` [N], the index into the batch of ``batch_size`` records."""

    loss: Tensor
    record: Tensor
    batch_size: int

    def by_record(self, values: Tensor) -> Tensor:
        """Return the mean of ``values`` [N] over the units of each record, [B]; a record without units gives NaN."""
        total = values.new_zeros(self.batch_size).index_add(0, self.record, values)
        count = values.new_zeros(self.batch_size).index_add(0, self.record, torch.ones_like(values))
        return total / count


@dataclass(frozen=True)
class Scored(Units):
    """Units with classes: ``logits`` [N, C] and ``target`` [N]."""

    logits: Tensor
    target: Tensor

    @classmethod
    def of(cls, logits: Tensor, target: Tensor, record: Tensor, batch_size: int) -> Scored:
        """Return units whose loss is the cross entropy of ``logits`` [N, C] against ``target`` [N], any integers."""
        target = target.long()
        loss = F.cross_entropy(logits, target, reduction="none")
        return cls(loss=loss, record=record, batch_size=batch_size, logits=logits, target=target)

    @cached_property
    def log_probs(self) -> Tensor:
        """Log-probabilities of all classes, [N, C]."""
        return F.log_softmax(self.logits, dim=-1)

    @cached_property
    def correct(self) -> Tensor:
        """Whether the target is the most likely class, [N], bool; the lowest class wins a tie."""
        return self.logits.argmax(dim=-1) == self.target


def alike(logits: Tensor) -> bool:
    """Return whether all rows of logits [n, C] say the same, within :data:`ALIKE` nats; False for fewer than two."""
    rows = logits.double().log_softmax(dim=1)
    return len(rows) > 1 and float((rows.max(dim=0).values - rows.min(dim=0).values).max()) < ALIKE


ALIKE = 1e-5
"""What float32 leaves between two equal answers."""
