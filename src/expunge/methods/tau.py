"""TAU: selective ascent, and then task arithmetic from where that ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from expunge.core.config import Config, setting
from expunge.core.digest import keyed_int
from expunge.core.errors import Obstacle, UsageError
from expunge.core.level import Level
from expunge.core.method import Cost, Method, Need
from expunge.core.outcome import Outcome
from expunge.core.problem import Problem
from expunge.engine.context import Context
from expunge.engine.passes import NO_EFFECT, touched

STAGES = ("sga", "task_arithmetic")


class AscentThenArithmetic(Method):
    """``s = sga(original)``, then ``s - scale * (s fine-tuned on the forgotten records - s)``.

    Both are the methods of these names, with settings of their own. Ascent levels the records that stand out; the task
    vector then moves all of them. So ``retain``, what holds the retained records, is a setting of each: of the first
    ``nll``, ``kl`` or ``none``, of the second ``kl`` to where it starts, or ``none``.
    """

    title = "TAU (selective ascent, then task arithmetic)"
    source = "Barbulescu and Triantafillou 2024, arXiv 2405.03097, TAU"
    guarantee = Level.AUDITED
    needs: ClassVar[frozenset[Need]] = frozenset({Need.FORGET})
    unasked: ClassVar[bool] = False
    trial: ClassVar[Mapping[str, object]] = {
        "settings": [{"epochs": 2, "lr": 1e-3, "threshold": 0.0}, {"epochs": 2, "batch_size": 16}]
    }

    @dataclass(frozen=True, kw_only=True)
    class Config(Config):
        """Settings of both stages."""

        settings: tuple[Mapping[str, Any], ...] = setting(
            (), "two tables: settings of `sga` and of `task_arithmetic`, in this order; none: their defaults"
        )

        def __post_init__(self) -> None:
            """Check that there are two of them."""
            super().__post_init__()
            if len(self.settings) not in (0, len(STAGES)):
                raise UsageError(
                    "settings that are not those of two stages",
                    where=f"{type(self).__qualname__}.settings",
                    found=f"settings of {len(self.settings)}",
                    expected=f"of {' and '.join(STAGES)}, in this order, or none",
                    fix="give {} for the one whose defaults are meant",
                )

    def __init__(self, config: Mapping[str, object] | Config | None = None) -> None:
        super().__init__(config)
        given = self.config.settings or ({},) * len(STAGES)
        self._stages: list[Method] = [
            self.using(name, each, setting=f"settings[{place}]")
            for place, (name, each) in enumerate(zip(STAGES, given, strict=True))
        ]
        self.needs = frozenset().union(*(stage.needs for stage in self._stages))  # type: ignore[misc]

    def obstacles(self, problem: Problem) -> list[Obstacle]:
        """Return what keeps either of both from the problem."""
        found: list[Obstacle] = []
        for stage in self._stages:
            found += [each for each in stage.obstacles(problem) if each not in found]
        return found

    def cost(self, problem: Problem) -> Cost:
        """Return the work of both."""
        first, second = (stage.cost(problem) for stage in self._stages)
        return first + second

    def unlearn(self, problem: Problem, run: Context) -> Outcome:
        """Return the model after both.

        Raises:
            Diverged: either of them ruined the model.
        """
        model = problem.source.open()
        if not len(problem.forget_view):
            return Outcome(model=model, stopped="nothing to forget")
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        total, history, told, warnings = Cost(), [], [], []
        for place, (name, stage) in enumerate(zip(STAGES, self._stages, strict=True)):
            here = replace(problem, model=model, ledger=None, origin=None)
            outcome = stage.unlearn(here, _within(run, here, place))
            model, total = outcome.model, total + outcome.cost
            done = len(history)
            history += [{**row, "epoch": done + i + 1, "stage": place + 1} for i, row in enumerate(outcome.history)]
            told.append(f"{name} {outcome.stopped}")
            warnings += [f"{name}: {text}" for text in outcome.warnings]
        share = touched(before, model)
        return Outcome(
            model=model,
            cost=total,
            history=tuple(history),
            touched=share,
            stopped="; ".join(told),
            warnings=(*((NO_EFFECT,) if share == 0 else ()), *(w for w in warnings if NO_EFFECT not in w)),
        )


def _within(run: Context, problem: Problem, place: int) -> Context:
    """Return what a stage is given; the first one the seed of the run."""
    return replace(
        run,
        problem=problem,
        seed=run.seed if not place else keyed_int(b"expunge tau", run.seed, place) % 2**31,
        label=f"{run.label}, {STAGES[place]}",
        checkpoints=None if run.checkpoints is None else run.checkpoints.inside(STAGES[place]),
        spent=Cost(),
    )
