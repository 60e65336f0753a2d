"""The forgetting quality of the NeurIPS 2023 unlearning competition, beside what a perfect unlearner scores.

Source: Triantafillou et al. 2024, arXiv 2406.09073; thresholds and special cases as in its code
(google-deepmind/unlearning_evaluation, metric.py, ffae0ff). Per record, epsilon is a maximum over thresholds that no
correction pays for: a perfect unlearner scores about .2 or .4, not 1, whatever the number of models. Never
bootstrapped, which would raise the maximum further: the floor comes from exchanging models.
Shapes: M models on either side, N records. Signals are logit-scaled confidences.
Not covered: the utility factor of the competition's final score.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from expunge.numerics._arrays import Array, pair
from expunge.numerics._exchange import exchanged

MIN_MODELS = 16
"""On either side; below, the score has at most 5 values and no floor was measured."""
DELTA, CAP, BUCKET = 1e-5, 50.0, 0.5
_PER_UNIT = 100
_SLACK = 2.0
_EDGES = math.ceil(2 * _SLACK * _PER_UNIT)
_STEP = 2 * _SLACK / (_EDGES - 1)
_PEAKY = 0.01
_ROWS = 64
"""Records sorted at a time: 64 of 1,024 values stay in the cache."""


class Rule(StrEnum):
    """Where thresholds are tried. The values of one rule mean nothing beside those of another."""

    EXACT_CUT = "one cut, every value, both directions"
    GRID_CUT = "one cut, grid of the competition"
    COMPETITION = "one cut and windows, grids of the competition"


@dataclass(frozen=True)
class Forgetting:
    """Epsilon and quality with M models a side, beside their values when models are exchanged between the sides.

    ``epsilon`` and ``null_epsilon`` (the mean over exchanges) are [N], in [0, 50]; ``quality`` and ``null_quality``
    (mean) in [0, 1], higher is better; ``null_deviation`` is the standard deviation over exchanges; ``p_value`` is
    the share of exchanges, this one among them, with so low a quality.
    """

    rule: Rule
    models: int
    epsilon: Array
    null_epsilon: Array
    quality: float
    null_quality: float
    null_deviation: float
    p_value: float

    @property
    def lost(self) -> float:
        """The share of the attainable quality that is missing: 0 in the mean under the null, 1 where all is told."""
        return 1.0 - self.quality / self.null_quality if self.null_quality else math.nan

    @property
    def excess(self) -> Array:
        """Epsilon beyond that of a perfect unlearner, [N]; mean 0 under the null, negative by chance."""
        return self.epsilon - self.null_epsilon


def forgetting(
    unlearned: ArrayLike,
    *,
    retrained: ArrayLike,
    rule: Rule = Rule.EXACT_CUT,
    exchanges: int = 20,
    seed: int = 0,
) -> Forgetting:
    """Return forgetting quality with its floor: whole models are exchanged between the sides, so records stay tied.

    ``unlearned`` and ``retrained`` are [M, N], M of 16 or more. Cost: ``exchanges + 1`` times :func:`epsilons`. The
    floor of the exact cut is the same for all continuous laws; those of the grids grow with the spread, and are taken
    at the spread of both sides together.

    Raises:
        ValueError: wrong shapes, NaN, fewer than 16 models or fewer than 1 exchange.
    """
    one, other = pair(unlearned, retrained, ("unlearned", "retrained"), least=MIN_MODELS)
    models = len(one)
    epsilon = epsilons(one, retrained=other, rule=rule)
    quality = forgetting_quality(epsilon, models=models)
    total, found = np.zeros_like(epsilon), []
    for first, second in exchanged(one, other, times=exchanges, seed=seed):
        null = epsilons(first, retrained=second, rule=rule)
        total += null
        found.append(forgetting_quality(null, models=models))
    return Forgetting(
        rule=rule,
        models=models,
        epsilon=epsilon,
        null_epsilon=total / exchanges,
        quality=quality,
        null_quality=float(np.mean(found)),
        null_deviation=float(np.std(found, ddof=1)) if exchanges > 1 else math.nan,
        p_value=(1 + sum(value <= quality for value in found)) / (1 + exchanges),
    )


def epsilons(unlearned: ArrayLike, *, retrained: ArrayLike, rule: Rule) -> Array:
    """Return the epsilon of each record, [N] in [0, 50], from confidences [M, N] of either side, M of 16 or more.

    50 where one side spreads less than 1 % of the other, or each is a single point and the points differ; 0 where they
    do not. A threshold at which exactly one error rate is 0 is discarded, for want of models. The grids have 100
    thresholds per unit of confidence, so a range of 1e4 costs a million.

    Raises:
        ValueError: wrong shapes, NaN, fewer than 16 models.
    """
    one, other = (
        np.ascontiguousarray(a.T) for a in pair(unlearned, retrained, ("unlearned", "retrained"), least=MIN_MODELS)
    )
    search: dict[Rule, Callable[[Array, Array], Array]] = {
        Rule.EXACT_CUT: _exact_cut,
        Rule.GRID_CUT: _grid_cut,
        Rule.COMPETITION: lambda u, r: np.maximum(_grid_cut(u, r), _windows(u, r)),
    }
    spread_one, spread_other = np.ptp(one, axis=1), np.ptp(other, axis=1)
    narrow, wide = np.minimum(spread_one, spread_other), np.maximum(spread_one, spread_other)
    plain = (wide > 0) & (narrow >= _PEAKY * wide)
    result = np.where((wide > 0) | (one[:, 0] != other[:, 0]), CAP, 0.0)
    if plain.any():
        result[plain] = search[rule](one[plain], other[plain])
    return result


def forgetting_quality(epsilon: Array, *, models: int) -> float:
    """Return the mean over records of 2^-(buckets of .5 below epsilon), 0 from ``ceil(ln(models - 1))`` on.

    Raises:
        ValueError: no epsilon, or fewer than 16 models.
    """
    if models < MIN_MODELS or not np.size(epsilon):
        raise ValueError(f"needs {MIN_MODELS} models and 1 record or more, found {models} and {np.size(epsilon)}")
    worth = 0.5 ** np.floor(epsilon / BUCKET)
    return float(np.where(epsilon < math.ceil(math.log(models - 1)), worth, 0.0).mean())


@lru_cache(maxsize=4)
def _table(models: int) -> tuple[Array, Array]:
    """Return epsilon by ``hits * (models + 1) + false alarms``: of one direction, and the larger of both."""
    rate = np.arange(models + 1) / models
    miss, alarm = 1.0 - rate[:, None], rate[None, :]
    miss[-1] = 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        first = np.log(1.0 - DELTA - alarm) - np.log(miss)
        second = np.log(1.0 - DELTA - miss) - np.log(alarm)
    value = np.clip(np.fmax(np.fmax(first, second), 0.0), 0.0, CAP)
    value = np.where((miss == 0) | (alarm == 0), 0.0, value)
    value[models, 0] = CAP
    return value.ravel(), np.maximum(value, value[::-1, ::-1]).ravel()


def _exact_cut(one: Array, other: Array) -> Array:
    models = one.shape[1]
    table = _table(models)[1]
    step = np.where(np.arange(2 * models) < models, models + 1, 1).astype(np.int32)
    found = np.empty(len(one))
    for start in range(0, len(one), _ROWS):
        rows = slice(start, start + _ROWS)
        values = np.concatenate([one[rows], other[rows]], axis=1)
        order = np.argsort(values, axis=1)
        code = np.cumsum(step[order], axis=1, dtype=np.int32)[:, :-1]
        values = np.take_along_axis(values, order, axis=1)
        # No cut falls between equal values.
        found[rows] = np.where(values[:, 1:] > values[:, :-1], table[code], 0.0).max(axis=1)
    return found


def _grid_cut(one: Array, other: Array) -> Array:
    models = one.shape[1]
    table = _table(models)[0]
    larger = np.median(other, axis=1) > np.median(one, axis=1)
    high, low = (np.sort(np.where(larger[:, None], a, b), axis=1) for a, b in ((other, one), (one, other)))
    start, end = np.minimum(high[:, 0], low[:, 0]), np.maximum(high[:, -1], low[:, -1])
    found = np.empty(len(one))
    for i in range(len(one)):
        cuts = np.linspace(start[i], end[i], math.ceil((end[i] - start[i]) * _PER_UNIT))
        hits, alarms = models - np.searchsorted(high[i], cuts), models - np.searchsorted(low[i], cuts)
        found[i] = table[hits * (models + 1) + alarms].max()
    return found


def _windows(one: Array, other: Array) -> Array:
    """Return the best window: "positive" is the side of smaller range, predicted between two edges.

    Left and right edges lie on one lattice of equal steps, so whether two make a window is told by how many steps they
    are apart. Edges between the same values count the same models: of 160,000 windows a record has as many to look at
    as there are pairs of such runs.
    """
    models = one.shape[1]
    table = _table(models)[0]
    swap = np.ptp(one, axis=1) >= np.ptp(other, axis=1)
    inner, outer = (np.sort(np.where(swap[:, None], a, b), axis=1) for a, b in ((other, one), (one, other)))
    right = (np.arange(_EDGES) - (_EDGES - 1) / 2) * _STEP
    left = (np.arange(2 * _EDGES - 1) - (_EDGES - 1)) * _STEP
    found = np.empty(len(one))
    for i, (narrow, wide) in enumerate(zip(inner, outer, strict=True)):
        upto, ends = _runs(_code(narrow, wide, narrow[-1] + right, "right"))
        before, starts = _runs(_code(narrow, wide, narrow[0] + left, "left"))
        # A left edge may be up to `most` steps after the right one of its number: then they meet.
        most = min(_EDGES - 1, math.floor((narrow[-1] - narrow[0]) / _STEP + (_EDGES - 1) / 2))
        nearest, farthest = starts[:-1] - (ends[1:, None] - 1), starts[1:] - 1 - ends[:-1, None]
        inside = (nearest <= most) & (farthest >= 0)
        found[i] = np.where(inside, table.take(np.where(inside, upto[:, None] - before, 0)), 0.0).max()
    return found


def _runs(codes: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.intp]]:
    """Return the codes of runs of equal ones, [R], and where each begins, with the end of the last, [R + 1]."""
    starts = np.flatnonzero(np.diff(codes, prepend=codes[0] - 1))
    return codes[starts], np.append(starts, len(codes))


def _code(narrow: Array, wide: Array, edges: Array, side: str) -> NDArray[np.int32]:
    models = len(narrow)
    hits, alarms = (np.searchsorted(a, edges, side=side) for a in (narrow, wide))  # type: ignore[call-overload]
    result: NDArray[np.int32] = (hits * (models + 1) + alarms).astype(np.int32)
    return result
