"""Are the holdout records of the same distribution as the training records? A two-sample test on their inputs.

Membership compares how models answer forgotten records and records that were never trained on. Where the latter are of
another kind, the difference in kind is measured as well.

Source: Gretton et al. 2012, "A kernel two-sample test", JMLR 13, equation 5 (the biased estimate of the squared maximum
mean discrepancy), with a Gaussian kernel of the median distance, on columns scaled to unit variance. Its law under
equal distributions is found by exchanging the records of the two sides, so that the rate of false alarms is exact
whatever the inputs (Lehmann and Romano, Testing Statistical Hypotheses, section 15.2). Records of one subject are
alike, so they change sides together: a holdout of other people is no other distribution for that.

All training records are the one side, not only those that stay: what a request takes out (a class, a person) changes
what stays, and makes the holdout no worse. Where the retained records are gone, nothing is told: the forgotten ones are
no draw of all, nor are the few that stand for the others, which may be synthetic.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from expunge.core.digest import keyed, keyed_int
from expunge.core.errors import Obstacle
from expunge.core.problem import Problem
from expunge.core.records import Records, View
from expunge.engine.batches import in_order
from expunge.engine.relabelling import labels_of

LEVEL = 0.005
"""False alarms per problem that has none."""
EXCHANGES = 999
"""Random exchanges; the smallest p-value is 1 in one more."""
FEWEST = 10
"""Forgotten records of which is said that they are an ordinary sample: of fewer hardly any test would say otherwise."""
MOST = 1000
"""Records of either side that are looked at: a second of work."""
_SEEN: dict[tuple[object, ...], float] = {}
"""The p-value by task, digests of both sides and their subjects: one process works on a problem several times."""
_ORDINARY: dict[tuple[object, ...], bool] = {}
"""The answer by task and digests of what is forgotten and what stays: every method that asks gets the same."""


def shifted(problem: Problem) -> Obstacle | None:
    """Return a note where the inputs of the holdout are told from those of the training records, else None."""
    if problem.held_out is None or not len(problem.held_out) or problem.calibration is not None:
        return None
    digests = problem.records.manifest.digest, problem.held_out.manifest.digest
    seed = keyed_int(b"expunge shift", *digests)
    sides = [sample(problem.records), sample(problem.held_out)]
    key = (problem.task, *digests, *(tuple(side.subjects) for side in sides))
    if key not in _SEEN:
        _SEEN[key] = p_value(*(inputs_of(problem, side) for side in sides), seed=seed, owners=owners(*sides))
    p = _SEEN[key]
    if p > LEVEL:
        return None
    return Obstacle(
        what="the holdout records are of another distribution than the training records",
        where="holdout, inputs",
        found=f"a two-sample test tells them apart (p {'<' if p < 0.0015 else '='} {max(p, 0.001):.3g})",
        expected="records of the same kind, drawn as the training records were",
        fix="take a holdout from the same source, put aside at random, whole subjects where records have any; as it "
        "is, membership then measures the shift as well, and accuracy on the holdout is accuracy on other data",
        fatal=False,
    )


def ordinary(problem: Problem) -> bool:
    """Return whether the forgotten records look like a random sample of the training records.

    Two of these tests, on class labels and on inputs within classes (labels that are wrong show there alone), do not
    tell them from the retained ones. False of fewer than ``FEWEST``, where the request says that labels are wrong, and
    where there are no classes: that questions are answered otherwise is seen in no count of words.
    """
    views = problem.forget_view, problem.retain_view
    if min(map(len, views)) < FEWEST or problem.request.corrections or not problem.meaning.labelled:
        return False
    key = (problem.task, *(view.manifest.digest for view in views))
    if key not in _ORDINARY:
        _ORDINARY[key] = _alike(problem, sample(views[0]), sample(views[1]))
    return _ORDINARY[key]


def _alike(problem: Problem, *parts: View) -> bool:
    seed = keyed_int(b"expunge ordinary", *map(len, parts))
    labels = np.concatenate([found for part in parts if (found := labels_of(problem, part)) is not None])
    mix = torch.from_numpy(labels[:, None] == np.unique(labels)).double().split([len(part) for part in parts])
    if p_value(*mix, seed=seed) <= LEVEL:
        return False
    return p_value(*(inputs_of(problem, part) for part in parts), seed=seed, strata=torch.from_numpy(labels)) > LEVEL


def p_value(
    left: Tensor, right: Tensor, *, seed: int, strata: Tensor | None = None, owners: Sequence[object] | None = None
) -> float:
    """Return the p-value of "both sides are draws of one distribution", in [1 / (EXCHANGES + 1), 1].

    Args:
        left: float64 rows [n, D] of the one side.
        right: float64 rows [m, D] of the other.
        seed: of the exchanges, in [0, 2**63); the level is exact over seeds.
        strata: class numbers [n + m], of ``left`` first: then the question is asked within classes, the distances of
            all of them summed. Those of the right are weighed as the left has them, and exchanges stay within classes.
        owners: whose each row is, [n + m]: rows of one owner on one side are exchanged together. By default, and where
            an owner has rows of several strata, each row is exchanged on its own: with rows that are alike this rather
            tells the sides apart, while owners of other strata could hardly be exchanged, and nothing would be seen.
    """
    n, m = len(left), len(right)
    rows = torch.cat([left, right])
    spread = rows.std(dim=0)
    rows = (rows - rows.mean(dim=0))[:, spread > 0] / spread[spread > 0]
    distances = torch.cdist(rows, rows)
    width = distances[distances > 0].median() if bool((distances > 0).any()) else torch.tensor(1.0)
    kernel = torch.exp(-((distances / width) ** 2) / 2)
    draw = torch.Generator().manual_seed(seed)
    classes = torch.zeros(n + m, dtype=torch.long) if strata is None else strata
    kernel *= classes[:, None] == classes  # a class is compared with itself: labels that are swapped cancel elsewise
    units = None if owners is None else _units(n, classes.tolist(), owners)
    units = units or _units(n, classes.tolist(), range(n + m))
    assert units is not None  # a row is of one class
    whose, kinds = units
    # Which units are on the left. Column 0 is the division as it is; the others exchange units of a kind.
    chosen = torch.zeros(len(whose.unique()), EXCHANGES + 1, dtype=torch.bool)
    for own, all_ in kinds:
        chosen[all_[:own], 0] = True
        drawn = torch.rand(len(all_), EXCHANGES, generator=draw, dtype=torch.float64).argsort(dim=0)[:own]
        chosen[all_[drawn], torch.arange(1, EXCHANGES + 1)] = True
    is_left = chosen[whose]
    # mean(left) - mean(right) as weights, within each class.
    weights, count = torch.zeros(n + m, EXCHANGES + 1, dtype=torch.float64), is_left.sum(dim=0)
    for label in classes.unique():
        places = classes == label
        mine = is_left[places]
        many = mine.sum(dim=0)
        weights[places] = torch.where(mine, 1.0, -many / (len(mine) - many).clamp(min=1)).double() / count
    squared = (weights * (kernel @ weights)).sum(dim=0)
    return float((squared[1:] >= squared[0] - 1e-12).sum() + 1) / (EXCHANGES + 1)


def _units(n: int, classes: Sequence[int], owners: Sequence[object]) -> tuple[Tensor, list[tuple[int, Tensor]]] | None:
    """Return the unit of each row, [n + m], and by class how many units are left, and all of them, left first.

    A unit is what one owner has on one side; None where one has rows of several classes.
    """
    numbers: dict[tuple[bool, object], int] = {}
    whose = [numbers.setdefault((place < n, owner), len(numbers)) for place, owner in enumerate(owners)]
    label_of = dict(zip(whose, classes, strict=True))
    if any(label_of[unit] != label for unit, label in zip(whose, classes, strict=True)):
        return None
    kinds: dict[int, list[int]] = {}
    for unit, label in sorted(label_of.items()):
        kinds.setdefault(label, []).append(unit)
    left = [is_left for is_left, _ in numbers]
    found = [(sum(left[unit] for unit in units), torch.tensor(units)) for _, units in sorted(kinds.items())]
    return torch.tensor(whose), [(own, units) for own, units in found if own]


def owners(*sides: Records) -> list[object]:
    """Return whose each record of all sides is: its subject, or itself where it has none."""
    subjects = [subject for side in sides for subject in side.subjects]
    return [place if subject is None else subject for place, subject in enumerate(subjects)]


def sample(records: Records) -> View:
    """Return at most MOST records, drawn by a hash of their ids."""
    return records.select(sorted(records.ids, key=lambda name: keyed(b"expunge shift", name))[:MOST])


def inputs_of(problem: Problem, records: Records) -> Tensor:
    """Return the inputs of records as float64 rows, [n, D]."""
    return torch.cat([problem.meaning.inputs(batch) for batch in in_order(records)])
