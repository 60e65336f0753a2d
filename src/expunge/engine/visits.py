"""What one pass of a method reads, in which order and beside what; and what its objective is given."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from expunge.core.errors import UsageError
from expunge.core.problem import Problem
from expunge.core.records import Records
from expunge.engine.batches import bounds, drawn, drawn_endlessly, flowing, order
from expunge.engine.relearner import Relearner
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

    def among(self, name: str) -> Step:
        """Return the side that is called ``name``, ``retain`` or ``forget``; all of it for ``both``."""
        return self if name == "both" else Step(**{name: getattr(self, name)})

    def units(
        self,
        task: Any,
        retain_by: nn.Module,
        forget_by: nn.Module,
        taught: Batch | None = None,
        *,
        unanswered: str = "",
    ) -> Batch:
        """Return the units of the step; one call answers what was drawn together where one model answers both.

        Where two models share it, each reads its own records alone.
        """
        if self.together is None or self.gone is None:
            first, second = (
                None if side is None or unanswered in (name, "both") else task.units(model, side.batch)
                for name, model, side in (("retain", retain_by, self.retain), ("forget", forget_by, self.forget))
            )
            return Batch(first, second, taught, self.retain, self.forget)
        together = self.together.batch
        whole = task.units(retain_by, together) if retain_by is forget_by else None

        def part(model: nn.Module, mine: Tensor) -> Scored | None:
            if not bool(mine.any()):
                return None
            return task.units(model, rows(together, mine)) if whole is None else whole.among(mine)

        return Batch(
            part(retain_by, ~self.gone),
            part(forget_by, self.gone),
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
        objective: the scalar to minimise on a batch; or one by set of ``both``, made from that set alone, whose sum is
            minimised: then one graph is held at a time.
        batch_size: records per step and set.
        lead: of ``both``, the set that is passed through once: ``retain`` or ``forget``.
        beside: of ``both``, records per step of the other set; ``batch_size`` by default.
        rate: factor on the learning rate of these steps; or such a factor by step of the pass (0, 1, ...).
        share: of its steps that are made, rounded down; the rest of the records is left out.
        moments: passes of one name share what the optimiser remembers (momentum); passes of another have their own.
        weight_decay: of these steps, in the place of that of the settings.
        taught: the set that teachers answer, or ``both``.
        unanswered: of ``both``, a set whose units the objective makes itself, from what its side has read; or ``both``.
        doubled: whether the objective reads another record for each of the lead, and trains on it as well.
        goes_on: whether its retained records come of one order that goes on through all passes which say so, epoch
            after epoch, in whole batches: each is read once before any is read again.
        relearner: weights that stand in the model's while the forgotten set's own objective is reckoned and its
            gradients are taken; that objective comes first.
        retain / forget: records in the place of the problem's retain or forget set: a part of it, or noise.
    """

    over: str
    objective: Callable[[Batch], Tensor] | Mapping[str, Callable[[Batch], Tensor]]
    batch_size: int
    lead: str = "retain"
    beside: int | None = None
    rate: float | Callable[[int], float] = 1.0
    share: float = 1.0
    moments: str = ""
    weight_decay: float | None = None
    taught: str = "both"
    unanswered: str = ""
    doubled: bool = False
    goes_on: bool = False
    relearner: Relearner | None = None
    retain: Records | None = None
    forget: Records | None = None

    def sets(self, problem: Problem) -> tuple[Records, Records]:
        """Return the retain and the forget records it draws from."""
        retain = problem.retain_view if self.retain is None else self.retain
        return retain, problem.forget_view if self.forget is None else self.forget

    def steps(self, problem: Problem) -> int:
        """Return the number of steps."""
        return int(self.share * math.ceil(self._lead(problem) / self.batch_size) + 1e-9)

    def trained(self, step: Step) -> int:
        """Return how many records one of its steps trains on."""
        lead = step.retain if step.forget is None or (self.over == "both" and self.lead == "retain") else step.forget
        return step.visits + (len(lead.ids) if self.doubled and lead is not None else 0)

    def answering(self, model: nn.Module, name: str) -> AbstractContextManager[None]:
        """Hold in ``model`` the weights that answer the set called ``name``, until its gradients are taken."""
        return self.relearner.instead(model) if self.relearner is not None and name == "forget" else nullcontext()

    def factor(self, step: int) -> float:
        """Return the factor on the learning rate of a step of the pass (0, 1, ...)."""
        return self.rate(step) if callable(self.rate) else self.rate

    def visits(self, problem: Problem) -> int:
        """Return how many records it reads."""
        other = self._once(problem) if self.doubled else 0
        return self._once(problem) + other + (self._beside(problem) if self.over == "both" else 0)

    def taught_visits(self, problem: Problem) -> int:
        """Return how many records teachers read."""
        if self.over != "both":
            return self._once(problem) if self.taught in ("both", self.over) else 0
        if self.taught == "both":
            return self._once(problem) + self._beside(problem)
        return self._once(problem) if self.taught == self.lead else self._beside(problem)

    def flow(self, problem: Problem) -> int:
        """Return how many retained records it takes of the order that goes on."""
        if not self.goes_on:
            return 0
        return self._beside(problem) if self.over == "both" else self._once(problem)

    def batches(self, problem: Problem, *, seed: int, epoch: int, flowed: int = 0) -> Iterator[Step]:
        """Yield what every step reads; a pure function of seed and epoch.

        Of the order that goes on so many records were read before as have ``flowed``.
        """
        return islice(self._whole_pass(problem, seed=seed, epoch=epoch, flowed=flowed), self.steps(problem))

    def _whole_pass(self, problem: Problem, *, seed: int, epoch: int, flowed: int) -> Iterator[Step]:
        sets = dict(zip(("retain", "forget"), self.sets(problem), strict=True))
        if self.over == "all":
            known = problem.records.position
            if self.forget is None and all(name in known for name in sets["retain"].ids):
                yield from _whole(problem, sets["retain"], self.batch_size, seed=seed, epoch=epoch)
            else:
                yield from _mixed(sets["retain"], sets["forget"], self.batch_size, seed=seed, epoch=epoch)
            return
        lead = self._leading
        other = "forget" if lead == "retain" else "retain"
        size = self.beside or self.batch_size
        driving = drawn(sets[lead], self.batch_size, seed=seed, epoch=epoch)
        again = drawn_endlessly(sets[other], size, seed=seed, epoch=epoch) if self.over == "both" else iter(())
        if self.goes_on and lead == "retain":
            driving = flowing(sets[lead], self.batch_size, seed=seed, start=flowed)
        elif self.goes_on and self.over == "both":
            again = flowing(sets[other], size, seed=seed, start=flowed)
        for indices in driving:
            beside = next(again, None)
            step = {lead: Side.read(sets[lead], indices)}
            yield Step(**step) if beside is None else Step(**step, **{other: Side.read(sets[other], beside)})

    def _beside(self, problem: Problem) -> int:
        other = self.sets(problem)[self.lead == "retain"]
        return self.steps(problem) * min(self.beside or self.batch_size, len(other))

    def _once(self, problem: Problem) -> int:
        steps = self.steps(problem)
        if self.goes_on and self._leading == "retain":
            return steps * min(self.batch_size, self._lead(problem))
        return bounds(self._lead(problem), self.batch_size)[steps - 1][1] if steps else 0

    def _lead(self, problem: Problem) -> int:
        retain, forget = self.sets(problem)
        if self.over == "all":
            return len(retain) + len(forget)
        return len(forget) if self._leading == "forget" else len(retain)

    @property
    def _leading(self) -> str:
        return self.lead if self.over == "both" else self.over


