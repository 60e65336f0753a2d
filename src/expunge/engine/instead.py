"""Methods that teach another answer in the place of the forgotten one, by preference (DPO)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from expunge.core.config import setting
from expunge.core.method import Cost
from expunge.core.problem import Problem
from expunge.core.records import Records
from expunge.core.variants import variant_of
from expunge.engine.context import Context
from expunge.engine.forgetting import Forgetting, summed
from expunge.engine.passes import Batch, Pass
from expunge.numerics.preference import dpo


class Instead(Forgetting):
    """Prefer another answer to each forgotten question over the answer that was learnt, beside the original's view.

    Where there are several other answers to a question, one of them is drawn at every visit. What the original says of
    each answer is computed once, before the first step.
    """

    remembers: ClassVar[bool] = True

    @dataclass(frozen=True, kw_only=True)
    class Config(Forgetting.Config):
        """Settings of preference."""

        beta: float = setting(0.1, "how fast the pull ends as an answer is forgotten; to 0: never", above=0)

    @abstractmethod
    def others(self, problem: Problem, run: Context) -> Records:
        """Return the other answers: records called ``ID#NUMBER``, one or more for every forgotten record."""

    @abstractmethod
    def count(self, problem: Problem) -> int:
        """Return how many other answers there are, of all forgotten records."""

    def preparation(self, problem: Problem) -> Cost:
        """Return one look at the forgotten records and at all other answers."""
        return super().preparation(problem) + Cost(read=self.count(problem))

    def prepare(self, model: nn.Module, problem: Problem, run: Context) -> Cost:
        """Ask the original once for the summed loss of every answer, old and new."""
        super().prepare(model, problem, run)
        self._model, self._task, self._others = model, problem.meaning, self.others(problem, run)
        self._other_then = summed(model, problem, self._others, size=self.config.batch_size)
        self._places: dict[str, list[int]] = {}
        for place, name in enumerate(self._others.ids):
            self._places.setdefault(variant_of(name), []).append(place)
        return self.preparation(problem)

    def passes(self, epoch: int) -> Sequence[Pass]:
        """Return the passes of every such method; another answer is read for each forgotten record, in repairs none."""
        return tuple(replace(each, doubled=each.over != "retain") for each in super().passes(epoch))

    def forgotten(self, batch: Batch) -> Tensor:
        """Return the loss of preferring the other answers."""
        assert batch.forget is not None
        assert batch.forget_side is not None
        drawn = [self._drawn(self._places[name]) for name in batch.forget_side.ids]
        other = self._task.units(self._model, self._others.read(drawn))
        now, other_now = (units.sum_by_record(units.loss) for units in (batch.forget, other))
        then = [self._other_then[self._others.ids[place]] for place in drawn]
        other_then = torch.tensor(then, dtype=now.dtype, device=now.device)
        return dpo(now, self.then(batch), other_now, other_then, beta=self.config.beta)

    def _drawn(self, places: Sequence[int]) -> int:
        # From the generator that every epoch seeds: a resumed run draws the same.
        return places[int(torch.randint(len(places), ()))]
