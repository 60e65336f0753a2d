"""The loop that gradient methods share: a method names its objective, its settings and when to stop.

One epoch is one pass over the retain set; a method that reads the forget set gets a batch of it with every
step, from a stream that is shuffled anew each time around.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from expunge.core.method import Cost, Method, Need
from expunge.core.outcome import Outcome
from expunge.core.problem import Problem
from expunge.engine.batches import endless, shuffled
from expunge.engine.context import Context
from expunge.engine.loop import LoopConfig, Steps, run_loop
from expunge.numerics.units import Units


class Descent(Method):
    """A method that trains the original further.

    Subclasses name ``objective`` and, where they read the forget set, declare ``Need.FORGET``; that need
    decides whether forget batches are read at all.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.RETAIN})

    @dataclass(frozen=True, kw_only=True)
    class Config(LoopConfig):
        """Settings of a descent."""

    @abstractmethod
    def objective(self, retain: Units, forget: Units | None) -> Tensor:
        """Return the scalar to minimise; ``forget`` is None unless the method declares ``Need.FORGET``."""

    def stop(self, model: nn.Module, epoch: int, run: Context) -> str:
        """Return why to stop after ``epoch`` (1, 2, ...); empty to go on. May look at the choosing part only."""
        return ""

    def cost(self, problem: Problem) -> Cost:
        """Return epochs times the retain set, plus as many forget records as are read beside it."""
        steps = math.ceil(len(problem.retain_view) / self.config.batch_size)
        beside = steps * min(self.config.batch_size, len(problem.forget_view)) if Need.FORGET in self.needs else 0
        return Cost(trained=self.config.epochs * (len(problem.retain_view) + beside))

    def unlearn(self, problem: Problem, run: Context) -> Outcome:
        """Return the original, trained further on a fresh copy."""
        model = problem.source.open()
        if not len(problem.forget_view):
            return Outcome(model=model, stopped="nothing to forget")
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        seen = {"trained": 0}

        def objective(item: tuple[Any, Any]) -> Tensor:
            retain = problem.meaning.units(model, item[0])
            forget = problem.meaning.units(model, item[1]) if item[1] is not None else None
            seen["trained"] += retain.batch_size + (forget.batch_size if forget is not None else 0)
            return self.objective(retain, forget)

        config = self.config
        steps = Steps(
            count=math.ceil(len(problem.retain_view) / config.batch_size),
            batches=lambda epoch: self._pairs(problem, run, epoch),
            objective=objective,
            after_epoch=lambda epoch, history: self._after(model, epoch, history, run, seen),
            advance=lambda: run.progress.advance(run.label),
        )
        run.progress.start(run.label, steps.count * config.epochs)
        history, stopped = run_loop(model, steps, config, seed=run.seed, checkpoints=run.checkpoints)
        run.progress.finish(run.label)
        share = touched(before, model)
        warnings = ("no parameter changed: the method had no effect",) if share == 0 else ()
        trained = history[-1]["trained"] if history else 0
        return Outcome(
            model=model,
            cost=Cost(trained=trained, read=history[-1]["read"] if history else 0),
            history=tuple(history),
            touched=share,
            stopped=stopped,
            warnings=warnings,
        )

    def _pairs(self, problem: Problem, run: Context, epoch: int) -> Iterator[tuple[Any, Any]]:
        size = self.config.batch_size
        retain = shuffled(problem.retain_view, size, seed=run.seed, epoch=epoch)
        if Need.FORGET not in self.needs:
            return ((batch, None) for batch in retain)
        return zip(retain, endless(problem.forget_view, size, seed=run.seed, epoch=epoch), strict=False)

    def _after(
        self,
        model: nn.Module,
        epoch: int,
        history: list[dict[str, float]],
        run: Context,
        seen: dict[str, int],
    ) -> str:
        before = history[-2] if len(history) > 1 else {"trained": 0, "read": 0}
        reads = run.spent.read
        reason = self.stop(model, epoch, run)
        # The history carries the cost so far, so that a resumed loop reports the work of all its epochs.
        history[-1]["trained"] = before["trained"] + seen["trained"]
        history[-1]["read"] = before["read"] + run.spent.read - reads
        seen["trained"] = 0
        return reason


def touched(before: dict[str, Tensor], model: nn.Module) -> float:
    """Return the share of parameters (single numbers) that differ from ``before``."""
    changed = sum(int((p.detach() != before[name]).sum()) for name, p in model.named_parameters())
    return changed / max(1, sum(p.numel() for p in model.parameters()))
