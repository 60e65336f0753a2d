"""Texts as counts of tokens: in how many texts each is, and which a text has; the texts are not kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from expunge.estimators._base import vacate
from expunge.estimators._columns import Column


class Texts:
    """For each text its tokens and how often it has them; for each token the number of texts with it."""

    def __init__(self) -> None:
        self.tokens = Column("O")
        self._rows = np.empty(0, dtype=object)
        self.changed = True
        """Whether a token came or went since it was last set to False."""

    def __len__(self) -> int:
        """Return the number of texts."""
        return len(self._rows)

    def __getstate__(self) -> dict[str, Any]:
        """Return the rows as three arrays: a file with an array for each would be slow."""
        rows = self._rows.tolist()
        state = {name: value for name, value in self.__dict__.items() if name != "_rows"}
        state["sizes"] = np.array([len(slots) for slots, _ in rows], dtype=np.int64)
        state["slots"] = np.concatenate([np.empty(0, np.int32), *(slots for slots, _ in rows)])
        state["times"] = np.concatenate([np.empty(0, np.int32), *(times for _, times in rows)])
        return state

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Take the arrays apart."""
        state = dict(state)
        ends = np.cumsum(state.pop("sizes"))
        slots, times = np.split(state.pop("slots"), ends), np.split(state.pop("times"), ends)
        self.__dict__.update(state)
        self._rows = _boxed(list(zip(slots, times, strict=True))[: len(ends)])  # what is behind the last end is empty

    def add(self, counts: Sequence[Mapping[str, int]]) -> None:
        """Put texts at the end, each as how often it has which token."""
        before, rows = len(self.tokens), []
        for each in counts:
            slots = self.tokens.add(list(each))
            rows.append((slots, np.fromiter(each.values(), dtype=np.int32, count=len(each))))
        self.changed |= len(self.tokens) != before
        self._rows = np.concatenate([self._rows, _boxed(rows)])

    def remove(self, places: np.ndarray) -> None:
        """Take texts out, as :func:`vacate` does."""
        for slots, _ in self._rows[places]:
            self.changed |= self.tokens.take(slots)
        self._rows = vacate(self._rows, places)

    def times(self) -> np.ndarray:
        """Return how often each slot's token occurs in all texts."""
        total = np.zeros(len(self.tokens.values), dtype=np.int64)
        for slots, times in self._rows:
            total[slots] += times  # a text has each token once in its list
        return total


def _boxed(rows: list[Any]) -> np.ndarray:
    found = np.empty(len(rows), dtype=object)
    for place, row in enumerate(rows):
        found[place] = row
    return found
