"""The membership attack that so few or so many references can carry.

Source: measured on Location-30, 16 targets: RMIA is ahead at low false positive rates with 1 or 2 references, doubly
shrunk LiRA from 4 on. With references of one kind only, those without the records, RMIA is ahead or level at every
number from 2 to 64.
Shapes: N records, K references.
"""

from __future__ import annotations

from dataclasses import dataclass

from numpy.typing import ArrayLike
from scipy import special

from expunge.numerics._arrays import Array, mask, numbers
from expunge.numerics.lira import lira
from expunge.numerics.rmia import log_ratio

LIRA_FROM = 4
"""References; 3 were not measured and stay with RMIA."""


@dataclass(frozen=True)
class Attack:
    """The scores [N] of one target, larger for members, and what was chosen: ``RMIA`` or ``LiRA``."""

    name: str
    score: Array


def attack(target: ArrayLike, *, references: ArrayLike, keep: ArrayLike | None = None) -> Attack:
    """Attack one target with all references: the best of the measured attacks for their number and kind.

    Scores order the records of this target; the scales of the two attacks differ.

    Args:
        target: confidences [N], log odds of the label.
        references: the same under the references, [K, N], K of 1 or more.
        keep: booleans [K, N], which reference was trained on which record; None where none was on any.

    Raises:
        ValueError: wrong shapes, NaN, or a target among the references.
    """
    phi, others = numbers(target, "target", ndim=1), numbers(references, "references", ndim=2)
    seen = None if keep is None else mask(keep, "keep", shape=others.shape)
    if seen is not None and seen.any() and not seen.all() and len(others) >= LIRA_FROM:
        return Attack("LiRA", lira(phi, references=others, keep=seen))
    return Attack("RMIA", log_ratio(special.log_expit(phi), references=special.log_expit(others), keep=seen))
