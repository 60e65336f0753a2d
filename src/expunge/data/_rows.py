"""A batch of table rows as a model is given them, and as numbers for distances between records."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
CODE = 16
"""Numbers that stand for one category: two categories are one unit apart, give or take, and alike once in 2^16."""


@dataclass(frozen=True)
class Columns:
    """Feature columns of a table.

    Attributes:
        names: of the columns, in the order a model is given them.
        centre / spread: mean and standard deviation of a column of numbers over the table; None for categories.
    """

    names: tuple[str, ...]
    centre: tuple[float | None, ...]
    spread: tuple[float | None, ...]

    @classmethod
    def of(cls, frame: Any) -> Columns:
        """Return the columns of a pandas frame; a column that does not vary has a spread of 1."""
        centres: list[float | None] = []
        spreads: list[float | None] = []
        for name in frame.columns:
            if not is_number(frame[name]):
                centres.append(None)
                spreads.append(None)
                continue
            values = _floats(frame[name])
            known = values[np.isfinite(values)]
            centres.append(float(known.mean()) if len(known) else 0.0)
            spread = float(known.std()) if len(known) else 0.0
            spreads.append(spread if spread > 0 else 1.0)
        return cls(tuple(map(str, frame.columns)), tuple(centres), tuple(spreads))

    def numbers(self, frame: Any) -> Array:
        """Return rows [B, D]: numbers in deviations from their mean (missing: 0), categories as CODE numbers each."""
        parts = []
        for place, (centre, spread) in enumerate(zip(self.centre, self.spread, strict=True)):
            column = frame.iloc[:, place]
            if centre is None or spread is None:
                rows = [_code(self.names[place], f"{type(value).__name__} {value}") for value in column.tolist()]
                parts.append(np.asarray(rows, dtype=np.float64).reshape(len(frame), CODE))
            else:
                parts.append(np.nan_to_num((_floats(column) - centre) / spread)[:, None])
        return np.concatenate(parts, axis=1) if parts else np.empty((len(frame), 0))


@dataclass(frozen=True)
class Rows:
    """A batch of rows.

    Attributes:
        frame: features, [B, d], a pandas frame.
        columns: what the columns of the whole table are.
        classes: label by class number.
    """

    frame: Any
    columns: Columns
    classes: tuple[Any, ...]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.frame)

    @cached_property
    def numbers(self) -> Array:
        """The rows as numbers, [B, D]."""
        return self.columns.numbers(self.frame)

    def moved(self, by: Array) -> Rows | None:
        """Return rows whose :attr:`numbers` are further by ``by`` [B, D]; None unless all columns are floats."""
        if not all(_is_float(self.frame.iloc[:, place]) for place in range(self.frame.shape[1])):
            return None
        spread = np.asarray(self.columns.spread, dtype=np.float64)
        frame = self.frame.copy()
        for place in range(frame.shape[1]):
            frame.isetitem(place, _floats(self.frame.iloc[:, place]) + by[:, place] * spread[place])
        return Rows(frame, self.columns, self.classes)

    def exchanged(self, others: Rows, where: Array) -> Rows:
        """Return rows that each have one value of another row, at ``where`` [B], in [0, 1), of the columns unlike."""
        mine, theirs = (f.astype(object).where(f.notna(), None).to_numpy() for f in (self.frame, others.frame))
        rows, places = one_each(mine != theirs, where)
        frame = self.frame.copy()
        for place in np.unique(places):
            values, theirs, taken = frame.iloc[:, place].copy(), others.frame.iloc[:, place], rows[places == place]
            if values.dtype != theirs.dtype:  # a batch of its own may have categories, or numbers, of its own
                values = values.astype(object)
            values.iloc[taken] = theirs.iloc[taken].to_numpy()
            frame.isetitem(int(place), values)
        return Rows(frame, self.columns, self.classes)

    def infinite(self) -> list[int]:
        """Return the rows with an infinite number; a missing one is for the model to take or to refuse."""
        bad = np.zeros(len(self), dtype=bool)
        for place, centre in enumerate(self.columns.centre):
            if centre is not None:
                bad |= np.isinf(_floats(self.frame.iloc[:, place]))
        return [int(i) for i in np.flatnonzero(bad)]


def one_each(free: NDArray[np.bool_], where: Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (rows, places) with one of the ``free`` places [B, D] of every row that has any.

    ``where`` [B], in [0, 1), says which of them, from the first to the last.
    """
    count = free.sum(axis=1)
    rank = np.floor(where * count).astype(np.int64)
    places = (free & (free.cumsum(axis=1) == rank[:, None] + 1)).argmax(axis=1)
    rows = np.flatnonzero(count)
    return rows, places[rows]


def given(frame: Any, names: Sequence[str] | None) -> Any:
    """Return ``frame`` as a model wants it: the frame where it was fitted with these names, else an array."""
    return frame if names is not None and list(names) == list(frame.columns) else frame.to_numpy()


def names_of(estimator: Any) -> tuple[str, ...] | None:
    """Return the column names that a fitted estimator knows, None where it was fitted on an array."""
    names = getattr(estimator, "feature_names_in_", None)
    return None if names is None else tuple(map(str, names))


def no_number(value: Any) -> bool:
    """Return whether a value is neither a number, nor text that is one, nor missing."""
    if value is None or isinstance(value, (int, float, np.number)):
        return False
    try:
        float(value)
    except (TypeError, ValueError):
        return True
    return False


def is_number(column: Any) -> bool:
    """Return whether a column of a frame is of numbers, missing ones apart."""
    kind = getattr(column.dtype, "kind", "O")
    return kind in "iufb"


def _is_float(column: Any) -> bool:
    return isinstance(column.dtype, np.dtype) and column.dtype.kind == "f"


def _floats(column: Any) -> Array:
    return np.asarray(column.to_numpy(dtype=np.float64, na_value=math.nan))


@lru_cache(maxsize=1 << 16)
def _code(column: str, value: str) -> tuple[float, ...]:
    """Return CODE numbers, each plus or minus, that a category has in every table and process."""
    bits = int.from_bytes(hashlib.blake2b(f"{column}\n{value}".encode(), digest_size=CODE // 8).digest(), "big")
    size = math.sqrt(1 / (2 * CODE))
    return tuple(size if bits >> place & 1 else -size for place in range(CODE))
