"""What preprocessors that forget share: scikit-learn's own, set from counts and sums, emptied with the last row."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from expunge.core.estimator import Remains
from expunge.estimators._base import Forgetting

_SCHEMA = frozenset({"n_features_in_", "feature_names_in_"})


class Preparing(Forgetting):
    """Base of preprocessors: a subclass inherits from scikit-learn's too, and sets in ``_settle`` what that one learns.

    So ``transform``, ``inverse_transform``, ``get_feature_names_out`` and ``set_output`` are scikit-learn's.
    """

    _holds = "the values of the rows"

    def fit_transform(self, X: Any, y: Any = None, sample_ids: Any = None) -> Any:
        """Learn from rows, and return them transformed."""
        return self.fit(X, y, sample_ids).transform(X)  # type: ignore[attr-defined]

    def forget(self, ids: Any) -> Self:
        super().forget(ids)
        if not len(self._book):  # what was derived from rows that are gone goes too
            for name in [n for n in vars(self) if n.endswith("_") and not n.startswith("_") and n not in _SCHEMA]:
                delattr(self, name)
        return self

    @abstractmethod
    def _acts(self) -> Mapping[str, Any]:
        """Return all that ``transform`` is a function of, by name: while it is equal, later steps see equal rows."""

    def _fit_plainly(self, plain: type, X: Any) -> None:
        """Let scikit-learn's ``fit`` set this object's attributes from rows that stand for those held."""
        schema = {name: getattr(self, name) for name in _SCHEMA if hasattr(self, name)}
        plain.fit(self, X)  # type: ignore[attr-defined]
        for name in _SCHEMA & set(vars(self)):
            delattr(self, name)
        self.__dict__.update(schema)

    @property
    def what_remains_(self) -> Remains:
        return Remains(rows=len(self._book), holds=self._holds, tombstones=self._book.tombstones)


def frozen(value: Any) -> Any:
    """Return a copy that later changes in place do not reach."""
    return copy.deepcopy(value)


def alike(one: Any, other: Any) -> bool:
    """Return whether two nested values are the same, bit for bit; NaN equals NaN."""
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        if type(one) is not type(other) or one.dtype != other.dtype or one.shape != other.shape:
            return False
        if one.dtype == object:
            return all(map(alike, one.ravel().tolist(), other.ravel().tolist()))
        return one.tobytes() == other.tobytes()
    if isinstance(one, Mapping):
        return isinstance(other, Mapping) and one.keys() == other.keys() and all(alike(one[k], other[k]) for k in one)
    if isinstance(one, (list, tuple)):
        return isinstance(other, (list, tuple)) and len(one) == len(other) and all(map(alike, one, other))
    if hasattr(one, "indptr"):
        parts = ("data", "indices", "indptr")
        return (
            hasattr(other, "indptr")
            and one.shape == other.shape
            and all(alike(getattr(one, part), getattr(other, part)) for part in parts)
        )
    return type(one) is type(other) and (one == other or (one != one and other != other))
