"""SCRUB: away from the original on forgotten records, back to it on retained ones, and back in time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from expunge.core.config import setting
from expunge.core.errors import Obstacle
from expunge.core.level import Level
from expunge.core.method import Cost, Need
from expunge.core.problem import Problem
from expunge.core.records import Records
from expunge.engine.context import Context
from expunge.engine.guard import right_answers
from expunge.engine.passes import Batch, Pass, Passes
from expunge.engine.same_classes import of_same_classes
from expunge.engine.split import forget_choosing, held_choosing
from expunge.numerics.losses import distillation

STILL = 1e-6
"""A divergence below this many nats is that of two models which answer alike."""


class Scrub(Passes):
    """In the first ``ascents`` epochs a pass that leaves the teacher on forgotten records; in all, one back to it.

    The teacher is the original. On forgotten records ``-KL(teacher || student)`` is minimised, on retained ones
    ``gamma * loss + alpha * KL``; one optimiser for both. Where nothing but weights tells student and teacher apart (no
    batch statistics, no dropout), the first ascent has no slope: a warning says so, and ascent takes hold after the
    first pass over retained records.

    With ``rewind`` (SCRUB+R) the epoch comes back whose error on forgotten records is nearest to the error that the
    *last* model has on held-out ones of their classes; of equal epochs the latest. Both are measured on the choosing
    part.
    """

    title = "SCRUB (away from a teacher on forgotten records, towards it on retained ones), with rewinding"
    source = "Kurmanji et al. 2023, arXiv 2302.09880, SCRUB and SCRUB+R"
    guarantee = Level.AUDITED
    needs: ClassVar[frozenset[Need]] = frozenset({Need.RETAIN, Need.FORGET})
    teacher: ClassVar[bool] = True
    dips: ClassVar[bool] = True
    scores: ClassVar[bool] = True
    unasked: ClassVar[bool] = False
    trial: ClassVar[Mapping[str, object]] = {"epochs": 3}

    @dataclass(frozen=True, kw_only=True)
    class Config(Passes.Config):
        """Settings; the defaults are those of the authors' code for all of CIFAR-10."""

        epochs: int = setting(3, "passes over the retain set", low=0, search=(2, 10))
        ascents: int = setting(2, "epochs, from the first, with a pass over the forget set", low=0, search=(1, 5))
        alpha: float = setting(0.001, "weight of the divergence on retained records", low=0, search=(0.001, 1))
        gamma: float = setting(0.99, "weight of the loss on retained records", low=0)
        temperature: float = setting(4.0, "what logits are divided by in divergences", above=0)
        batch_size: int = setting(128, "retained records per step", low=1)
        forget_batch_size: int = setting(32, "forgotten records per step", low=1)
        lr: float = setting(5e-4, "peak learning rate", above=0, search=(1e-4, 3e-2))
        schedule: str = setting("step", "learning rate over steps", choices=("constant", "one_cycle", "step", "cosine"))
        decay: tuple[int, ...] = setting((3, 5, 9), "epochs after each of which the rate is a tenth, of schedule step")
        optimiser: str = setting("sgd", "optimiser", choices=("adamw", "sgd"))
        weight_decay: float = setting(5e-4, "decoupled for adamw, L2 for sgd", low=0)
        rewind: bool = setting(True, "whether to go back to the epoch that forgot as much as needed, and no more")

    def obstacles(self, problem: Problem) -> list[Obstacle]:
        """Return also that there is nothing to rewind by."""
        found = super().obstacles(problem)
        if self.config.rewind and problem.held_out is None:
            what, fix = (
                "scrub rewinds to what held-out records say",
                "give the problem a holdout, or set rewind = false",
            )
            found.append(Obstacle(what=what, where="holdout", found="none", fix=fix))
        return found

    def passes(self, epoch: int) -> Sequence[Pass]:
        """Return the ascent, in the first epochs, and the descent."""
        away = (Pass("forget", self._away, self.config.forget_batch_size),) if epoch <= self.config.ascents else ()
        return (*away, Pass("retain", self._back, self.config.batch_size))

    def _away(self, batch: Batch) -> Tensor:
        assert batch.forget is not None
        assert batch.teacher is not None
        assert batch.teacher.forget is not None
        return -distillation(batch.forget, batch.teacher.forget, temperature=self.config.temperature)

    def _back(self, batch: Batch) -> Tensor:
        assert batch.retain is not None
        assert batch.teacher is not None
        assert batch.teacher.retain is not None
        apart = distillation(batch.retain, batch.teacher.retain, temperature=self.config.temperature)
        return self.config.gamma * batch.retain.loss.mean() + self.config.alpha * apart

    # --- going back ----------------------------------------------------------------------------------------------

    @property
    def rewinds(self) -> bool:
        """Whether it goes back."""
        return bool(self.config.rewind)

    def observe(self, model: nn.Module, epoch: int, run: Context) -> dict[str, float]:
        """Return the error on the forgotten records of the choosing part."""
        return (
            {"forget error": _error(model, run, run.choosing.forget)}
            if self.rewinds and len(run.choosing.forget)
            else {}
        )

    def observation(self, problem: Problem) -> Cost:
        """Return the looks at forgotten records after every epoch, and the last one at held-out ones."""
        many = self.config.epochs if self.rewinds else 0
        return Cost(read=many * forget_choosing(problem) + held_choosing(problem) if many else 0)

    def rewind(self, model: nn.Module, history: Sequence[dict[str, float]], run: Context) -> int:
        """Return the epoch whose error on forgotten records is nearest to the last model's on held-out ones."""
        held = of_same_classes(run.problem, run.choosing)
        if held is None:
            self._stayed = "it did not go back: no held-out record of the choosing part is of a forgotten class"
            return 0
        wanted = _error(model, run, held)
        best = min(history, key=lambda row: (abs(row["forget error"] - wanted), -row["epoch"]))
        return int(best["epoch"]) if best is not history[-1] else 0

    def remarks(self, history: Sequence[dict[str, float]]) -> tuple[str, ...]:
        """Return that the first ascent did nothing, and that it could not go back."""
        said = []
        if -history[0].get("objective on forget", -1.0) < STILL:
            said.append(
                "the first pass over the forgotten records did nothing: student and teacher answered alike, so their "
                "divergence had no slope; later ascents take hold"
            )
        return (*said, *([self._stayed] if hasattr(self, "_stayed") else []))


def _error(model: nn.Module, run: Context, records: Records) -> float:
    right = right_answers(run, model, records)
    assert right is not None
    return 1 - float(right.double().mean())
