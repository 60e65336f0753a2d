"""What all estimators that forget share: ids, transactions, fingerprints, saving."""

from __future__ import annotations

import hashlib
import json
import secrets
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from expunge.core.digest import keyed_int
from expunge.core.estimator import Estimator
from expunge.estimators._book import Book
from expunge.models._skops import load_object, save_object


class Forgetting(Estimator, BaseEstimator):
    """Base of the estimators here: a subclass says how rows are read, put in and taken out.

    ``_read`` validates, ``_begin`` makes the empty state, ``_insert`` and ``_remove`` change it; each of these two
    either completes or leaves the state as it was (compute first, assign last). ``_settle`` derives what is
    predicted with from the state.
    """

    _book: Book

    # --- what a subclass says ---

    @abstractmethod
    def _read(self, X: Any, y: Any, *, first: bool) -> Mapping[str, Any]:
        """Return the rows as arrays with one entry per row; ``first`` lets ``fit`` learn columns and their names."""

    @abstractmethod
    def _begin(self) -> None:
        """Make the state of no rows."""

    @abstractmethod
    def _insert(self, rows: Mapping[str, Any], ids: Sequence[str | int]) -> None:
        """Put rows in, after those that are held."""

    @abstractmethod
    def _remove(self, places: np.ndarray) -> None:
        """Take out the rows at these places ([m], sorted); ``self._book`` still has them.

        Rows kept in arrays are taken out with :func:`vacate`, as the book takes out ids.
        """

    @abstractmethod
    def _learnt(self) -> Mapping[str, Any]:
        """Return all that was learnt, by name, for :meth:`fingerprint`; rows in the order of ``_book.canonical()``."""

    def _settle(self) -> None:
        """Derive what is predicted with from the state; called after every change."""

    # --- scikit-learn's ---

    def fit(self, X: Any, y: Any = None, sample_ids: Sequence[Any] | None = None) -> Self:
        """Learn from rows ``X`` [n, d] (and ``y`` [n]) alone.

        Args:
            X: rows.
            y: what belongs to them.
            sample_ids: one id per row, all text or all integers; by default 0, 1, 2, ...
        """
        with unquoted():
            rows = self._read(X, y, first=True)
        book = Book()
        ids = book.named(sample_ids, _count(rows))
        self._book = book
        self._begin()
        self._insert(rows, ids)
        book.add(ids)
        self._settle()
        return self

    def partial_fit(self, X: Any, y: Any = None, classes: Any = None, sample_ids: Sequence[Any] | None = None) -> Self:
        """Learn from more rows: equal to :meth:`fit` on these and all that were learnt before.

        Args:
            X: rows.
            y: what belongs to them.
            classes: taken as scikit-learn's classifiers do, and not needed: the classes are those that have rows.
            sample_ids: one id per row, of the type of those before; by default numbers that go on.
        """
        if not hasattr(self, "_book"):
            return self.fit(X, y, sample_ids)
        with unquoted():
            rows = self._read(X, y, first=False)
        ids = self._book.named(sample_ids, _count(rows))
        self._insert(rows, ids)
        self._book.add(ids)
        self._settle()
        return self

    def forget(self, ids: Iterable[Any]) -> Self:
        """Forget the rows with these ids, all or none; ids forgotten before are passed over.

        Raises:
            UsageError: an id was never given, or is of another type; nothing has changed.
        """
        if not hasattr(self, "_book"):  # else its answer costs as much as a forest's forgetting
            check_is_fitted(self, "_book")
        places = self._book.find(ids)
        if len(places):
            self._remove(places)
            self._book.drop(places)
            self._settle()
        return self

    @property
    def sample_ids_(self) -> tuple[str | int, ...]:
        """Ids of the rows held, in no order that means anything."""
        return tuple(self._book.ids)

    def __sklearn_is_fitted__(self) -> bool:
        """Return whether there are rows to predict from."""
        return hasattr(self, "_book") and len(self._book) > 0

    def _check_ready(self) -> None:
        """Raise unless something was learnt and is not all forgotten."""
        check_is_fitted(self, "_book")
        if not len(self._book):
            raise NotFittedError(f"all rows of this {type(self).__name__} were forgotten: fit it on others first")

    # --- what is promised beyond ---

    def fingerprint(self) -> str:
        """Return the SHA-256 of what was learnt; equal for equal settings, seed and set of rows, whatever the past."""
        check_is_fitted(self, "_book")
        digest = hashlib.sha256()
        settings = {name: value for name, value in sorted(self.get_params(deep=False).items())}
        _feed(digest, {"settings": {k: repr(v) for k, v in settings.items()}, "learnt": dict(self._learnt())})
        return digest.hexdigest()

    def save(self, path: str | Path) -> None:
        """Write the estimator into one file (skops; no pickle): aside, synced, renamed."""
        save_object(self, Path(path))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Return what :meth:`save` wrote.

        Raises:
            UnsafeFile: it holds types that are neither ours, scikit-learn's nor NumPy's.
            Tampered: it is not what was written.
        """
        return load_object(Path(path), cls)

    @classmethod
    def trial(cls, seed: int) -> tuple[Any, Any, Any]:
        """Return an estimator with its defaults, and 60 rows of 3 classes in 4 columns, ``y`` as it wants it."""
        draw = np.random.default_rng(seed)
        y = np.arange(60) % 3
        X = draw.normal(size=(60, 4)) + y[:, None]
        kind = getattr(cls, "_estimator_type", None) or getattr(cls().__sklearn_tags__(), "estimator_type", None)
        return cls(), X, (X @ [1.0, -2.0, 0.5, 0.0] if kind == "regressor" else y)


def vacate(array: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return ``array`` without the rows at ``places``, in the order that :meth:`Book.drop` leaves; a new array."""
    last, comes = len(array), {}
    for place in sorted(map(int, places), reverse=True):
        last -= 1
        row = comes.pop(last, last)
        if place < last:
            comes[place] = row
    kept = np.array(array[:last], order="C")
    kept[list(comes)] = array[list(comes.values())]
    return kept


