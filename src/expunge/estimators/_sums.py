"""Estimators whose state is integer sums: rows held in fixed point or by a keyed commitment, and sums by class."""

from __future__ import annotations

import hashlib
import secrets
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np
from scipy import sparse
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from expunge.core.errors import Refused, UsageError
from expunge.core.estimator import Remains
from expunge.core.level import Level
from expunge.estimators._base import Forgetting
from expunge.estimators._book import listed
from expunge.estimators._packed import pack, unpack
from expunge.numerics.fixed_point import Wide, room, squares, sums

SOURCE = "Cao & Yang, IEEE S&P 2015 (summation form), in fixed-point integers"
ARGUMENT = (
    "values are rounded to fixed point and summed as integers, so the sums after any inserts and deletes equal a fresh "
    "fit's bit for bit; {derived} derived from them in float64, to the tolerance of the solver. bits and all other "
    "settings are given, not learnt"
)
COUNTED = (
    "rows are counted in integers, so the counts after any inserts and deletes equal a fresh fit's bit for bit; "
    "logarithms of shares are derived from them in float64"
)


class Summed(Forgetting):
    """Base of these estimators: a subclass reads rows as integers, adds them to its sums, and derives its attributes.

    The rows are kept in fixed point, so that ``forget`` needs ids alone; or, with ``keep_rows=False``, a keyed
    commitment of each, and ``forget`` takes the rows as well and refuses those that are not what was learnt.
    """

    source = SOURCE
    guarantee = Level.BITWISE
    keep_rows: bool

    # --- what a subclass says ---

    @abstractmethod
    def _add(self, rows: Mapping[str, Any], sign: int) -> None:
        """Add the rows to the sums (sign 1) or subtract them (-1); compute first, assign last."""

    @abstractmethod
    def _empty(self) -> None:
        """Make the sums of no rows."""

    @abstractmethod
    def _derive(self) -> None:
        """Set what is predicted with, from sums of at least one row."""

    # --- the base's ---

    def _begin(self) -> None:
        self._rows = RowStore()
        self._key = b"" if self.keep_rows else secrets.token_bytes(16)
        self._empty()

    def _insert(self, rows: Mapping[str, Any], ids: Sequence[str | int]) -> None:
        room(len(self._book) + len(ids))
        kept = rows if self.keep_rows else {"commitments": self._commit(rows)}
        self._add(rows, 1)
        self._rows.append(kept)

    def _remove(self, places: np.ndarray) -> None:
        self._take_out(places, self._rows.take(places))

    def _take_out(self, places: np.ndarray, rows: Mapping[str, Any]) -> None:
        self._add(rows, -1)
        self._rows.drop(places)

    def _settle(self) -> None:
        if len(self._book):
            self._derive()
            return
        for name in [name for name in vars(self) if name.endswith("_") and name not in _NAMES]:
            delattr(self, name)  # nothing that was derived from forgotten rows stays

    # --- forgetting ---

    def forget(self, ids: Iterable[Any], X: Any = None, y: Any = None) -> Self:
        """Forget the rows with these ids, all or none; ids forgotten before are passed over.

        Args:
            ids: their ids.
            X: the rows, one per id, as they were given; needed with ``keep_rows=False`` alone, compared if given.
            y: what belongs to them.

        Raises:
            UsageError: an id was never given, or is of another type, or rows are needed; nothing has changed.
            Refused: a row is not the one that was learnt under its id; nothing has changed.
        """
        if not hasattr(self, "_book"):  # else its answer costs as much as a small model's forgetting
            check_is_fitted(self, "_book")
        ids = listed(ids)
        places = self._book.find(ids)
        if len(places):
            if X is not None:
                self._take_out(places, self._verified(ids, places, X, y))
            elif self.keep_rows:
                self._remove(places)
            else:
                raise UsageError(
                    "the rows are needed to forget them",
                    where="forget",
                    found="ids alone",
                    expected="forget(ids, X, y): with keep_rows=False only a commitment of each row is held",
                    fix="give the rows as they were given to fit, or fit with keep_rows=True",
                )
            self._book.drop(places)
            self._settle()
        return self

    def _verified(self, ids: list[Any], places: np.ndarray, X: Any, y: Any) -> Mapping[str, Any]:
        """Return the given rows in the order of ``places``, each compared with what is held of it."""
        rows = self._read(X, y, first=False)
        if _count(rows) != len(ids):
            raise UsageError(
                "ids and rows differ in number",
                where="forget",
                found=f"{_count(rows)} rows",
                expected=f"{len(ids)}, one per id",
                fix="give every id its row",
            )
        position = {self._book.place.get(getattr(name, "item", lambda n=name: n)()): i for i, name in enumerate(ids)}
        given = {name: values[[position[place] for place in places]] for name, values in rows.items()}
        held = self._rows.take(places)
        key = self._key or b"compared in memory"
        learnt = _commitments(held, key) if self.keep_rows else held["commitments"]
        wrong = np.flatnonzero((_commitments(given, key) != learnt).any(axis=1))
        if len(wrong):
            raise Refused(
                "rows are not those that were learnt under these ids",
                where="forget, position " + ", ".join(str(position[places[i]]) for i in wrong[:5]),
                found=f"{len(wrong)} of {len(places)} differ",
                expected="the same values after rounding to fixed point, and the same target",
                fix="give the rows as fit had them: same precision, order of columns and coding of categories",
            )
        return given

    def _commit(self, rows: Mapping[str, Any]) -> np.ndarray:
        return _commitments(rows, self._key)

    @property
    def what_remains_(self) -> Remains:
        """What of its training rows the estimator holds."""
        check_is_fitted(self, "_book")
        if self.keep_rows:
            return Remains(
                rows=len(self._book), holds="sums, and the rows in fixed point", tombstones=self._book.tombstones
            )
        return Remains(
            rows=len(self._book),
            holds="sums, and a keyed commitment of each row",
            tombstones=self._book.tombstones,
            notes=("the key of the commitments is in the state: who holds it can try out what a row was",),
        )


