"""Methods that push forgotten answers away and hold the others, in passes over the forget set.

Retained records are read beside each step, as many as it has forgotten ones, or a multiple of them; where ``repairs``
says so they are passed through once more, alone, after each pass over the forget set: pushing answers away damages
others, and what nobody pushes at that moment is learnt back fast, while what was forgotten is not.
What such a method says is one loss of the forgotten records; what holds the others is the same for all of them. Of the
original no more is kept than what the losses need: nothing, one number per forgotten record, or, for a divergence from
its answers, the original itself. With adapters that is the same model without them.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from expunge.core.config import setting
from expunge.core.errors import Obstacle
from expunge.core.level import Level
from expunge.core.method import Cost, Method, Need
from expunge.core.problem import Problem
from expunge.core.records import Records
from expunge.engine.batches import in_order
from expunge.engine.context import Context
from expunge.engine.loop import evaluating
from expunge.engine.passes import Batch, Pass, Passes
from expunge.engine.relearner import Relearner
from expunge.engine.split import forget_choosing, held_choosing
from expunge.engine.training import LEAST, settings_of, smaller
from expunge.numerics.losses import distillation, mean_loss

GENTLER, GENTLER_ON_TEXTS = 0.3, 0.4
"""Rates that a search begins with, as a share of the training's."""
MENDED = 0.6
"""Share of the retained records that are passed through after each pass over the forget set, where a search begins."""
AHEAD = 0.4
"""Steps of a relearner where a search over texts begins, as a share of those that a pass over the forget set has."""


