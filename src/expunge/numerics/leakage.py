"""Lower bounds on epsilon from a membership attack, each beside the largest that the sample could have shown.

Source: many models or canaries: Jagielski et al. 2020, arXiv 2006.07709; Nasr et al. 2021, arXiv 2101.04535, with
Clopper and Pearson 1934. One training run: Steinke et al. 2023, arXiv 2305.08846, theorem 5.2. Thresholds and numbers
of guesses are fixed beforehand, or on other data: the largest of several bounds exceeds the true epsilon too often
(2.7 to 7.7 % at a stated 5 %), and more so the more data there are.
A lower bound never certifies an upper one: 0 means that nothing was shown.
Shapes: n1 members, n0 non-members, m canaries.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special

from expunge.numerics._arrays import Array, mask, numbers

ALPHA = 0.05


@dataclass(frozen=True)
class Bound:
    """``epsilon`` is at least this at confidence 1 - alpha; ``largest``: had every guess been right."""

    epsilon: float
    largest: float


def rate_bound(
    caught: int, *, members: int, false_alarms: int, strangers: int, delta: float = 0.0, alpha: float = ALPHA
) -> Bound:
    """Return the bound from an attack that calls ``caught`` of n1 and ``false_alarms`` of n0 members.

    Exact intervals of both error rates at alpha/2 each; both directions come at no further cost. The threshold must
    not have been chosen on these records.

    Raises:
        ValueError: counts out of range, no records on a side, delta outside [0, 1) or alpha outside (0, 1).
    """
    _in_range(delta, alpha)
    if members < 1 or strangers < 1:
        raise ValueError(f"needs 1 record or more on either side, found {members} and {strangers}")
    if not (0 <= caught <= members and 0 <= false_alarms <= strangers):
        raise ValueError(f"found {caught} of {members} caught and {false_alarms} of {strangers} false alarms")
    return Bound(
        float(_bound(np.array(members - caught), members, np.array(false_alarms), strangers, delta, alpha)),
        float(_bound(np.array(0), members, np.array(0), strangers, delta, alpha)),
    )


def split_bound(
    members: ArrayLike, *, strangers: ArrayLike, delta: float = 0.0, alpha: float = ALPHA, seed: int = 0
) -> Bound:
    """Return the bound from scores [n1] and [n0]: the best threshold on a random half, applied to the other half.

    Larger scores mean members. ``largest`` is that of the half that is counted.

    Raises:
        ValueError: wrong shapes, NaN, or fewer than 2 records on a side.
    """
    scores = numbers(members, "members", ndim=1), numbers(strangers, "strangers", ndim=1)
    if min(len(side) for side in scores) < 2:
        raise ValueError(f"needs 2 records or more on either side, found {len(scores[0])} and {len(scores[1])}")
    draw = np.random.default_rng(seed)
    (first_in, second_in), (first_out, second_out) = (np.array_split(draw.permutation(side), 2) for side in scores)
    cuts = np.unique(np.concatenate([first_in, first_out]))
    misses = np.searchsorted(np.sort(first_in), cuts)
    alarms = len(first_out) - np.searchsorted(np.sort(first_out), cuts)
    cut = cuts[np.argmax(_bound(misses, len(first_in), alarms, len(first_out), delta, alpha))]
    return rate_bound(
        int((second_in >= cut).sum()),
        members=len(second_in),
        false_alarms=int((second_out >= cut).sum()),
        strangers=len(second_out),
        delta=delta,
        alpha=alpha,
    )


def one_run_bound(correct: int, *, guesses: int, canaries: int, delta: float = 0.0, alpha: float = ALPHA) -> Bound:
    """Return the bound from ``correct`` of ``guesses`` about m canaries, each in training by a fair coin of its own.

    The other canaries are abstained from; the number of guesses is fixed beforehand. It bounds the whole mechanism:
    train with the canaries of the coin, then delete those that are in.

    Raises:
        ValueError: counts out of range, delta outside [0, 1) or alpha outside (0, 1).
    """
    _in_range(delta, alpha)
    if not 0 <= correct <= guesses <= canaries or guesses < 1:
        raise ValueError(
            f"found {correct} right of {guesses} guesses on {canaries} canaries: it takes right <= guesses <= canaries"
            ", and 1 guess or more"
        )
    return Bound(*(_one_run(right, guesses, canaries, delta, alpha) for right in (correct, guesses)))


def right_guesses(scores: ArrayLike, *, included: ArrayLike, inside: int, outside: int = 0) -> int:
    """Return how many guesses are right: "in" for the ``inside`` largest scores, "out" for the ``outside`` smallest.

    ``scores`` [m], ``included`` [m] booleans. Equal scores at an edge count against the attack, whatever their order.

    Raises:
        ValueError: wrong shapes, NaN, or more guesses than canaries.
    """
    values = numbers(scores, "scores", ndim=1)
    coin = mask(included, "included", shape=values.shape)
    if min(inside, outside) < 0 or inside + outside > len(values):
        raise ValueError(f"{inside} and {outside} guesses on {len(values)} canaries")
    top = np.lexsort((coin, -values))[:inside]
    bottom = np.lexsort((~coin, values))[:outside]
    return int(coin[top].sum() + (~coin[bottom]).sum())


def _bound(misses: Array, members: int, alarms: Array, strangers: int, delta: float, alpha: float) -> Array:
    miss, alarm = _upper(misses, members, alpha / 2), _upper(alarms, strangers, alpha / 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        forth, back = np.log(1 - delta - miss) - np.log(alarm), np.log(1 - delta - alarm) - np.log(miss)
    return np.fmax(np.fmax(forth, back), 0.0)


def _upper(count: Array, of: int, level: float) -> Array:
    """Return the one-sided upper limit of a rate, 1 where all of ``of`` were counted."""
    inner = np.minimum(count, of - 1)
    return np.where(count == of, 1.0, special.betaincinv(inner + 1.0, of - inner, 1.0 - level))


def _one_run(correct: int, guesses: int, canaries: int, delta: float, alpha: float) -> float:
    if correct == 0:
        return 0.0
    # Without delta, P[Bin(g, q) >= v] = alpha has the closed form of Clopper and Pearson; delta only lowers it.
    plain = float(special.logit(special.betaincinv(correct, guesses - correct + 1, alpha)))
    if plain <= 0.0 or _one_run_p(0.0, correct, guesses, canaries, delta) > alpha:
        return 0.0
    if delta == 0.0:
        return plain
    return float(optimize.brentq(lambda e: _one_run_p(e, correct, guesses, canaries, delta) - alpha, 0.0, plain))


def _one_run_p(epsilon: float, correct: int, guesses: int, canaries: int, delta: float) -> float:
    q = special.expit(epsilon)
    at_least = np.ones(correct + 1)  # P[Bin(g, q) >= k]
    k = np.arange(1, correct + 1)
    at_least[1:] = special.betainc(k, guesses - k + 1, q)
    shift = (at_least[-2::-1] - at_least[-1]) / k
    return float(at_least[-1] + 2 * canaries * delta * shift.max())


def _in_range(delta: float, alpha: float) -> None:
    if not (0 <= delta < 1 and 0 < alpha < 1):
        raise ValueError(f"delta is in [0, 1) and alpha in (0, 1), found {delta} and {alpha}")
