"""Boundary shrinking: give every forgotten record the class on the other side of the nearest boundary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from expunge.core.config import setting
from expunge.core.errors import InvalidProblem, Obstacle
from expunge.core.level import Level
from expunge.core.method import Cost, Need
from expunge.core.problem import Problem
from expunge.engine.batches import in_order
from expunge.engine.context import Context
from expunge.engine.continuous import continuous, not_continuous
from expunge.engine.loop import evaluating
from expunge.engine.passes import Batch, Pass, Passes

_SIZE = 256


class BoundaryShrink(Passes):
    """Train forgotten records towards the class that the original gives them after one step up their loss.

    The step is taken once, against the original in evaluation mode. An input that keeps its label under it is trained
    on that again, as in the paper; a warning says how many do, and ``exclude_true_class`` takes the next best class
    instead. No retained record is read, and nothing holds the others in place: the learning rate must be small.
    The paper gives none; 1e-4 is ours, public scripts search from 1e-8 up.
    """

    title = "Boundary shrinking (the nearest wrong class)"
    source = "Chen et al. 2023, arXiv 2303.11570, section 4.1"
    guarantee = Level.AUDITED
    needs: ClassVar[frozenset[Need]] = frozenset({Need.FORGET})
    unasked: ClassVar[bool] = False
    classes: ClassVar[bool] = True
    trial: ClassVar = {"pixels": False}

    @dataclass(frozen=True, kw_only=True)
    class Config(Passes.Config):
        """Settings of boundary shrinking."""

        epochs: int = setting(10, "passes over the forget set", low=0, search=(1, 10))
        lr: float = setting(1e-4, "peak learning rate", above=0, search=(1e-6, 1e-2))
        optimiser: str = setting("sgd", "optimiser", choices=("adamw", "sgd"))
        weight_decay: float = setting(5e-4, "decoupled for adamw, L2 for sgd", low=0)
        step: float = setting(0.1, "size of the step in every number of an input, in its own unit", low=0)
        pixels: bool = setting(
            True, "inputs are pixels in [0, 1]: clamped to it after the step, and rounded to 255 levels"
        )
        exclude_true_class: bool = setting(False, "never take the label that a record has")

    def obstacles(self, problem: Problem) -> list[Obstacle]:
        """Return what the contract says, and inputs that are no numbers, or no pixels; reads the forgotten ones."""
        found, view = super().obstacles(problem), problem.forget_view
        if found or not len(view):
            return found
        if not continuous(problem, view):
            return [_no_numbers()]
        seen = (problem.meaning.inputs(batch) for batch in in_order(view, _SIZE))
        return [_no_pixels()] if self.config.pixels and any(map(_outside, seen)) else []

    def passes(self, epoch: int) -> Sequence[Pass]:
        """Return one pass over the forget set."""
        return (Pass("forget", self.across, self.config.batch_size),)

    def preparation(self, problem: Problem) -> Cost:
        """Return one step and one answer for every forgotten record."""
        return Cost(trained=len(problem.forget_view), read=len(problem.forget_view))

    def prepare(self, model: nn.Module, problem: Problem, run: Context) -> Cost:
        """Find the class of every forgotten record after its step."""
        found, kept = [], 0
        for batch in in_order(problem.forget_view, _SIZE):
            with evaluating(model):
                classes, target = self._nearest(model, problem, batch)
            found += classes.tolist()
            kept += int((classes == target).sum())
        self._class = dict(zip(problem.forget_view.ids, found, strict=True))
        self._kept = kept / len(found)
        return self.preparation(problem)

    def across(self, batch: Batch) -> Tensor:
        """Return the cross entropy of the classes found."""
        assert batch.forget is not None
        assert batch.forget_side is not None
        classes = torch.tensor([self._class[name] for name in batch.forget_side.ids], device=batch.forget.logits.device)
        return F.cross_entropy(batch.forget.logits, classes[batch.forget.record])

    def remarks(self, history: Sequence[dict[str, float]]) -> tuple[str, ...]:
        """Return how many records were trained on their own label again."""
        if not self._kept:
            return ()
        return (
            f"{self._kept:.0%} of the forgotten records kept their label under the step and were trained on it again: "
            "a larger step, or exclude_true_class = true",
        )

    def _nearest(self, model: nn.Module, problem: Problem, batch: Any) -> tuple[Tensor, Tensor]:
        """Return (class after the step, label), [B] each."""
        task = problem.meaning
        inputs = task.inputs(batch)
        still = torch.zeros_like(inputs, requires_grad=True)
        moved = task.moved(batch, still)
        if moved is None:
            raise InvalidProblem([_no_numbers()])
        if self.config.pixels and _outside(inputs):
            raise InvalidProblem([_no_pixels()])
        with torch.enable_grad():
            (slope,) = torch.autograd.grad(task.units(model, moved).loss.sum(), still)
        there = inputs + self.config.step * slope.sign()
        if self.config.pixels:
            there = (there.clamp(0, 1) * 255).round() / 255
        with torch.no_grad():
            units = task.units(model, task.moved(batch, there - inputs))
        own = F.one_hot(units.target, units.logits.shape[1]).bool() & self.config.exclude_true_class
        return units.logits.masked_fill(own, -torch.inf).argmax(dim=1), units.target


def _outside(inputs: Tensor) -> bool:
    """Return whether a value lies outside [0, 1]."""
    return bool(((inputs < 0) | (inputs > 1)).any())


def _no_numbers() -> Obstacle:
    expected, fix = "inputs that a small step changes a little", "choose a method that does not change inputs"
    return not_continuous(where="forget set", expected=expected, fix=f"{fix}: `expunge plan` lists them")


def _no_pixels() -> Obstacle:
    return Obstacle(
        what="inputs are no pixels in [0, 1]",
        where="forget set",
        found="values below 0 or above 1",
        expected="raw pixels, with the normalisation inside the model",
        fix="set pixels = false: no clamping or rounding, and the step in the unit of the inputs",
    )