class Forgetting(Passes):
    """Minimise ``forget_weight * forgotten + retain_weight * kept``, means over the units of each set's batch.

    ``kept`` is the loss of the retained records (``nll``), their divergence KL(original || model) (``kl``), or nothing.
    After every epoch the mean loss of a forgotten token is looked at, on the choosing part: pushing on where a model
    that never saw it would stand can be seen from outside, and ruins the model in the end. That loss is the model's
    own; what the history says of the push is reckoned where a relearner stands, if there is one.

    Where the original is remembered, or answers beside the model, dropout rests in both: else a ratio of the two would
    not begin at 1, nor a divergence at 0.

    Class attributes: ``remembers``, whether :meth:`then` is asked for; ``distils``, whether the losses of forgotten
    records need all that the original answers.
    """

    guarantee = Level.AUDITED
    needs: ClassVar[frozenset[Need]] = frozenset({Need.RETAIN, Need.FORGET})
    scores: ClassVar[bool] = True
    only_reads: ClassVar[bool] = True
    of_units: ClassVar[bool] = True
    unasked: ClassVar[bool] = False
    trial: ClassVar[Mapping[str, object]] = {"beside": 4}
    settled: ClassVar[frozenset[str]] = frozenset({"batch_size", "lr"})
    remembers: ClassVar[bool] = False
    distils: ClassVar[bool] = False

    @dataclass(frozen=True, kw_only=True)
    class Config(Passes.Config):
        """Settings; the learning rate decides more than the method does, and small models need a larger one."""

        lr: float = setting(5e-5, "peak learning rate", above=0, search=(1e-5, 1e-2))
        epochs: int = setting(10, "passes over the forget set at the most", low=0, search=(1, 20))
        batch_size: int = setting(32, "forgotten records per step", low=1, search=(2, 64))
        beside: int = setting(1, "retained records that are read for each forgotten one", low=1)
        forget_weight: float = setting(1.0, "weight of the forgotten records' loss", low=0)
        retain: str = setting(
            "nll",
            "what holds the retained records: their loss (`nll`), the divergence from the original's answers (`kl`; it "
            "keeps a second model), or nothing (`none`)",
            choices=("nll", "kl", "none"),
        )
        retain_weight: float = setting(1.0, "weight of what holds the retained records", low=0, search=(0.1, 10))
        repairs: float = setting(
            0.0,
            "passes over the retained records alone, after each one over the forget set; of a fraction a pass reads so "
            "many of them, each of them once before any is read again",
            low=0,
            search=(0, 1),
        )
        relearner: int = setting(
            0,
            "steps of a relearner, which undoes the pushes in weights of its own and begins anew after so many, and "
            "with every pass over the forget set: forgotten records are pushed away where undoing leads, so that they "
            "do not come back by it; 0: where the model stands, as in a pass of one step",
            low=0,
        )
        relearner_rate: float = setting(
            0.007, "how far a step of the relearner goes, as a share of the norm of the weights that move", above=0
        )
        until: str = setting(
            "retrained",
            "stop when the mean loss of a forgotten token has reached that of retrained models, which are trained for "
            "it (`retrained`), that of held-out records of the same classes (`strangers`), or that of an even guess, "
            "the logarithm of the number of tokens or classes (`guess`); where one is not known, the next",
            choices=("retrained", "strangers", "guess"),
        )

    def __init__(self, config: Mapping[str, object] | Method.Config | None = None) -> None:
        super().__init__(config)
        if self.config.retain == "none" and not self.config.repairs:
            self.needs = self.needs - {Need.RETAIN}  # type: ignore[misc]

    @classmethod
    def start(cls, problem: Problem) -> Mapping[str, object]:
        """Return steps gentler and smaller than those of the training, and mending after each pass over the forget set.

        Rates and batches that suit one network suit no other, but their ratio to those that it was trained with does.
        Texts are pushed up to an even guess: on those that settings were tried with, mending brought the rest back. And
        from where a relearner stands: no objective sees how fast they would come back.
        """
        config = settings_of(problem)
        if config is None:
            return {}
        texts = problem.meaning.scored and not problem.meaning.labelled
        batch = smaller(config.batch_size, least=2 if texts else LEAST)
        rate = (GENTLER_ON_TEXTS if texts else GENTLER) * config.lr
        steps = {"lr": rate, "batch_size": batch, "schedule": "cosine", "repairs": MENDED}
        until = "guess" if texts else "strangers"
        found = {**steps, "optimiser": config.optimiser, "momentum": config.momentum, "until": until}
        pushes = -(-len(problem.forget_view) // batch)
        return {**found, "relearner": max(2, round(AHEAD * pushes))} if texts else found

    def obstacles(self, problem: Problem) -> list[Obstacle]:
        """Return also that there is a rate, and no relearner whose it could be."""
        found, c = super().obstacles(problem), self.config
        if not c.relearner and c.relearner_rate != Forgetting.Config.relearner_rate:
            what, fix = "there is no relearner to take steps of that length", "set relearner as well, or leave this out"
            where, rate = self.at("relearner_rate"), f"{c.relearner_rate:g}, and relearner = 0"
            found.append(
                Obstacle(what=what, where=where, found=rate, expected="a relearner of 1 step or more", fix=fix)
            )
        return found

    # --- what a method says ------------------------------------------------------------------------------------

    @abstractmethod
    def forgotten(self, batch: Batch) -> Tensor:
        """Return the loss of the forgotten records of ``batch``, to be minimised."""

    def kept(self, batch: Batch) -> Tensor:
        """Return what holds the retained records of ``batch``."""
        return held(batch, by=self.config.retain)

    def then(self, batch: Batch) -> Tensor:
        """Return what the original says of the forgotten records of ``batch``: their summed losses, [B]."""
        assert batch.forget is not None
        assert batch.forget_side is not None
        loss = batch.forget.loss
        return torch.tensor([self._then[name] for name in batch.forget_side.ids], dtype=loss.dtype, device=loss.device)

    @property
    def holds(self) -> str:
        """The setting of which less pushes forgotten records further, for a search; ``""`` where no weight holds."""
        return "retain_weight" if self.config.retain != "none" and self.config.retain_weight else ""

    @property
    def weight(self) -> float:
        """The weight of what holds the retained records."""
        weight: float = self.config.retain_weight
        return weight

    # --- what is done for it -----------------------------------------------------------------------------------

    @property
    def teacher(self) -> bool:  # type: ignore[override]
        """Whether the original answers beside the model."""
        return self.distils or self.config.retain == "kl"

    @property
    def compares(self) -> bool:  # type: ignore[override]
        """Whether the model is held against what the original says."""
        return self.remembers or self.teacher

    def passes(self, epoch: int) -> Sequence[Pass]:
        """Return one pass over the forget set, with retained records beside it where something holds them, and repairs.

        A step of a repair reads as many retained records as stood beside a step before.
        """
        c = self.config
        beside, held = c.batch_size * c.beside, "retain" if c.retain == "kl" else "forget"
        whole = Pass("retain", self._held, beside, taught=held, goes_on=True)
        rest = c.repairs % 1
        repairs = [*[whole] * int(c.repairs), *([replace(whole, share=rest)] if rest else [])]
        # A new one for each epoch, so that a resumed run has the same.
        relearner = Relearner(steps=c.relearner, rate=c.relearner_rate) if c.relearner else None
        away = {"forget": self._away}
        if c.retain == "none":
            return (Pass("forget", away, c.batch_size, relearner=relearner), *repairs)
        taught = "both" if c.retain == "kl" and self.distils else held
        sides = {**away, "retain": self._held}
        return (
            Pass(
                "both",
                sides,
                c.batch_size,
                lead="forget",
                beside=beside,
                taught=taught,
                goes_on=True,
                relearner=relearner,
            ),
            *repairs,
        )

    def observation(self, problem: Problem) -> Cost:
        """Return the looks at forgotten records after every epoch, and the one at held-out ones that may end it."""
        c = self.config
        held = held_choosing(problem) if c.epochs and c.until != "guess" else 0
        watched = forget_choosing(problem) or len(problem.forget_view)  # as in :meth:`observe`
        return Cost(read=c.epochs * watched + held)

    def preparation(self, problem: Problem) -> Cost:
        """Return one look at the forgotten records, where the original's losses are wanted."""
        return Cost(read=len(problem.forget_view)) if self.remembers else Cost()

    def prepare(self, model: nn.Module, problem: Problem, run: Context) -> Cost:
        """Ask the original once for the summed loss of every forgotten record."""
        if self.remembers:
            self._then = summed(model, problem, problem.forget_view, size=self.config.batch_size)
        return self.preparation(problem)

    def observe(self, model: nn.Module, epoch: int, run: Context) -> dict[str, float]:
        """Return the mean loss of a forgotten token of the choosing part; of all of them where it has none."""
        self._loss = run.mean_loss(model, run.choosing.forget if len(run.choosing.forget) else run.problem.forget_view)
        return {"forget loss": self._loss}

    def stop(self, model: nn.Module, epoch: int, run: Context) -> str:
        """Return that the forgotten records are as strange as to retrained models, or more than an even guess."""
        until, target = self.config.until, None
        if until != "guess" and len(run.choosing.forget):
            target = run.target_loss if until == "retrained" else run.loss_of_strangers
        if target is None:
            above = self._loss > self._guess
            return f"forget loss {self._loss:.3g} is above {self._guess:.3g}, that of an even guess" if above else ""
        reached = self._loss >= target
        whose = "a retrained model" if until == "retrained" else "held-out records"
        return f"forget loss {self._loss:.3g} reached that of {whose}, {target:.3g}" if reached else ""

    def _away(self, batch: Batch) -> Tensor:
        assert batch.forget is not None
        self._guess = math.log(batch.forget.classes)
        return self.config.forget_weight * self.forgotten(batch)

    def _held(self, batch: Batch) -> Tensor:
        return self.weight * self.kept(batch)


def held(batch: Batch, *, by: str) -> Tensor:
    """Return what holds the retained records of ``batch``: their mean loss, or ``by`` "kl" that of their divergence.

    The divergence is KL(teacher || model), of the units that the teacher answers.
    """
    assert batch.retain is not None
    if by != "kl":
        return mean_loss(batch.retain)
    assert batch.teacher is not None
    assert batch.teacher.retain is not None
    return distillation(batch.retain, batch.teacher.retain)


def summed(model: nn.Module, problem: Problem, records: Records, *, size: int) -> dict[str, float]:
    """Return the summed loss of the units of every record, in nats, by its id; in evaluation mode."""
    found: list[float] = []
    with evaluating(model), torch.no_grad():
        for batch in in_order(records, size):
            units: Any = problem.meaning.units(model, batch)
            found += units.sum_by_record(units.loss.double()).tolist()
    return dict(zip(records.ids, found, strict=True))
