"""Which retained records unlearning left more exposed than retraining would have.

Source: the effect: Hayes et al. 2025, arXiv 2403.01218. Moderated t: Smyth 2004, Stat. Appl. Genet. Mol.
Biol. 3(1), section 6.2. List: Benjamini and Hochberg 1995, JRSS B 57.
A record's score before unlearning cancels: change is measured against the change that retraining makes. Few references
estimate a record's own spread badly, so it borrows from all records, by as much as their spreads agree.
Shapes: K references, N retained records.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special, stats

from expunge.numerics._arrays import Array, Mask, numbers, outside

MIN_REFERENCES = 3
_ALIKE = 1e6
"""Degrees of freedom from which the spreads count as equal."""


@dataclass(frozen=True)
class Exposed:
    """Per record [N]: ``excess`` over the mean reference, its moderated ``t``, one-sided ``p``, and who is ``listed``.

    Of the listed, at most the stated share is expected to be false. ``freedom`` is that of t. A record on which the
    references do not vary at all while no other varies has p 0 or 1, or .5 where it agrees with them.
    """

    excess: Array
    t: Array
    p: Array
    listed: Mask
    freedom: float


def more_exposed(after: ArrayLike, *, references: ArrayLike, level: float = 0.05) -> Exposed:
    """Compare the scores [N] of an unlearned model with those of retrained ones, [K, N], K of 3 or more.

    Args:
        after: membership scores of retained records, larger for members (confidences, or those of ``lira``).
        references: the same under models retrained without the forget set.
        level: share of false entries expected in the list.

    Raises:
        ValueError: wrong shapes, NaN, fewer than 3 references, or the model itself among them.
    """
    score, others = numbers(after, "after", ndim=1), numbers(references, "references", ndim=2)
    count = len(others)
    if count < MIN_REFERENCES:
        raise ValueError(f"needs {MIN_REFERENCES} references or more, found {count}")
    if not 0 < level < 1:
        raise ValueError(f"level is in (0, 1), found {level}")
    outside(score[None], others)
    excess = score - others.mean(axis=0)
    variance = others.var(axis=0, ddof=1)
    prior, common = _prior(variance, count - 1)
    own = (count - 1) / (count - 1 + prior)
    error = np.sqrt((own * variance + (1 - own) * common) * (1 + 1 / count))
    t = np.divide(excess, error, out=np.where(excess == 0, 0.0, np.copysign(np.inf, excess)), where=error > 0)
    freedom = count - 1 + prior
    p: Array = stats.t.sf(t, min(freedom, _ALIKE))
    return Exposed(excess, t, p, stats.false_discovery_control(p) <= level, freedom)


def _prior(variance: Array, freedom: int) -> tuple[float, float]:
    """Return degrees of freedom and value of the variance that all records share, by moments of log variances.

    Records without any spread are left out; with fewer than 2 others nothing is borrowed.
    """
    logs = np.log(variance[variance > 0])
    if len(logs) < 2:
        return 0.0, 0.0
    centred = logs - special.digamma(freedom / 2) + math.log(freedom / 2)
    beyond = float(np.var(centred, ddof=1)) - float(special.polygamma(1, freedom / 2))
    if beyond <= float(special.polygamma(1, _ALIKE / 2)):
        return _ALIKE, float(np.exp(centred.mean()))
    half = float(
        optimize.brentq(lambda x: float(special.polygamma(1, math.exp(x))) - beyond, -20, math.log(_ALIKE / 2))
    )
    half = math.exp(half)
    return 2 * half, float(np.exp(centred.mean() + special.digamma(half) - math.log(half)))
