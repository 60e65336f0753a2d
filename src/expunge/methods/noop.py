"""Doing nothing: the negative control. An audit that passes it has no power."""

from __future__ import annotations

from typing import ClassVar

from expunge.core.level import Level
from expunge.core.method import Cost, Method
from expunge.core.outcome import Outcome
from expunge.core.problem import Problem
from expunge.engine.context import Context


class Noop(Method):
    """A copy of the original."""

    title = "Do nothing (negative control)"
    source = "none: the original itself"
    guarantee = Level.AUDITED
    control: ClassVar[bool] = True

    def cost(self, problem: Problem) -> Cost:
        """Return no work."""
        return Cost()

    def unlearn(self, problem: Problem, run: Context) -> Outcome:
        """Return a fresh instance of the original."""
        return Outcome(
            model=problem.source.open(),
            stopped="at once",
            warnings=("no parameter changed: nothing was done",),
        )
