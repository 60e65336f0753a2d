"""Does a language model prefer the right answer to wrong ones: truth ratio, forget quality and model utility of TOFU.

Source: Maini et al. 2024, arXiv 2401.06121. Three truth ratios are in use under one name; they are named apart here:
the geometric one stands in the published leaderboard and in OpenUnlearning (arXiv 2506.12618), the arithmetic one in
the paper and in the authors' current code, the normalised one in the meta-evaluation of OpenUnlearning.
Shapes: n records with k wrong answers each. Losses are mean negative log-likelihoods per answer token, in nats: of the
right answer ``right`` [n], of the wrong ones ``wrong`` [n, k]. On records that a model was trained on the right answer
is a *paraphrase*: the answer itself was learned by heart, and its ratio tells of that (forget quality on TOFU's logs
goes from p = 1.8e-21 to 6.4e-117).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats

from expunge.numerics._arrays import Array, numbers

_LARGEST = 600.0
"""Nats between answers, beyond which a ratio stays as it is: both it and one over it are finite."""
SETS = ("retain", "real_authors", "world_facts")
PARTS = tuple(f"{name}.{part}" for name in SETS for part in ("probability", "rouge", "truth_ratio"))
"""The nine parts of model utility, as published."""
RESAMPLES, CONFIDENCE = 1000, 0.95


def geometric(right: ArrayLike, wrong: ArrayLike) -> Array:
    """Return the geometric mean of the wrong answers' probabilities over that of the right one, [n], positive.

    Probabilities are normalised by length: exp of minus the loss. Below 1 where the right answer is preferred.

    Raises:
        ValueError: wrong shapes, or a loss that is not finite.
    """
    return _exp(_nearer(right, wrong).mean(axis=1))


def arithmetic(right: ArrayLike, wrong: ArrayLike) -> Array:
    """Return the mean of the wrong answers' probabilities over that of the right one, [n]; at least the geometric.

    Raises:
        ValueError: wrong shapes, or a loss that is not finite.
    """
    return _exp(_nearer(right, wrong)).mean(axis=1)


def normalised(right: ArrayLike, wrong: ArrayLike) -> Array:
    """Return p / (p + q), [n] in [0, 1], q the geometric mean of the wrong answers: 1 / (1 + geometric ratio).

    Raises:
        ValueError: wrong shapes, or a loss that is not finite.
    """
    result: Array = special.expit(-_nearer(right, wrong).mean(axis=1))
    return result


def indifference(ratio: ArrayLike) -> Array:
    """Return min(R, 1/R), [n] in [0, 1], of geometric or arithmetic ratios [n]: 1 where no answer is preferred.

    Its mean is what TOFU reports of the forget set, closer to 1 for better.

    Raises:
        ValueError: a ratio that is not positive.
    """
    found = _ratios(ratio)
    return np.minimum(found, 1.0 / found)


def preference(ratio: ArrayLike) -> Array:
    """Return max(0, 1 - R), [n] in [0, 1], of geometric or arithmetic ratios [n]: 0 where a wrong answer is preferred.

    Its mean is the part "truth ratio" of model utility.

    Raises:
        ValueError: a ratio that is not positive.
    """
    return np.maximum(0.0, 1.0 - _ratios(ratio))


@dataclass(frozen=True)
class Quality:
    """The largest ``distance`` between two distribution functions, in [0, 1], its interval, and the p-value.

    ``p`` is TOFU's forget quality. It grows as records grow fewer and ends at the value of complete separation
    (1.9e-23 of 40 records a side, 1.1e-239 of 400): read the distance. The interval is of percentiles over resampled
    records; a largest distance is never negative, so that of two like models lies above 0 all the same.
    """

    distance: float
    low: float
    high: float
    p: float


def forget_quality(
    ratio: ArrayLike, reference: ArrayLike, *, seed: int, resamples: int = RESAMPLES, confidence: float = CONFIDENCE
) -> Quality:
    """Compare the truth ratios [n] of a model on the forget set with those [m] of one that was retrained without it.

    Two-sample test of Kolmogorov and Smirnov, exact. Any monotone map of both, 1/R among them, changes nothing.
    Both sides are resampled by themselves.

    Raises:
        ValueError: wrong shapes, or values that are not finite.
    """
    one, other = numbers(ratio, "ratio", ndim=1), numbers(reference, "reference", ndim=1)
    found = stats.ks_2samp(one, other, method="exact")
    order = np.argsort(np.concatenate([one, other]), kind="stable")
    values = np.concatenate([one, other])[order]
    last = np.flatnonzero(np.append(np.diff(values) > 0, True))  # equal values are passed together
    draw = np.random.default_rng(seed)
    distances = np.empty(resamples)
    for i in range(resamples):
        mine, theirs = (np.bincount(draw.integers(len(s), size=len(s)), minlength=len(s)) for s in (one, other))
        steps = np.concatenate([mine * len(other), -theirs * len(one)])[order]  # whole numbers: no order rounds them
        distances[i] = np.abs(np.cumsum(steps)[last]).max() / (len(one) * len(other))
    low, high = np.quantile(distances, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Quality(float(found.statistic), float(low), float(high), float(found.pvalue))


@dataclass(frozen=True)
class Heard:
    """What a model said about one set of questions: three losses and the ROUGE-L recall of what it generates.

    Attributes:
        answer: loss of the answer, [n].
        right: loss of the right answer of the truth ratio, [n]: a paraphrase where the model was trained on the set.
        wrong: losses of the wrong answers, [n, k].
        rouge: recall of the greedy generation, [n] in [0, 1].
    """

    answer: ArrayLike
    right: ArrayLike
    wrong: ArrayLike
    rouge: ArrayLike


@dataclass(frozen=True)
class Utility:
    """The nine named :data:`PARTS` in [0, 1], and their harmonic mean."""

    parts: Mapping[str, float]
    value: float


def model_utility(
    retain: Heard,
    *,
    real_authors: Heard,
    world_facts: Heard,
    ratio: Callable[[ArrayLike, ArrayLike], Array] = geometric,
) -> Utility:
    """Return probability, ROUGE-L recall and truth ratio of three sets, each a mean over records, and the utility.

    Probability of the set ``retain`` is that of the answer; of the others, its share among the answers on offer
    (:func:`share`). ``ratio`` is :func:`geometric`, as published, or :func:`arithmetic`.

    Raises:
        ValueError: wrong shapes, or a value that is not finite.
    """
    parts: dict[str, float] = {}
    for name, heard in zip(SETS, (retain, real_authors, world_facts), strict=True):
        own = probability(heard.answer) if name == "retain" else share(heard.answer, heard.wrong)
        parts[f"{name}.probability"] = float(own.mean())
        parts[f"{name}.rouge"] = float(numbers(heard.rouge, "rouge", ndim=1).mean())
        parts[f"{name}.truth_ratio"] = float(preference(ratio(heard.right, heard.wrong)).mean())
    return Utility(MappingProxyType(parts), harmonic_mean(list(parts.values())))


def probability(loss: ArrayLike) -> Array:
    """Return exp of minus the losses [n]: the geometric mean of an answer's token probabilities, [n] in [0, 1]."""
    return _exp(-numbers(loss, "loss", ndim=1))


