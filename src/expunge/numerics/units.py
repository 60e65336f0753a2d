"""Units: what losses, attacks and metrics are written over, for every task.

A classifier has one unit per record, a language model one per scored token. Masked tokens never become
units, so padding and batch split cannot change a result.
Shapes: N units, C classes, B records in the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

VECTOR = 16 if torch.backends.cpu.get_cpu_capability() == "AVX512" else 8
MANY = 1024
"""Classes fewer than a ``VECTOR`` of the processor are scored one number at a time, unless all units of one class lie
side by side (``benchmarks/numerics.py``). Worth it from so many units."""


@dataclass(frozen=True)
class Units:
    """``loss`` [N] and ``record`` [N], the index into the batch of ``batch_size`` records."""

    loss: Tensor
    record: Tensor
    batch_size: int

    def by_record(self, values: Tensor) -> Tensor:
        """Return the mean of ``values`` [N] over the units of each record, [B]; a record without units gives NaN."""
        return self.sum_by_record(values) / self.sum_by_record(torch.ones_like(values))

    def sum_by_record(self, values: Tensor) -> Tensor:
        """Return the sum of ``values`` [N] over the units of each record, [B]; 0 for a record without units."""
        return values.new_zeros(self.batch_size).index_add(0, self.record, values)


@dataclass(frozen=True)
class Scored(Units):
    """Units with classes: ``logits`` [N, C] and ``target`` [N]."""

    logits: Tensor
    target: Tensor

    @classmethod
    def of(cls, logits: Tensor, target: Tensor, record: Tensor, batch_size: int) -> Scored:
        """Return units whose loss is the cross entropy of ``logits`` [N, C] against ``target`` [N], any integers."""
        target = target.long()
        if logits.shape[1] < VECTOR and len(logits) >= MANY and logits.device.type == "cpu":
            loss = F.cross_entropy(logits.T[None], target[None], reduction="none")[0]  # as one text of N tokens
        else:
            loss = F.cross_entropy(logits, target, reduction="none")
        return cls(loss=loss, record=record, batch_size=batch_size, logits=logits, target=target)

    def among(self, chosen: Tensor) -> Scored:
        """Return the units of the records that are ``chosen`` [B], bool, counted anew."""
        mine = chosen[self.record]
        place = chosen.long().cumsum(0) - 1
        return Scored(
            loss=self.loss[mine],
            record=place[self.record[mine]],
            batch_size=int(chosen.sum()),
            logits=self.logits[mine],
            target=self.target[mine],
        )

    def per_unit(self, value: Callable[..., Tensor], *others: Scored) -> Tensor:
        """Return ``value(logits [n, C], target [n], *logits of the others [n, C])``, [n], of all units, [N].

        Units that hold no logits are given to it some at a time: it must treat each by itself.
        """
        return value(self.logits, self.target, *(other.logits for other in others))

    @property
    def classes(self) -> int:
        """How many classes there are: C."""
        return self.logits.shape[1]

    @property
    def output(self) -> Tensor:
        """What the model said, one row per unit: the logits [N, C]."""
        return self.logits

    @cached_property
    def log_probs(self) -> Tensor:
        """Log-probabilities of all classes, [N, C]."""
        return F.log_softmax(self.logits, dim=-1)

    @cached_property
    def correct(self) -> Tensor:
        """Whether the target is the most likely class, [N], bool; the lowest class wins a tie."""
        return self.logits.argmax(dim=-1) == self.target


@dataclass(frozen=True)
class Answered(Units):
    """Units that are numbers: ``answer`` [N] and ``target`` [N], in the unit of the target."""

    answer: Tensor
    target: Tensor

    @classmethod
    def of(cls, answer: Tensor, target: Tensor, record: Tensor, batch_size: int) -> Answered:
        """Return units whose loss is the squared error of ``answer`` [N] against ``target`` [N], any numbers."""
        target = target.to(answer.dtype)
        return cls((answer - target) ** 2, record, batch_size, answer, target)

    @property
    def output(self) -> Tensor:
        """What the model said, one row per unit: the answers [N, 1]."""
        return self.answer[:, None]


def alike(logits: Tensor) -> bool:
    """Return whether all rows of logits [n, C] say the same, within :data:`ALIKE` nats; False for fewer than two."""
    rows = logits.double().log_softmax(dim=1)
    return len(rows) > 1 and float((rows.max(dim=0).values - rows.min(dim=0).values).max()) < ALIKE


ALIKE = 1e-5
"""What float32 leaves between two equal answers."""