def _whole(problem: Problem, retain: Records, size: int, *, seed: int, epoch: int) -> Iterator[Step]:
    gone = set(problem.forget_ids)
    records = problem.records.select([name for name in problem.records.ids if name in gone or name in retain.position])
    for indices in drawn(records, size, seed=seed, epoch=epoch):
        side = Side.read(records, indices)
        yield Step(together=side, gone=torch.tensor([name in gone for name in side.ids]))


def _mixed(retain: Records, forget: Records, size: int, *, seed: int, epoch: int) -> Iterator[Step]:
    ids = (*retain.ids, *forget.ids)
    indices = order(ids, seed=seed, epoch=epoch)
    for start, stop in bounds(len(ids), size):
        stay = [i for i in indices[start:stop] if i < len(retain)]
        go = [i - len(retain) for i in indices[start:stop] if i >= len(retain)]
        parts = [Side.read(*each) for each in ((retain, stay), (forget, go)) if each[1]]
        batch = concatenated([part.batch for part in parts], retain.padding)
        side = Side(sum((part.ids for part in parts), ()), batch)
        yield Step(together=side, gone=torch.arange(len(side.ids)) >= len(stay))


def rows(batch: Any, chosen: Tensor) -> Any:
    """Return the ``chosen`` [B], bool, records of a batch of tensors, in tuples or mappings."""
    if isinstance(batch, Tensor):
        return batch[chosen.to(batch.device)]
    if isinstance(batch, Mapping):
        return {key: rows(part, chosen) for key, part in batch.items()}
    return type(batch)(rows(part, chosen) for part in batch)


def concatenated(batches: Sequence[Any], padding: Any = None) -> Any:
    """Return batches of one form (tensors, in tuples or mappings) as one, as if their records had been read together.

    Rows [B, T] of the narrower ones are filled up on the right with what is at their place in ``padding``, as the
    records say (:attr:`expunge.core.records.Records.padding`).

    Raises:
        UsageError: their widths differ, and nothing says what to fill with.
    """
    first = batches[0]
    if len(batches) == 1:
        return first
    if isinstance(first, Tensor):
        return torch.cat(_widened(batches, padding))
    if isinstance(first, Mapping):
        return {key: concatenated([b[key] for b in batches], padding and padding[key]) for key in first}
    fillings = [None] * len(first) if padding is None else padding
    return type(first)(concatenated(each, filling) for *each, filling in zip(*batches, fillings, strict=True))


def _widened(parts: Sequence[Tensor], filling: float | None) -> list[Tensor]:
    widths = sorted({part.shape[1] for part in parts if part.dim() > 1})
    if len(widths) < 2:
        return list(parts)
    if filling is None:
        raise UsageError(
            "batches of several widths are to be joined",
            where="records that stand in for others",
            found=f"rows of {widths[0]} and of {widths[-1]} values",
            expected="rows of one width, or records that say what they fill shorter ones up with",
            fix="let every batch have one width, or set `padding` on the records (expunge.core.records.Records)",
        )
    return [functional.pad(part, (0, widths[-1] - part.shape[1]), value=filling) for part in parts]
