"""The curves that a report draws, as shares of records at places that no single record sets.

Every function counts records at given places: bins, thresholds or rates that follow from the size of the
sample or come from a fixed list. A curve therefore holds no record's value, only how many lie below a place.
Shapes: n records, n1 members, n0 non-members, B bins, P places.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from expunge.numerics.membership import resolvable, tpr_at

Array = NDArray[np.float64]
BINS = 25
"""Bins of a histogram: enough to show two humps, few enough that a bin of some hundred records is no record."""
RATES = 16
"""Points of an attack's curve, from the lowest rate that the sample resolves to 1."""
_TOPS = (1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0)
_BEYOND = 0.01


def loss_edges(samples: Iterable[Array]) -> Array:
    """Return edges [BINS + 1] from 0 to the lowest of a few round tops that leaves at most 1 % of all beyond it.

    Common to all ``samples`` ([n] each, losses of 0 or more): only histograms on the same bins can be compared.
    """
    pooled = np.concatenate([np.asarray(sample) for sample in samples])
    top = next((top for top in _TOPS if float((pooled > top).mean()) <= _BEYOND), _TOPS[-1])
    return np.linspace(0.0, top, BINS + 1)


def histogram(values: Array, edges: Array) -> Array:
    """Return the share of ``values`` [n] in each bin, [B]; what lies beyond the edges counts in the outermost bins."""
    inside = np.clip(values, edges[0], edges[-1])
    result: Array = np.histogram(inside, bins=edges)[0] / len(values)
    return result


def cumulative(values: Array, places: Array) -> Array:
    """Return the share of ``values`` [n] at or below each place, [P]: the empirical distribution function there."""
    result: Array = np.searchsorted(np.sort(values), places, side="right") / len(values)
    return result


def attack_rates(strangers: int) -> Array:
    """Return false positive rates ``k / n0``, log-spaced, up to 1, all of which ``n0`` non-members resolve.

    At most :data:`RATES`; empty where not even half of the non-members is a rate that can be set.
    """
    if resolvable(0.5, strangers) != "yes":
        return np.empty(0)
    lowest = next(k for k in range(1, strangers + 1) if resolvable(k / strangers, strangers) == "yes")
    steps = np.geomspace(lowest, strangers, RATES)
    return np.unique(np.round(steps)) / strangers


def attack_curve(members: Array, strangers: Array, rates: Array) -> Array:
    """Return the share of ``members`` [n1] caught at each false positive rate, [P].

    Source: the ROC of a threshold attack, on log axes (Carlini et al. 2022, arXiv 2112.03570, section III).
    """
    return np.array([tpr_at(members, strangers, float(rate)) for rate in rates])


def short(values: Iterable[float]) -> tuple[float, ...]:
    """Return ``values`` with four significant digits: more cannot be drawn, and less has to be kept."""
    return tuple(_short(float(value)) for value in values)


def _short(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError(f"a chart takes finite numbers only, found {value}")
    return float(f"{value:.4g}") + 0.0  # no negative zero
