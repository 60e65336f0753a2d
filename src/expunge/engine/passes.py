"""Methods that train the original further by passes: over retained records, over forgotten ones, or both side by side.

A method names its passes, epoch by epoch, and what is minimised on each batch; everything else lives here: the
fresh copy, a frozen teacher where one is wanted, batches, seeds, modes, checkpoints, progress, the count of work.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from expunge.core.errors import Obstacle
from expunge.core.method import Cost, Method, Need
from expunge.core.outcome import Outcome
from expunge.core.problem import Problem
from expunge.engine.batches import endless, shuffled
from expunge.engine.context import Context
from expunge.engine.loop import LoopConfig, Steps, evaluating, run_loop
from expunge.numerics.units import Scored


@dataclass(frozen=True)
class Batch:
    """What an objective is written over: the units of one step.

    Attributes:
        retain / forget: units of the model that is trained, with gradients; None where the pass has none.
        teacher: the same units of the original, without gradients; None unless the method wants a ``teacher``.
    """

    retain: Scored | None
    forget: Scored | None
    teacher: Batch | None = None


@dataclass(frozen=True)
class Pass:
    """One pass of an epoch.

    Attributes:
        over: ``retain``, ``forget``, or ``both``: once over the retain set, a forget batch beside every step.
        objective: the scalar to minimise on a batch.
        batch_size: records per step and set.
    """

    over: str
    objective: Callable[[Batch], Tensor]
    batch_size: int

    def steps(self, problem: Problem) -> int:
        """Return the number of steps."""
        records = problem.forget_view if self.over == "forget" else problem.retain_view
        return math.ceil(len(records) / self.batch_size)

    def visits(self, problem: Problem) -> int:
        """Return how many records it reads."""
        if self.over == "forget":
            return len(problem.forget_view)
        beside = self.steps(problem) * min(self.batch_size, len(problem.forget_view)) if self.over == "both" else 0
        return len(problem.retain_view) + beside

    def batches(self, problem: Problem, *, seed: int, epoch: int) -> Iterator[tuple[Any, Any]]:
        """Yield (retain batch, forget batch), None for what it does not read; a pure function of seed and epoch."""
        if self.over == "forget":
            forget = shuffled(problem.forget_view, self.batch_size, seed=seed, epoch=epoch)
            return ((None, batch) for batch in forget)
        retain = shuffled(problem.retain_view, self.batch_size, seed=seed, epoch=epoch)
        if self.over == "retain":
            return ((batch, None) for batch in retain)
        return zip(retain, endless(problem.forget_view, self.batch_size, seed=seed, epoch=epoch), strict=False)


class Passes(Method):
    """A method that trains the original further, pass by pass.

    Class attributes: ``teacher``, whether batches carry the original's units beside the student's.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.RETAIN})
    teacher: ClassVar[bool] = False

    @dataclass(frozen=True, kw_only=True)
    class Config(LoopConfig):
        """Settings of the loop."""

    @abstractmethod
    def passes(self, epoch: int) -> Sequence[Pass]:
        """Return the passes of ``epoch`` (1, 2, ...), in order; the last one's objective stands in the history."""

    def stop(self, model: nn.Module, epoch: int, run: Context) -> str:
        """Return why to stop after ``epoch`` (1, 2, ...); empty to go on. May look at the choosing part only."""
        return ""

    def obstacles(self, problem: Problem) -> list[Obstacle]:
        """Return what the contract says, and that the model is no network: nothing of it could be trained further."""
        found = super().obstacles(problem)
        if not problem.source.gradients:
            what = f"{self.name} trains a network further"
            found.append(Obstacle(what=what, found="no network", fix="see which methods `expunge plan` offers instead"))
        return found

    def cost(self, problem: Problem) -> Cost:
        """Return the visits of all passes of all epochs; a teacher reads what the student is trained on."""
        visits = sum(p.visits(problem) for e in range(self.config.epochs) for p in self.passes(e + 1))
        return Cost(trained=visits, read=visits if self.teacher else 0)

    def unlearn(self, problem: Problem, run: Context) -> Outcome:
        """Return the original, trained further on a fresh copy."""
        model = problem.source.open()
        if not len(problem.forget_view):
            return Outcome(model=model, stopped="nothing to forget")
        teacher = problem.source.open() if self.teacher else None
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        seen = {"trained": 0, "read": 0}

        def units(who: nn.Module, item: tuple[Any, Any], taught: Batch | None = None) -> Batch:
            scored = [None if batch is None else problem.meaning.units(who, batch) for batch in item]
            return Batch(scored[0], scored[1], taught)

        def objective(item: tuple[Pass, bool, Any, Any]) -> Tensor:
            kind, _, *parts = item
            taught = None
            if teacher is not None:
                with evaluating(teacher), torch.no_grad():
                    taught = units(teacher, (parts[0], parts[1]))
            batch = units(model, (parts[0], parts[1]), taught)
            visits = sum(part.batch_size for part in (batch.retain, batch.forget) if part is not None)
            seen["trained"] += visits
            seen["read"] += visits if teacher is not None else 0
            return kind.objective(batch)

        config = self.config
        steps = Steps(
            count=lambda epoch: sum(p.steps(problem) for p in self.passes(epoch + 1)),
            batches=lambda epoch: self._items(problem, run.seed, epoch),
            objective=objective,
            name=lambda item: "objective" if item[1] else f"objective on {item[0].over}",
            after_epoch=lambda epoch, history: self._after(model, epoch, history, run, seen),
            advance=lambda: run.progress.advance(run.label),
        )
        run.progress.start(run.label, sum(steps.count(epoch) for epoch in range(config.epochs)))
        history, stopped = run_loop(model, steps, config, seed=run.seed, checkpoints=run.checkpoints)
        run.progress.finish(run.label)
        share = touched(before, model)
        last = history[-1] if history else {"trained": 0, "read": 0}
        return Outcome(
            model=model,
            cost=Cost(trained=last["trained"], read=last["read"]),
            history=tuple(history),
            touched=share,
            stopped=stopped,
            warnings=("no parameter changed: the method had no effect",) if share == 0 else (),
        )

    def _items(self, problem: Problem, seed: int, epoch: int) -> Iterator[tuple[Pass, bool, Any, Any]]:
        passes = self.passes(epoch + 1)
        for place, one in enumerate(passes):
            for retain, forget in one.batches(problem, seed=seed, epoch=epoch):
                yield one, place == len(passes) - 1, retain, forget

    def _after(
        self, model: nn.Module, epoch: int, history: list[dict[str, float]], run: Context, seen: dict[str, int]
    ) -> str:
        before = history[-2] if len(history) > 1 else {"trained": 0, "read": 0}
        reads = run.spent.read
        reason = self.stop(model, epoch, run)
        # The history carries the cost so far, so that a resumed loop reports the work of all its epochs.
        history[-1]["trained"] = before["trained"] + seen["trained"]
        history[-1]["read"] = before["read"] + seen["read"] + run.spent.read - reads
        seen.update(trained=0, read=0)
        return reason


def touched(before: dict[str, Tensor], model: nn.Module) -> float:
    """Return the share of parameters (single numbers) that differ from ``before``."""
    changed = sum(int((p.detach() != before[name]).sum()) for name, p in model.named_parameters())
    return changed / max(1, sum(p.numel() for p in model.parameters()))
