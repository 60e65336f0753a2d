"""Columns of categories: which values rows have, and how many rows have each; a value without rows is gone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
from sklearn.utils import check_array
from sklearn.utils.validation import _num_samples, validate_data

from expunge.estimators._base import vacate
from expunge.estimators._packed import pack, unpack

_NAN = ("NaN",)  # stands for the one value that does not equal itself; no category is a tuple
_KINDS = {"b": "?", "i": "i8", "u": "i8", "f": "f8", "U": "U", "S": "S", "O": "O"}
"""A column's kind by NumPy's letter; widths of numbers and texts belong to the past, and are not kept."""


def read_columns(made: Any, X: Any, *, first: bool) -> list[np.ndarray]:
    """Return the columns of a table ([n] each, NaN allowed), frames column by column, as scikit-learn's encoders do.

    Raises:
        ValueError: other columns than those of before, an infinite number, or nothing at all.
    """
    validate_data(made, X, reset=first, skip_check_array=True)
    if hasattr(X, "columns") and hasattr(X, "shape"):
        if X.shape[0] == 0 or X.shape[1] == 0:
            raise ValueError(
                f"Found array with {X.shape[0]} sample(s) and {X.shape[1]} feature(s), at least one needed"
            )
        return [_column(X[name]) for name in X.columns]
    table = check_array(X, dtype=None, ensure_all_finite="allow-nan", estimator=made)
    if not hasattr(X, "dtype") and np.issubdtype(table.dtype, np.str_):
        table = check_array(X, dtype=object, ensure_all_finite="allow-nan", estimator=made)
    return [table[:, place] for place in range(table.shape[1])]


def _column(values: Any) -> np.ndarray:
    """Return one column of a frame; nullable and categorical types become plain ones."""
    if hasattr(values, "to_list") and not hasattr(values, "iloc"):  # polars: nulls are None, texts have no fixed width
        values = values.to_numpy() if values.dtype.is_numeric() else np.array(values.to_list(), dtype=object)
    return check_array(values, ensure_2d=False, dtype=None, ensure_all_finite="allow-nan")


class Column:
    """The categories of one column, each in a slot of its own, and how many rows have it.

    A slot whose last row leaves is emptied and used again, so which slot a category has depends on the past;
    :meth:`order` does not.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.values: list[Any] = []
        self.counts: list[int] = []
        self._free: list[int] = []
        self._slots: dict[Any, int] = {}

    def __len__(self) -> int:
        """Return the number of categories that rows have."""
        return len(self._slots)

    def __getstate__(self) -> dict[str, Any]:
        """Return what is not derived, in few arrays."""
        values = [v and v.decode("latin-1") for v in self.values] if self.kind == "S" else self.values
        return {
            "kind": self.kind,
            "values": pack(values),
            "counts": np.array(self.counts),
            "free": np.array(self._free),
        }

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Find the slots anew."""
        self.kind, self.values = state["kind"], unpack(state["values"])
        if self.kind == "S":
            self.values = [v and v.encode("latin-1") for v in self.values]
        self.counts, self._free = (list(map(int, state[name])) for name in ("counts", "free"))
        self._slots = {_key(value): slot for slot, value in enumerate(self.values) if self.counts[slot]}

    def plain(self, column: np.ndarray, place: int) -> list[Any]:
        """Return the values as Python's own, of this column's kind; nothing is entered yet.

        Raises:
            TypeError: numbers and texts are mixed.
            ValueError: values of another kind than before.
        """
        kind = _KINDS.get(column.dtype.kind)
        if kind is None:
            raise ValueError(f"Column {place} has values of type {column.dtype}; expected numbers or texts")
        values = column.tolist()
        if kind in ("f8", "O"):
            values = list(map(_plain, values))
        held = (v for slot, v in enumerate(self.values) if self.counts[slot])
        types = {type(v) for v in (*values, *islice((v for v in held if not _is_missing(v)), 1)) if not _is_missing(v)}
        if len(types - {int, float}) + bool(types & {int, float}) > 1:
            raise TypeError(
                "Encoders require their input argument must be uniformly strings or numbers. "
                f"Got {sorted(t.__name__ for t in types)} in column {place}"
            )
        if (self.kind == "i8" and not types <= {int}) or (self.kind != "O" and bool in types and self.kind != "?"):
            raise ValueError(
                f"Column {place} was fitted on {self.kind} and is given {sorted(t.__name__ for t in types)}: "
                "give it values of one type from the start"
            )
        if self.kind == "i8" and any(map(_is_missing, values)):
            raise ValueError(f"Column {place} was fitted on whole numbers: where some are missing, fit on floats")
        return [float(v) + 0.0 if v is not None else v for v in values] if self.kind == "f8" else values

    def add(self, values: Sequence[Any]) -> np.ndarray:
        """Enter values that :meth:`plain` returned; return their slots ([n], int32)."""
        found = np.empty(len(values), dtype=np.int32)
        slots, counts = self._slots, self.counts
        for i, value in enumerate(values):
            key = _key(value)
            slot = slots.get(key)
            if slot is None:
                slot = self._new(key, value)
            counts[slot] += 1
            found[i] = slot
        return found

    def _new(self, key: Any, value: Any) -> int:
        if self._free:
            slot = self._free.pop()
            self.values[slot] = value
        else:
            slot = len(self.values)
            self.values.append(value)
            self.counts.append(0)
        self._slots[key] = slot
        return slot

    def take(self, slots: np.ndarray) -> bool:
        """Take out one row for each of these slots; return whether a category is gone."""
        gone = False
        for slot in slots.tolist():
            self.counts[slot] -= 1
            if not self.counts[slot]:
                del self._slots[_key(self.values[slot])]
                self.values[slot] = None
                self._free.append(slot)
                gone = True
        return gone

    def order(self) -> list[int]:
        """Return the slots that are in use by their category: sorted, then None, then NaN, as scikit-learn does."""
        used = [slot for slot, count in enumerate(self.counts) if count]
        return sorted(used, key=lambda slot: _rank(self.values[slot]))

    def categories(self) -> np.ndarray:
        """Return the categories in that order."""
        values = [self.values[slot] for slot in self.order()]
        if self.kind in ("U", "S") or (self.kind != "O" and None not in values):
            return np.array(values, dtype=self.kind)
        found = np.empty(len(values), dtype=object)
        found[:] = values
        return found


class Table:
    """Rows of categories: one :class:`Column` each, and the slots of all rows ([n, d], int32)."""

    def __init__(self) -> None:
        self.columns: list[Column] = []
        self.slots = np.empty((0, 0), dtype=np.int32)
        self.changed = True
        """Whether a category came or went since it was last set to False."""

    def add(self, columns: Sequence[np.ndarray]) -> None:
        """Put rows at the end; nothing has changed where this raises."""
        kept = self.columns or [Column(_KINDS.get(values.dtype.kind, "O")) for values in columns]
        plain = [column.plain(values, j) for j, (column, values) in enumerate(zip(kept, columns, strict=True))]
        before = [len(column) for column in kept]
        slots = np.stack([column.add(values) for column, values in zip(kept, plain, strict=True)], axis=1)
        self.changed |= not self.columns or before != [len(column) for column in kept]
        self.columns = kept
        self.slots = np.concatenate([self.slots, slots]) if len(self.slots) else slots

    def remove(self, places: np.ndarray) -> None:
        """Take rows out, as :func:`vacate` does."""
        for column, slots in zip(self.columns, self.slots[places].T, strict=True):
            self.changed |= column.take(slots)
        self.slots = vacate(self.slots, places)

    def counts(self) -> list[np.ndarray]:
        """Return the number of rows of each category, in the order of :meth:`Column.categories`."""
        return [np.array([c.counts[slot] for slot in c.order()], dtype=np.int64) for c in self.columns]

    def ranks(self) -> np.ndarray:
        """Return the rows with each category as its place in :meth:`Column.categories` ([n, d], int64)."""
        found = np.empty(self.slots.shape, dtype=np.int64)
        for j, column in enumerate(self.columns):
            order = column.order()
            rank = np.zeros(len(column.values), dtype=np.int64)
            rank[order] = np.arange(len(order))
            found[:, j] = rank[self.slots[:, j]]
        return found

    def spread(self) -> list[np.ndarray]:
        """Return columns with every category as often as rows have it, sorted; ``fit`` learns the same from them."""
        return [np.repeat(c.categories(), n) for c, n in zip(self.columns, self.counts(), strict=True)]


def length(X: Any) -> int:
    """Return the number of rows of a table of any kind."""
    return int(_num_samples(X))


def _plain(value: Any) -> Any:
    """Return a value as one that is equal however it came: 1 for 1.0, NaN for pandas' own missing value."""
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    return float("nan") if type(value).__name__ == "NAType" else value


def _is_missing(value: Any) -> bool:
    return value is None or value != value


def _key(value: Any) -> Any:
    return _NAN if value != value else value


def _rank(value: Any) -> tuple[int, Any]:
    return (1, 0) if value is None else (2, 0) if value != value else (0, value)