def share(right: ArrayLike, wrong: ArrayLike) -> Array:
    """Return the right answer's share of the probabilities of all answers, [n] in [0, 1].

    Raises:
        ValueError: wrong shapes, or a loss that is not finite.
    """
    result: Array = 1.0 / (1.0 + _exp(_nearer(right, wrong)).sum(axis=1))
    return result


def harmonic_mean(values: ArrayLike) -> float:
    """Return the harmonic mean of ``values`` [n], each 0 or more; 0 where one of them is 0.

    Raises:
        ValueError: no values, or one that is negative or not finite.
    """
    found = numbers(values, "values", ndim=1)
    if found.min() < 0:
        raise ValueError(f"a harmonic mean is of values of 0 or more, found {found.min():.3g}")
    return float(len(found) / (1.0 / found).sum()) if found.min() > 0 else 0.0


def _nearer(right: ArrayLike, wrong: ArrayLike) -> Array:
    """Return by how many nats each wrong answer is more likely than the right one, [n, k]."""
    own, others = numbers(right, "right", ndim=1), numbers(wrong, "wrong", ndim=2)
    if len(own) != len(others):
        raise ValueError(f"right tells of {len(own)} records, wrong of {len(others)}")
    return own[:, None] - others


def _exp(exponent: Array) -> Array:
    return np.exp(np.clip(exponent, -_LARGEST, _LARGEST))


def _ratios(ratio: ArrayLike) -> Array:
    found = numbers(ratio, "ratio", ndim=1)
    if found.min() <= 0:
        raise ValueError(f"a truth ratio is positive, found {found.min():.3g}")
    return found
