"""Groups of the holdout: are there records enough to look at each, and at each class in each?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.stats.contingency import crosstab

from expunge.core.errors import Obstacle
from expunge.core.problem import Problem
from expunge.engine.relabelling import labels_of
from expunge.numerics.groups import named


@dataclass(frozen=True)
class Groups:
    """How many holdout records the ``smallest`` group has, and the ``rarest`` pair of group and class; or why none."""

    ENOUGH: ClassVar[int] = 15
    """Of which two thirds are judged."""

    smallest: int = 0
    rarest: int = 0
    because: str = ""

    @classmethod
    def of(cls, problem: Problem) -> Groups:
        """Return what a problem that names groups has of them; nothing of one that names none."""
        holdout = problem.held_out
        if not problem.groups:
            return cls()
        if holdout is None or not len(holdout):
            return cls(because="no holdout")
        labels = labels_of(problem, holdout)
        if labels is None:
            return cls(because="a task without classes")
        groups = np.array([problem.groups.get(name, "") for name in holdout.ids])
        here = named(groups)
        if len(here) < 2:
            return cls(because="one group" if here else "no holdout record with a group")
        mine = groups != ""  # those of unknown groups count for nothing
        counts = crosstab(groups[mine], labels[mine]).count
        return cls(int(counts.sum(axis=1).min()), int(counts.min()))


def left_out(groups: NDArray[Any]) -> dict[str, str]:
    """Return how many records have no group, in words; nothing where all have one."""
    count = int((groups == "").sum())
    return {"records without a group, left out": str(count)} if count else {}


_FIXES = {
    "no holdout record with a group": "name the groups of holdout records, by their ids",
    "one group": "name another group as well, or leave groups out",
    "a task without classes": "leave groups out: gaps between groups are those of classifiers",
}


def ungrouped(problem: Problem) -> Obstacle | None:
    """Return that groups are named and too small to be looked at, each or each class in each; None where they are."""
    seen = Groups.of(problem)
    if not problem.groups or seen.rarest >= Groups.ENOUGH:
        return None
    alone = seen.smallest >= Groups.ENOUGH
    few = f"{seen.rarest} holdout records of the rarest class in a group"
    return Obstacle(
        what="the gap between groups is not looked at" if alone else "the groups are not looked at",
        where="groups",
        found=seen.because or (few if alone else f"{seen.smallest} holdout records of the smallest group"),
        expected=f"{Groups.ENOUGH} or more of each group, and for the gap of each class in each group",
        fix=_FIXES.get(seen.because, "add such records to the holdout, and name their groups"),
        fatal=False,
    )
