"""What one pass of a method reads, in which order and beside what; and what its objective is given."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from expunge.core.problem import Problem
from expunge.core.records import Records
from expunge.engine.batches import bounds, drawn, drawn_endlessly, order
from expunge.numerics.units import Scored


@dataclass(frozen=True)
class Side:
    """Records of one step: their ``ids``, in order, and the ``batch`` that the task reads."""

    ids: tuple[str, ...]
    batch: Any

    @classmethod
    def read(cls, records: Records, indices: Sequence[int]) -> Side:
        """Return the records at ``indices``, read."""
        return cls(tuple(records.ids[i] for i in indices), records.read(indices))


@dataclass(frozen=True)
class Batch:
    """What an objective is written over: the units of one step.

    Attributes:
        retain / forget: units of the model that is trained, with gradients; None where the step has none.
        teacher: the same units of the teachers, without gradients; None unless the method wants a ``teacher``.
        retain_side / forget_side: the records behind them; of a pass over ``all``, their ids alone.
    """

    retain: Scored | None
    forget: Scored | None
    teacher: Batch | None = None
    retain_side: Side | None = None
    forget_side: Side | None = None


@dataclass(frozen=True)
class Step:
    """What one step reads: a side of each set, or ``together`` with which of its records are to be forgotten."""

    retain: Side | None = None
    forget: Side | None = None
    together: Side | None = None
    gone: Tensor | None = None

    @property
    def visits(self) -> int:
        """How many records it reads."""
        return sum(len(side.ids) for side in (self.retain, self.forget, self.together) if side is not None)

    def units(self, task: Any, retain_by: nn.Module, forget_by: nn.Module, taught: Batch | None = None) -> Batch:
        """Return the units of the step; one call answers what was drawn together where one model answers both."""
        if self.together is None or self.gone is None:
            first = None if self.retain is None else task.units(retain_by, self.retain.batch)
            second = None if self.forget is None else task.units(forget_by, self.forget.batch)
            return Batch(first, second, taught, self.retain, self.forget)
        stay = task.units(retain_by, self.together.batch)
        go = stay if retain_by is forget_by else task.units(forget_by, self.together.batch)
        return Batch(
            stay.among(~self.gone) if not bool(self.gone.all()) else None,
            go.among(self.gone) if bool(self.gone.any()) else None,
            taught,
            Side(tuple(i for i, gone in zip(self.together.ids, self.gone, strict=True) if not gone), None),
            Side(tuple(i for i, gone in zip(self.together.ids, self.gone, strict=True) if gone), None),
        )


@dataclass(frozen=True)
class Pass:
    """One pass of an epoch.

    Attributes:
        over: ``retain``; ``forget``; ``both``: once over the ``lead``, a batch of the other set beside every step;
            ``all``: both sets shuffled into one, each batch answered in one call and then told apart.
        objective: the scalar to minimise on a batch.
        batch_size: records per step and set.
        lead: of ``both``, the set that is passed through once: ``retain`` or ``forget``.
        beside: of ``both``, records per step of the other set; ``batch_size`` by default.
        rate: factor on the learning rate of these steps.
        retain / forget: records in the place of the problem's retain or forget set: a part of it, or noise.
    """

    over: str
    objective: Callable[[Batch], Tensor]
    batch_size: int
    lead: str = "retain"
    beside: int | None = None
    rate: float = 1.0
    retain: Records | None = None
    forget: Records | None = None

    def sets(self, problem: Problem) -> tuple[Records, Records]:
        """Return the retain and the forget records it draws from."""
        retain = problem.retain_view if self.retain is None else self.retain
        return retain, problem.forget_view if self.forget is None else self.forget

    def steps(self, problem: Problem) -> int:
        """Return the number of steps."""
        return math.ceil(self._once(problem) / self.batch_size)

    def visits(self, problem: Problem) -> int:
        """Return how many records it reads."""
        if self.over != "both":
            return self._once(problem)
        other = self.sets(problem)[self.lead == "retain"]
        return self._once(problem) + self.steps(problem) * min(self.beside or self.batch_size, len(other))

    def batches(self, problem: Problem, *, seed: int, epoch: int) -> Iterator[Step]:
        """Yield what every step reads; a pure function of seed and epoch."""
        sets = dict(zip(("retain", "forget"), self.sets(problem), strict=True))
        if self.over == "all":
            yield from _mixed(sets["retain"], sets["forget"], self.batch_size, seed=seed, epoch=epoch)
            return
        lead = self.lead if self.over == "both" else self.over
        other = "forget" if lead == "retain" else "retain"
        size = self.beside or self.batch_size
        again = drawn_endlessly(sets[other], size, seed=seed, epoch=epoch) if self.over == "both" else iter(())
        for indices in drawn(sets[lead], self.batch_size, seed=seed, epoch=epoch):
            beside = next(again, None)
            step = {lead: Side.read(sets[lead], indices)}
            yield Step(**step) if beside is None else Step(**step, **{other: Side.read(sets[other], beside)})

    def _once(self, problem: Problem) -> int:
        retain, forget = self.sets(problem)
        if self.over == "all":
            return len(retain) + len(forget)
        lead = self.lead if self.over == "both" else self.over
        return len(forget) if lead == "forget" else len(retain)


def _mixed(retain: Records, forget: Records, size: int, *, seed: int, epoch: int) -> Iterator[Step]:
    ids = (*retain.ids, *forget.ids)
    indices = order(ids, seed=seed, epoch=epoch)
    for start, stop in bounds(len(ids), size):
        stay = [i for i in indices[start:stop] if i < len(retain)]
        go = [i - len(retain) for i in indices[start:stop] if i >= len(retain)]
        parts = [Side.read(*each) for each in ((retain, stay), (forget, go)) if each[1]]
        side = Side(sum((part.ids for part in parts), ()), concatenated([part.batch for part in parts]))
        yield Step(together=side, gone=torch.arange(len(side.ids)) >= len(stay))


def concatenated(batches: Sequence[Any]) -> Any:
    """Return batches of one form (tensors, in tuples or mappings) as one."""
    first = batches[0]
    if len(batches) == 1:
        return first
    if isinstance(first, Tensor):
        return torch.cat(list(batches))
    if isinstance(first, Mapping):
        return {key: concatenated([batch[key] for batch in batches]) for key in first}
    return type(first)(concatenated(parts) for parts in zip(*batches, strict=True))
