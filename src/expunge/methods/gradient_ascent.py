"""Gradient ascent: raise the loss on forgotten records, and stop where they are as strange as held-out ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from expunge.core.config import setting
from expunge.core.level import Level
from expunge.core.method import Cost, Need
from expunge.core.problem import Problem
from expunge.engine.context import Context
from expunge.engine.guard import right_answers
from expunge.engine.passes import Batch, Pass, Passes
from expunge.engine.same_classes import of_same_classes
from expunge.engine.split import forget_choosing, held_choosing


class GradientAscent(Passes):
    """Minimise ``-loss`` on the forgotten records; retained ones are not read. The loss has no bound, so it must stop.

    After every epoch the choosing part is looked at: the method ends once no more of its forgotten records are
    answered right than of the held-out ones of their classes, or once their mean loss is above that of an even guess,
    the logarithm of the number of classes, by more than ``margin``. Without held-out records of these classes only the
    second rule is left. Of texts the share of tokens counts that are the most likely ones, and all held-out texts are
    compared. Batch statistics become those of the forgotten records, unless ``batch_statistics = "keep"``.
    """

    title = "Gradient ascent on forgotten records"
    source = "Fan et al. 2024, arXiv 2310.12508, baseline GA (elsewhere called NegGrad)"
    guarantee = Level.AUDITED
    of_units = True
    needs: ClassVar[frozenset[Need]] = frozenset({Need.FORGET})
    scores: ClassVar[bool] = True
    unasked: ClassVar[bool] = False

    @dataclass(frozen=True, kw_only=True)
    class Config(Passes.Config):
        """Settings; the defaults are those of SalUn's code, whose users report that 5e-4 to 1e-3 does more."""

        epochs: int = setting(5, "passes over the forget set at the most", low=0, search=(1, 10))
        batch_size: int = setting(256, "records per step", low=1)
        lr: float = setting(1e-4, "peak learning rate", above=0, search=(1e-5, 1e-2))
        optimiser: str = setting("sgd", "optimiser", choices=("adamw", "sgd"))
        weight_decay: float = setting(5e-4, "decoupled for adamw, L2 for sgd", low=0)
        margin: float = setting(0.0, "nats above the loss of an even guess at which it stops", low=0)

    def passes(self, epoch: int) -> Sequence[Pass]:
        """Return one pass over the forgotten records."""
        return (Pass("forget", self._up, self.config.batch_size),)

    def _up(self, batch: Batch) -> Tensor:
        assert batch.forget is not None
        self._guess = math.log(batch.forget.classes)
        return -batch.forget.loss.mean()

    def observation(self, problem: Problem) -> Cost:
        """Return two looks at forgotten records and one at held-out ones, after every epoch."""
        return Cost(read=self.config.epochs * (2 * forget_choosing(problem) + held_choosing(problem)))

    def stop(self, model: nn.Module, epoch: int, run: Context) -> str:
        """Return that forgotten records are answered as held-out ones, or worse than by a guess."""
        if not len(run.choosing.forget):
            return ""
        loss, most = run.mean_loss(model, run.choosing.forget), self._guess + self.config.margin
        if loss > most:
            return f"forget loss {loss:.3g} is above {most:.3g}, that of an even guess and the margin"
        held = of_same_classes(run.problem, run.choosing)
        if held is None:
            return ""
        mine, theirs = (right_answers(run, model, records) for records in (run.choosing.forget, held))
        assert mine is not None
        assert theirs is not None
        shares = [float(right.double().mean()) for right in (mine, theirs)]
        if shares[0] > shares[1]:
            return ""
        return f"{shares[0]:.0%} of forgotten records answered right, {shares[1]:.0%} of held-out ones of their classes"
