"""The interval of a quantity whose value is known where nothing is wrong, and what follows from it.

Where the expected value c needs no estimate (a coin fixed it, or it is another model's value on the same records), the
difference v - c is judged by the normal law: half-width z(1 - alpha) * error, two one-sided tests at alpha each
(Schuirmann 1987), with the error of the coin or of the records. ``numerics/equivalence`` is for references.
"""

from __future__ import annotations

import math

from scipy import special

from expunge.core.check import Interval


def difference(value: float, expected: float, *, error: float, alpha: float) -> Interval:
    """Return the interval of ``value - expected`` at confidence ``1 - 2 alpha``."""
    half, centre = _z(1.0 - alpha) * error, value - expected
    return Interval(centre - half, centre + half, 1.0 - 2.0 * alpha)


def pass_chance(error: float, *, alpha: float, margin: float, one_sided: bool = False) -> float:
    """Return the probability that a model with exactly the expected value passes.

    P(|Z| error + half-width <= margin) with Z standard normal; one-sided, Z from the side that is bounded alone.
    """
    room = margin - _z(1.0 - alpha) * error
    if error == 0.0:
        return float(room >= 0.0)
    inside = float(special.ndtr(room / error))
    return inside if one_sided else max(0.0, 2.0 * inside - 1.0)


def smallest_shown(error: float, *, alpha: float, margin: float, power: float = 0.8) -> float:
    """Return the smallest true difference that is called a failure with probability ``power``."""
    return margin + error * (_z(1.0 - alpha) + _z(power))


def auc_error(members: int, strangers: int) -> float:
    """Return the standard deviation of the AUC of n1 against n0 scores of one continuous law.

    sqrt((n1 + n0 + 1) / (12 n1 n0)): Mann and Whitney 1947. It holds for any fixed scores when a coin deals them out,
    given how many fell on either side.

    Raises:
        ValueError: none on a side.
    """
    if min(members, strangers) < 1:
        raise ValueError(f"needs 1 record or more on either side, found {members} and {strangers}")
    return math.sqrt((members + strangers + 1) / (12.0 * members * strangers))


def _z(probability: float) -> float:
    return float(special.ndtri(probability))
