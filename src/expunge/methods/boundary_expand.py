"""Boundary expanding: teach the forgotten records to be of a class of their own, and take that class away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from expunge.core.config import setting
from expunge.core.errors import InvalidProblem, Obstacle
from expunge.core.level import Level
from expunge.core.method import Cost, Need
from expunge.core.problem import Problem
from expunge.engine.anatomy import classes_of, head_of, narrow, widen
from expunge.engine.context import Context
from expunge.engine.passes import Batch, Pass, Passes


class BoundaryExpand(Passes):
    """Give the head one more row, train all parameters to answer it for forgotten records, and take the row off.

    The model that comes back has the classes it had: a row that stayed would catch the forgotten records and pass for
    forgetting. No retained record is trained on, and nothing holds the others in place: the learning rate must be
    small. The paper gives none; 1e-4 is ours, public scripts search from 1e-8 up.
    """

    title = "Boundary expanding (a class of their own, taken away)"
    source = "Chen et al. 2023, arXiv 2303.11570, section 4.2"
    guarantee = Level.AUDITED
    needs: ClassVar[frozenset[Need]] = frozenset({Need.FORGET})
    unasked: ClassVar[bool] = False
    classes: ClassVar[bool] = True
    dips: ClassVar[bool] = True

    @dataclass(frozen=True, kw_only=True)
    class Config(Passes.Config):
        """Settings of boundary expanding."""

        epochs: int = setting(10, "passes over the forget set", low=0, search=(1, 10))
        lr: float = setting(1e-4, "peak learning rate", above=0, search=(1e-6, 1e-2))
        optimiser: str = setting("sgd", "optimiser", choices=("adamw", "sgd"))
        weight_decay: float = setting(5e-4, "decoupled for adamw, L2 for sgd", low=0)

    def obstacles(self, problem: Problem) -> list[Obstacle]:
        """Return what the contract says, and that the head cannot have one more class; reads two records for it."""
        found = super().obstacles(problem)
        if found:
            return found
        try:
            _widened(problem.source.open(), problem)
        except InvalidProblem as error:
            return list(error.obstacles)
        return []

    def passes(self, epoch: int) -> Sequence[Pass]:
        """Return one pass over the forget set."""
        return (Pass("forget", self.apart, self.config.batch_size),)

    def preparation(self, problem: Problem) -> Cost:
        """Return the two looks at one record that tell the classes."""
        return Cost(read=2)

    def prepare(self, model: nn.Module, problem: Problem, run: Context) -> Cost:
        """Give the head one more row."""
        self._head = _widened(model, problem)
        return self.preparation(problem)

    def apart(self, batch: Batch) -> Tensor:
        """Return the cross entropy of the new class, the last."""
        assert batch.forget is not None
        logits = batch.forget.logits
        return F.cross_entropy(logits, torch.full((len(logits),), logits.shape[1] - 1, device=logits.device))

    def finish(self, model: nn.Module, problem: Problem, run: Context) -> None:
        """Take the new row off."""
        narrow(self._head)


def _widened(model: nn.Module, problem: Problem) -> nn.Module:
    """Give the head of ``model`` one more row, and return it.

    Raises:
        InvalidProblem: there is no head, or the number of classes does not follow from it.
    """
    classes = classes_of(model, problem)
    head = head_of(model, problem, classes)
    widen(head)
    try:
        follows = classes_of(model, problem) == classes + 1
    except (ArithmeticError, AssertionError, LookupError, RuntimeError, TypeError, ValueError):
        # The network's own code, which counts on the classes that it had.
        follows = False
    if not follows:
        raise InvalidProblem([_fixed()])
    return head


def _fixed() -> Obstacle:
    return Obstacle(
        what="the number of classes does not follow from the head",
        where="the model",
        found="no logit more with one more row in the head",
        expected="as many logits as the head has rows",
        fix="choose another method: `expunge plan` lists them",
    )
