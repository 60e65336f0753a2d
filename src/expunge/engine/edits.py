"""Methods that change weights once, by what gradients say of them, without training.

A method says what it does to a fresh copy; everything else lives here: the copy, seeds, the count of work, the look at
what is left of the model, and the warning where nothing came of it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from expunge.core.digest import keyed_int
from expunge.core.errors import Diverged, Obstacle
from expunge.core.method import Cost, Method, Need
from expunge.core.outcome import Outcome
from expunge.core.problem import Problem
from expunge.engine.context import Context
from expunge.engine.guard import Guard
from expunge.engine.passes import NO_EFFECT, touched
from expunge.engine.runtime import seed_everything


@dataclass(frozen=True)
class Edited:
    """What an edit did: in words, what a reader must know of it, and the figures of epochs, where it had such."""

    done: str
    warnings: tuple[str, ...] = ()
    history: tuple[Mapping[str, float], ...] = ()


class Edit(Method):
    """A method that changes the weights of the original once."""

    needs: ClassVar[frozenset[Need]] = frozenset({Need.RETAIN, Need.FORGET})

    @abstractmethod
    def edit(self, model: nn.Module, problem: Problem, run: Context) -> Edited:
        """Change the parameters of ``model`` that may move; work is counted in ``run.spent``, randomness is seeded."""

    @abstractmethod
    def work(self, problem: Problem) -> Cost:
        """Return the work of :meth:`edit`, before it is done."""

    def obstacles(self, problem: Problem) -> list[Obstacle]:
        """Return what the contract says, and that the model is no network: it has no gradients."""
        found = super().obstacles(problem)
        if not problem.source.gradients:
            what = f"{self.name} reads gradients of a network"
            found.append(Obstacle(what=what, found="no network", fix="see which methods `expunge plan` offers instead"))
        return found

    def cost(self, problem: Problem) -> Cost:
        """Return the work of the edit, and of the look at the model before and after it."""
        return self.work(problem) + Guard.cost(problem, 1, reads_forget=Need.FORGET in self.needs)

    def unlearn(self, problem: Problem, run: Context) -> Outcome:
        """Return a fresh copy of the original with its weights changed.

        Raises:
            Diverged: a weight became NaN or infinite, or the model lost what it could do on held-out records.
        """
        model = problem.source.open().eval()
        if not len(problem.forget_view):
            return Outcome(model=model, stopped="nothing to forget")
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        spent = run.spent
        guard = Guard(model, problem, run, dips=False, reads_forget=Need.FORGET in self.needs, fix=_MILDER)
        seed_everything(keyed_int(b"expunge edit", run.seed) % 2**31)
        run.progress.start(run.label, 1)
        edited = self.edit(model, problem, run)
        run.progress.finish(run.label)
        if not all(bool(torch.isfinite(p).all()) for p in model.parameters()):
            raise Diverged("a weight is NaN or infinite", where="after the change", fix=_MILDER)
        guard.look(model, 0, last=True)
        share = touched(before, model)
        warnings = (*edited.warnings, *((NO_EFFECT,) if share == 0 else ()), *guard.warnings(model))
        return Outcome(
            model=model,
            cost=Cost(trained=run.spent.trained - spent.trained, read=run.spent.read - spent.read),
            history=edited.history,
            touched=share,
            stopped=edited.done,
            warnings=warnings,
        )


_MILDER = "choose milder settings"
