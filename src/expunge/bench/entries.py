"""What is entered into the grid: a method as it comes, one with a shipped recipe (``NAME@recipe``), or ``auto``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from expunge.core.errors import InvalidProblem, Obstacle, UsageError
from expunge.core.problem import Problem
from expunge.plan import recipes
from expunge.plan.auto import AUTO

RECIPE = "recipe"
NONE = "no recipe of"
"""How the reason starts why a cell of such an entry is empty where none is shipped for the case."""


@dataclass(frozen=True)
class Entry:
    """One line of the grid.

    Attributes:
        method: its name, or ``auto``.
        recipe: whether it works with the settings of a recipe where one is shipped for the case.
    """

    method: str
    recipe: bool = False

    @classmethod
    def of(cls, label: str) -> Entry:
        """Return what a label names.

        Raises:
            UsageError: something other than ``recipe`` stands behind the ``@``, or before it ``auto``.
        """
        method, mark, kind = label.partition("@")
        if mark and (kind != RECIPE or method == AUTO):
            raise UsageError(
                f"no entry called {label!r}",
                where="methods",
                found=label,
                expected=f"the name of a method, one with @{RECIPE}, or {AUTO}",
                fix=f"write {method}, or another method with @{RECIPE}"
                if method == AUTO
                else f"write {method}@{RECIPE}",
            )
        return cls(method, bool(mark))

    @property
    def tuned(self) -> bool:
        """Whether its method and settings are only known once they were searched."""
        return self.method == AUTO

    def configs(self, problem: Problem, given: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
        """Return the settings by method for ``problem``; what is ``given`` stands in the place of a recipe's.

        Raises:
            InvalidProblem: no recipe is shipped for the case.
        """
        if not self.recipe:
            return dict(given)
        case = recipes.case_of(problem)
        found = recipes.for_case(case)
        if self.method not in found:
            raise InvalidProblem(
                [
                    Obstacle(
                        what=f"{NONE} {self.method} is shipped for this case",
                        where=case,
                        found=", ".join(found) or "none",
                        expected=f"one of {self.method}",
                        fix="leave it out, or find one: benchmarks/tuning.py --recipes",
                    )
                ]
            )
        return {**given, self.method: {**found[self.method].config, **given.get(self.method, {})}}