@contextmanager
def unquoted() -> Iterator[None]:
    """Say that a text stands where numbers are expected without quoting it: errors end up in logs, cells are personal.

    Raises:
        ValueError: in the place of NumPy's, which quotes the cell.
    """
    try:
        yield
    except ValueError as error:
        if "could not convert string to float" not in str(error):
            raise
        raise ValueError("X or y has text where numbers are expected: encode it, or leave the column out") from None


def secret_seed(random_state: Any) -> int:
    """Return the seed of keyed randomness, in [0, 2**63): that of an integer, drawn from a generator, or a secret."""
    if random_state is None:
        return secrets.randbits(63)
    if isinstance(random_state, (int, np.integer)):
        return keyed_int(b"expunge estimator", int(random_state))
    return int(random_state.integers(2**63) if hasattr(random_state, "integers") else random_state.randint(2**31))


def _count(rows: Mapping[str, Any]) -> int:
    return int(next(iter(rows.values())).shape[0])


def _feed(digest: Any, value: Any) -> None:
    """Hash nested values, each with its type and length, so that no two mean the same bytes."""
    if isinstance(value, np.ndarray) and value.dtype != object:
        head = [str(value.dtype), list(value.shape)]
        digest.update(b"a" + json.dumps(head).encode() + np.ascontiguousarray(value).tobytes())
    elif isinstance(value, Mapping):
        digest.update(b"m%d" % len(value))
        for name in sorted(value, key=repr):
            _feed(digest, name)
            _feed(digest, value[name])
    elif isinstance(value, (list, tuple, np.ndarray)):
        digest.update(b"l%d" % len(value))
        for each in value:
            _feed(digest, each)
    elif hasattr(value, "indptr"):  # a sparse matrix
        _feed(digest, [value.shape, value.indptr, value.indices, value.data])
    else:
        value = value.item() if isinstance(value, np.generic) else value
        text = repr(value).encode()
        digest.update(b"v%d:" % len(text) + text)