_NAMES = ("n_features_in_", "feature_names_in_")


def _count(rows: Mapping[str, Any]) -> int:
    return int(next(iter(rows.values())).shape[0])


def _commitments(rows: Mapping[str, Any], key: bytes) -> np.ndarray:
    """Return keyed BLAKE2b of each row [n, 16] (uint8)."""
    found = np.empty((_count(rows), 16), np.uint8)
    for i in range(len(found)):
        digest = hashlib.blake2b(key=key, digest_size=16)
        for name in sorted(rows):
            digest.update(_bytes(rows[name], i))
        found[i] = np.frombuffer(digest.digest(), np.uint8)
    return found


def _bytes(values: Any, i: int) -> bytes:
    if sparse.issparse(values):
        part = slice(values.indptr[i], values.indptr[i + 1])
        content = values.indices[part].astype(np.int64).tobytes() + values.data[part].astype(np.int64).tobytes()
    elif values.ndim > 1:
        content = values[i].tobytes()
    else:  # a target: equal ones may come in other dtypes
        value = values[i]
        content = repr(value.item() if isinstance(value, np.generic) else value).encode()
    return b"%d:" % len(content) + content


class RowStore:
    """Arrays of rows with room to grow, in the order of a ``Book``; what leaves is overwritten at once."""

    def __init__(self) -> None:
        self._arrays: dict[str, Any] = {}
        self._count = 0

    def append(self, rows: Mapping[str, Any]) -> None:
        """Put rows at the end."""
        count = self._count + _count(rows)
        self._arrays = {name: self._grown(name, values, count) for name, values in rows.items()}
        self._count = count

    def _grown(self, name: str, values: Any, count: int) -> Any:
        held = self._arrays.get(name)
        if sparse.issparse(values):
            return values.copy() if held is None else sparse.vstack([held, values], format="csr")
        if held is None:
            return np.array(values)
        kind = np.result_type(held, values)
        if kind != held.dtype or len(held) < count:
            room = np.zeros((max(count, len(held) + len(held) // 2), *held.shape[1:]), kind)
            room[: self._count] = held[: self._count]
            held = room
        held[self._count : count] = values
        return held

    def take(self, places: np.ndarray) -> dict[str, Any]:
        """Return the rows at these places; copies."""
        return {name: values[places] for name, values in self._arrays.items()}

    def drop(self, places: np.ndarray) -> None:
        """Take rows out (``places`` sorted); the last ones move into their places, as ``Book.drop`` moves ids."""
        moved: dict[int, int] = {}
        count = self._count
        for place in reversed(places.tolist()):
            count -= 1
            source = moved.pop(count, count)
            if place < count:
                moved[place] = source
        for name, values in self._arrays.items():
            if sparse.issparse(values):
                order = np.arange(count)
                order[list(moved)] = list(moved.values())
                self._arrays[name] = values[order]
            else:
                if len(moved) == 1:
                    ((to, source),) = moved.items()
                    values[to] = values[source]
                elif moved:
                    values[list(moved)] = values[list(moved.values())]
                values[count : self._count] = np.zeros((), values.dtype)
        self._count = count

    def __getstate__(self) -> dict[str, Any]:
        """Return the rows without the room to grow; sparse ones by their parts, labels that are objects packed."""
        arrays = {name: _parts(values, self._count) for name, values in self._arrays.items()}
        return {"_arrays": arrays, "_count": self._count}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take what :meth:`__getstate__` gave."""
        self._count = state["_count"]
        self._arrays = {
            name: sparse.csr_array(tuple(values["csr"]), shape=tuple(values["shape"]))
            if isinstance(values, dict) and "csr" in values
            else unpack(values)
            for name, values in state["_arrays"].items()
        }


def _parts(values: Any, count: int) -> Any:
    if sparse.issparse(values):
        return {"csr": [values.data, values.indices, values.indptr], "shape": list(values.shape)}
    return pack(values[:count].copy())


class ByClass:
    """Sums [k, p] and counts [k] of the classes that have rows; classes are sorted, and go with their last row."""

    def __init__(self, classes: np.ndarray, counts: np.ndarray, sums: Wide) -> None:
        self.classes, self.counts, self.sums = classes, counts, sums

    @classmethod
    def empty(cls, width: int) -> ByClass:
        """Return no classes with sums of ``width``."""
        return cls(np.empty(0, np.int64), np.empty(0, np.int64), Wide.zeros(0, width))

    def changed(self, y: np.ndarray, rows: Any, summed: Callable[[Any], Wide], sign: int) -> ByClass:
        """Return this with ``summed(rows of a class)`` added (sign 1) or subtracted (-1), for each class in ``y``."""
        of = {name: (int(n), self.sums[i]) for i, (name, n) in enumerate(zip(self._names(), self.counts, strict=True))}
        labels, codes = np.unique(y, return_inverse=True)
        nothing = Wide.zeros(*self.sums.shape[1:])
        for code, name in enumerate(labels.tolist()):
            chosen = np.flatnonzero(codes == code)
            count, sums = of.pop(name, (0, nothing))
            if count + sign * len(chosen):
                of[name] = (count + sign * len(chosen), sums.signed(summed(rows[chosen]), sign))
        if not of:
            return ByClass.empty(self.sums.shape[1])
        names = sorted(of)
        kind = object if object in (y.dtype, self.classes.dtype) else None
        return ByClass(
            np.array(names, dtype=kind),
            np.array([of[name][0] for name in names], np.int64),
            Wide.stack([of[name][1] for name in names]),
        )

    def _names(self) -> list[Any]:
        return self.classes.tolist()

    def learnt(self) -> dict[str, Any]:
        """Return classes, counts and sums, for fingerprints."""
        return {"classes": self._names(), "counts": self.counts, "sums": self.sums.limbs}


def moments(Q: np.ndarray) -> Wide:
    """Return sums and sums of squares of the columns of ``Q`` [n, d], as one row [2 d]."""
    return Wide.join([sums(Q), squares(Q)])


def check_labels(y: np.ndarray, held: ByClass | None) -> np.ndarray:
    """Return the labels ``y`` [n] unless they are no classes, or of another type than those held (ValueError)."""
    check_classification_targets(y)
    if held is not None and len(held.classes) and (held.classes.dtype.kind in "OUS") != (y.dtype.kind in "OUS"):
        raise ValueError(
            f"labels of another type: {y.dtype} where {held.classes.dtype} were learnt. Give classes as they were"
        )
    return y


def check_number(name: str, value: Any, *, least: float, most: float = np.inf) -> None:
    """Raise ValueError unless ``value`` is a number in [least, most]."""
    if isinstance(value, bool) or not np.isscalar(value) or isinstance(value, str) or not least <= value <= most:
        raise ValueError(f"{name} is {value!r}; it takes a number from {least:g} to {most:g}")


def check_priors(priors: Sequence[float] | None, classes: int) -> None:
    """Raise ValueError unless ``priors`` are None, or probabilities of as many classes as have rows (none: no rows)."""
    found = np.asarray([] if priors is None else priors, dtype=np.float64)
    if priors is None or not classes:
        return
    if found.shape != (classes,) or (found < 0).any() or not np.isclose(found.sum(), 1.0):
        raise ValueError(f"priors must be {classes} probabilities that sum to 1, one for each class that has rows")
