"""Choosing is not judging: one split of records, by keyed hash, before any method runs."""

from __future__ import annotations

from dataclasses import dataclass

from expunge.core.digest import keyed
from expunge.core.problem import Problem
from expunge.core.records import Records, View

CHOOSING_SHARE = 1 / 3
"""Most goes to judging: the verdict's intervals are what the records are needed for."""


@dataclass(frozen=True)
class Part:
    """Forget and holdout records of one part; ``holdout`` is None where the problem has none."""

    forget: View
    holdout: View | None


def split(problem: Problem, seed: int) -> tuple[Part, Part]:
    """Return (choosing part, judging part), a function of (seed, record ids) alone.

    Canaries belong to neither: nothing is chosen by them, and all of them are judged (``engine/parts``).
    """
    forget = halves(problem.records.select(_asked(problem)), seed, "forget")
    if problem.held_out is None:
        return Part(forget[0], None), Part(forget[1], None)
    holdout = halves(problem.held_out, seed, "holdout")
    return Part(forget[0], holdout[0]), Part(forget[1], holdout[1])


def judged_count(count: int) -> int:
    """Return how many of ``count`` records are judged."""
    return count - int(count * CHOOSING_SHARE)


def held_choosing(problem: Problem) -> int:
    """Return how many held-out records the choosing part of a problem has."""
    count = 0 if problem.held_out is None else len(problem.held_out)
    return count - judged_count(count)


def forget_choosing(problem: Problem) -> int:
    """Return how many forgotten records the choosing part of a problem has."""
    count = len(_asked(problem))
    return count - judged_count(count)


def _asked(problem: Problem) -> list[str]:
    return [name for name in problem.forget_ids if name not in problem.planted_ids]


def halves(records: Records, seed: int, name: str) -> tuple[View, View]:
    """Return (choosing, judging): the ``n // 3`` records with the smallest hash, and the rest."""
    key = keyed(b"expunge split", seed, name)
    ranked = sorted(records.ids, key=lambda record: keyed(key, record))
    chosen = set(ranked[: len(ranked) - judged_count(len(ranked))])
    return records.select([i for i in records.ids if i in chosen]), records.without(list(chosen))
