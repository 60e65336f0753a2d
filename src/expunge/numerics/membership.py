"""Membership signals and the curves of threshold attacks.

Source: LOSS attack, Yeom et al. 2018, arXiv 1709.01604; logit-scaled confidence, Carlini et al. 2022,
arXiv 2112.03570, section VI-B. AUC and its components: DeLong et al. 1988, Biometrics 44(3). Deviation
from models that never saw a record: the same paper, equation 4, with the error of the mean of few models.
Shapes: n records, n1 members (forget), n0 non-members (holdout), C classes, K models.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]
FLOOR = 0.25
"""Smallest spread in nats: a quarter nat changes odds by 28%, which tells nobody anything about one record."""


def confidence(logits: Array, target: NDArray[np.int64]) -> Array:
    """Return phi = z_y - logsumexp of the other logits, [n]; larger means more like a member.

    From logits in float64: a softmax in float32 saturates at p = 1 and gives infinity.
    """
    rows = np.arange(len(target))
    chosen = logits[rows, target]
    others = logits.copy()
    others[rows, target] = -np.inf
    top = others.max(axis=-1)
    result: Array = chosen - (top + np.log(np.exp(others - top[:, None]).sum(axis=-1)))
    return result


def spread(confidences: Array) -> Array:
    """Return the scale of each record over seeds, [n], in nats, from confidences [K, n] of K >= 2 models.

    Shrunk half-way towards that of all records, since few models fix it badly, and at least :data:`FLOOR`.
    """
    own = confidences.var(axis=0, ddof=1)
    scale: Array = np.sqrt((own + own.mean()) / 2 + FLOOR**2)
    return scale


def deviation(confidences: Array, references: Array) -> Array:
    """Return how many of its own spreads each record lies from the mean of ``references`` [K, n], K >= 2, [n].

    ``(phi - mean) / (spread * sqrt(1 + 1/K))``: a new model of the references' law has about unit variance for every K.
    """
    error = spread(references) * math.sqrt(1.0 + 1.0 / len(references))
    result: Array = (confidences - references.mean(axis=0)) / error
    return result


@dataclass(frozen=True)
class Ranking:
    """AUC with its structural components: ``member`` [n1] and ``stranger`` [n0], each with mean ``auc``."""

    auc: float
    member: Array
    stranger: Array


def ranking(members: Array, strangers: Array) -> Ranking:
    """Return P(member score > stranger score) + half of the ties, with DeLong's components."""
    n1, n0 = len(members), len(strangers)
    pooled = stats.rankdata(np.concatenate([members, strangers]))
    within_members, within_strangers = stats.rankdata(members), stats.rankdata(strangers)
    member = (pooled[:n1] - within_members) / n0
    stranger = 1.0 - (pooled[n1:] - within_strangers) / n1
    return Ranking(float(member.mean()), member, stranger)


def resolvable(fpr: float, strangers: int) -> str:
    """Return ``yes``, ``imprecise`` or ``no``: can a false positive rate be set with so many non-members?

    ``k = floor(fpr * n0)`` false positives are allowed: 10 or more fix the rate to about a third, 3 to 9
    only roughly, fewer not at all.
    """
    allowed = math.floor(fpr * strangers + 1e-9)
    return "yes" if allowed >= 10 else "imprecise" if allowed >= 3 else "no"


def tpr_at(members: Array, strangers: Array, fpr: float) -> float:
    """Return the share of members above the threshold that lets ``floor(fpr * n0)`` non-members through.

    Ties at the threshold count as not above it.
    """
    allowed = math.floor(fpr * len(strangers) + 1e-9)
    if allowed >= len(strangers):
        return 1.0
    threshold = np.sort(strangers)[len(strangers) - allowed - 1]
    return float((members > threshold).mean())


def tpr_null(fpr: float, members: int, strangers: int) -> tuple[float, float]:
    """Return (mean, 95% quantile) of :func:`tpr_at` when members and strangers have one distribution.

    The number of true positives is beta-binomial(n1, k + 1, n0 - k), k allowed false positives: exact for
    any continuous score.
    """
    allowed = math.floor(fpr * strangers + 1e-9)
    if allowed >= strangers:
        return 1.0, 1.0
    law = stats.betabinom(members, allowed + 1, strangers - allowed)
    return float(law.mean() / members), float(law.ppf(0.95) / members)
