"""Bad teacher: answer forgotten records as a network does that was never trained, and retained ones as the original."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from expunge.core.config import setting
from expunge.core.digest import keyed_int
from expunge.core.errors import Obstacle
from expunge.core.level import Level
from expunge.core.method import Cost, Need
from expunge.core.problem import Problem
from expunge.core.records import Records, View
from expunge.engine.anatomy import cannot_reset, reset, unresettable
from expunge.engine.context import Context
from expunge.engine.passes import Batch, Pass, Passes
from expunge.numerics.losses import distillation


class BadTeacher(Passes):
    """Minimise KL(teacher || student), shuffled over the forgotten records and a part of the retained ones.

    On retained records the teacher is the original, on forgotten ones the same network with new random weights; both
    evaluate. The part of the retained records is drawn once, by a hash of seed and id. ``reduction = "mean"`` divides
    by the number of classes as well, as the authors' code does: with sgd that is a smaller rate, with adamw next to
    nothing.
    """

    title = "Bad teacher (answers of an untrained network on forgotten records)"
    source = "Chundawat et al. 2023, arXiv 2205.08096"
    guarantee = Level.AUDITED
    needs: ClassVar[frozenset[Need]] = frozenset({Need.RETAIN, Need.FORGET})
    teacher: ClassVar[bool] = True
    scores: ClassVar[bool] = True
    unasked: ClassVar[bool] = False
    trial: ClassVar[Mapping[str, object]] = {"retain_share": 1.0}

    @dataclass(frozen=True, kw_only=True)
    class Config(Passes.Config):
        """Settings; the defaults are those of the code of selective synaptic dampening's authors."""

        epochs: int = setting(1, "passes over both sets", low=0, search=(1, 10))
        batch_size: int = setting(256, "records per step", low=1)
        lr: float = setting(1e-4, "peak learning rate", above=0, search=(1e-5, 1e-2))
        retain_share: float = setting(0.3, "share of the retained records that is learnt", above=0, high=1)
        temperature: float = setting(1.0, "what logits are divided by; the divergence is times its square", above=0)
        reduction: str = setting("batchmean", "over records, or over classes as well", choices=("batchmean", "mean"))

    _part: Records | None = None

    def obstacles(self, problem: Problem) -> list[Obstacle]:
        """Return also that there is no way to new random weights."""
        found = super().obstacles(problem)
        model = problem.source.open()
        stubborn = [type(part).__name__ for part in unresettable(model)] if isinstance(model, nn.Module) else []
        return [*found, *([cannot_reset(stubborn)] if stubborn else [])]

    def teachers(self, problem: Problem, run: Context) -> tuple[nn.Module, nn.Module]:
        """Return the original, and its like with new random weights."""
        bad = problem.source.open().requires_grad_(True)
        reset(bad)
        return problem.source.open(), bad

    def cost(self, problem: Problem) -> Cost:
        """Return the visits of the part of the retained records and of the forgotten ones, by student and teachers."""
        twin = copy.copy(self)
        twin._part = self._drawn(problem, 0)
        return super(BadTeacher, twin).cost(problem)

    def prepare(self, model: nn.Module, problem: Problem, run: Context) -> Cost:
        """Draw the part of the retained records."""
        self._part = self._drawn(problem, run.seed)
        return Cost()

    def passes(self, epoch: int) -> Sequence[Pass]:
        """Return one pass over forgotten and some retained records together."""
        return (Pass("all", self._follow, self.config.batch_size, retain=self._part),)

    def _drawn(self, problem: Problem, seed: int) -> View:
        retain = problem.retain_view
        count = max(1, round(self.config.retain_share * len(retain)))
        ranked = sorted(retain.ids, key=lambda name: keyed_int(b"expunge part", seed, name))
        return retain.select(ranked[:count])

    def _follow(self, batch: Batch) -> Tensor:
        assert batch.teacher is not None
        pairs = ((batch.retain, batch.teacher.retain), (batch.forget, batch.teacher.forget))
        total, count, classes = 0.0, 0, 1
        for student, teacher in pairs:
            if student is None or teacher is None:
                continue
            count, classes = count + len(student.loss), student.classes
            total = total + len(student.loss) * distillation(student, teacher, temperature=self.config.temperature)
        assert isinstance(total, Tensor)
        return total / (count * (classes if self.config.reduction == "mean" else 1))
