"""Weights that let every group count alike, whatever its size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from expunge.core.errors import InvalidProblem, Obstacle
from expunge.core.problem import Problem
from expunge.core.records import Records
from expunge.engine.relabelling import labels_of

_FIX = "name the groups: Problem(groups={id: group, ...}), in a job the column `group` of [data]"


def weights(problem: Problem, records: Records) -> Mapping[str, float]:
    """Return a weight for each record, of mean 1, with which every pair of group and class weighs alike.

    n / (pairs * records of the pair): balanced weights of the pair (King and Zeng 2001, with even shares).

    Raises:
        InvalidProblem: a record has no group, or the task no classes.
    """
    labels = labels_of(problem, records)
    without = [name for name in records.ids if name not in problem.groups]
    if labels is None or without:
        raise InvalidProblem(
            [_unbalanced(f"{len(without)} of {len(records)} records without a group" if without else "no classes")]
        )
    pairs = [(problem.groups[name], int(label)) for name, label in zip(records.ids, labels, strict=True)]
    count = Counter(pairs)
    return {name: len(pairs) / (len(count) * count[pair]) for name, pair in zip(records.ids, pairs, strict=True)}


def lacks_groups(problem: Problem, name: str) -> list[Obstacle]:
    """Return that no groups are named, or not those of all retained records, before a record is read."""
    if problem.groups:
        names = problem.retain_view.ids
        without = sum(name not in problem.groups for name in names)
        return [_unbalanced(f"{without} of {len(names)} retained records without a group")] if without else []
    return [
        Obstacle(
            what=f"{name} balances groups",
            found="no groups",
            expected="a group for every retained record",
            fix=_FIX,
        )
    ]


def _unbalanced(found: str) -> Obstacle:
    return Obstacle(
        what="records cannot be balanced by group",
        where="groups",
        found=found,
        expected="a group for every retained record, and class labels",
        fix=_FIX,
    )
