"""Scores that papers report, for comparison with the literature; none of them decides a verdict.

Each compares one unlearned model with one retrained one. Two retrained models differ too: the floor is not 0 or 1.
Source: average gap: Fan et al. 2024 (SalUn), arXiv 2310.12508; ToW: Zhao et al. 2024, arXiv 2406.01257,
with ToW-MIA; AIN: Chundawat et al. 2023, arXiv 2201.05629; ZRF: Chundawat et al. 2023,
arXiv 2205.08096. Accuracies and attack rates in [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from expunge.numerics._arrays import Array, numbers
from expunge.numerics.divergences import jensen_shannon

MIN_SEEDS = 5
"""Relearning seeds below which a ratio has no useful interval (t(.95, 3) is 2.4)."""


def average_gap(unlearned: Mapping[str, float], *, retrained: Mapping[str, float]) -> float:
    """Return the mean of abs(difference) over metrics of the same names, in percentage points, 0 or more.

    Usual metrics: forget, retain and test accuracy and the rate of a membership attack.

    Raises:
        ValueError: no metric, other names, or a value outside [0, 1].
    """
    return 100.0 * float(np.mean([abs(gap) for gap in _gaps(unlearned, retrained).values()]))


def average_gap_floor(deviations: ArrayLike) -> float:
    """Return the average gap between two retrained models, in percentage points.

    ``deviations``: seed standard deviation of each metric, in [0, 1]; E|X - Y| = 2/sqrt(pi) sigma, for normal X, Y.
    """
    return 100.0 * 2.0 / math.sqrt(math.pi) * float(numbers(deviations, "deviations", ndim=1).mean())


def tug_of_war(unlearned: Mapping[str, float], *, retrained: Mapping[str, float]) -> float:
    """Return the product over metrics of 1 - abs(difference), in [0, 1].

    ToW takes the accuracies on forget, retain and test; ToW-MIA the rate of a membership attack in the place of the
    forget accuracy. Not 1 for a retrained model: about 1 - 1.128 times the sum of the seed deviations.
    """
    return math.prod(1.0 - abs(gap) for gap in _gaps(unlearned, retrained).values())


class Relation(StrEnum):
    """What a ratio of censored times can still say."""

    EQUAL = "="
    AT_MOST = "<="
    AT_LEAST = ">="


@dataclass(frozen=True)
class RelearningIndex:
    """The ratio, how it is to be read, and its interval; NaN limits where times are censored."""

    value: float
    relation: Relation
    low: float
    high: float


def relearning_index(unlearned: ArrayLike, *, retrained: ArrayLike, cap: int, alpha: float = 0.05) -> RelearningIndex:
    """Return AIN, the time to relearn the forget set over that of a retrained model: 1 ideal, below 1 residual.

    Geometric mean over seeds S, paired by relearning seed, with a t interval of level 1 - 2 alpha on the logarithm.

    Args:
        unlearned: minibatches to within some percent of the original forget accuracy, [S], S of 5 or more; the first
            minibatch counts as 1, and what was not relearned after ``cap`` is ``cap``.
        retrained: the same for the retrained model.
        cap: where relearning was stopped.
        alpha: one-sided error.

    Raises:
        ValueError: wrong shapes, fewer than 5 seeds, times outside [1, cap], or both sides censored: then nothing
            can be said.
    """
    one, other = numbers(unlearned, "unlearned", ndim=1), numbers(retrained, "retrained", ndim=1)
    if one.shape != other.shape or len(one) < MIN_SEEDS:
        raise ValueError(
            f"needs {MIN_SEEDS} relearning seeds or more, the same for both, found {len(one)}, {len(other)}"
        )
    if min(one.min(), other.min()) < 1 or max(one.max(), other.max()) > cap:
        raise ValueError(f"times are from 1, the first minibatch, to the cap {cap}")
    late, late_other = bool((one == cap).any()), bool((other == cap).any())
    if late and late_other:
        raise ValueError(f"both models were stopped at the cap {cap}: their ratio is unknown. Raise the cap")
    logs = np.log(one / other)
    value = float(np.exp(logs.mean()))
    if late or late_other:
        return RelearningIndex(value, Relation.AT_LEAST if late else Relation.AT_MOST, math.nan, math.nan)
    half = float(special.stdtrit(len(logs) - 1, 1 - alpha)) * float(logs.std(ddof=1)) / math.sqrt(len(logs))
    return RelearningIndex(value, Relation.EQUAL, value * math.exp(-half), value * math.exp(half))


def zero_retrain_forgetting(log_probs: Array, *, untrained: Array) -> float:
    """Return ZRF, 1 minus the mean Jensen-Shannon divergence (bits) to an untrained model, in [0, 1].

    Log-probabilities [n, C] of the forget set; average over several untrained models. Its target is the retrained
    model's value, not 1, which is output noise.

    Raises:
        ValueError: shapes that differ, or rows that are no log-probabilities.
    """
    one, other = np.asarray(log_probs, dtype=np.float64), np.asarray(untrained, dtype=np.float64)
    if one.shape != other.shape or one.ndim != 2 or not one.size:
        raise ValueError(f"found shapes {list(one.shape)} and {list(other.shape)}; it takes [n, C] twice")
    for rows in (one, other):
        if not np.allclose(np.exp(rows).sum(axis=1), 1.0, atol=1e-6):
            raise ValueError("rows are log-probabilities that sum to 1, found others")
    return 1.0 - float(jensen_shannon(one, other).mean())


def _gaps(unlearned: Mapping[str, float], retrained: Mapping[str, float]) -> dict[str, float]:
    if not unlearned or unlearned.keys() != retrained.keys():
        raise ValueError(f"metrics differ: {sorted(unlearned)} and {sorted(retrained)}; it takes the same, 1 or more")
    for name, value in (*unlearned.items(), *retrained.items()):
        if not 0 <= value <= 1:
            raise ValueError(f"{name} is {value}; it takes shares in [0, 1]")
    return {name: unlearned[name] - retrained[name] for name in unlearned}
