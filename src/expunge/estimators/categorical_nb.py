"""Categorical naive Bayes that forgets: how often each category of each column occurs in each class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from sklearn.naive_bayes import CategoricalNB
from sklearn.utils.validation import check_non_negative, validate_data

from expunge.core.errors import UsageError
from expunge.estimators._discrete import LEAST_ALPHA, log_priors
from expunge.estimators._sums import COUNTED, ByClass, Summed, check_labels, check_number, check_priors
from expunge.numerics.fixed_point import Wide

MOST_CATEGORIES = 1 << 20


class ForgettingCategoricalNB(Summed, CategoricalNB):
    """scikit-learn's ``CategoricalNB`` with ``forget(ids)``; predicts with its code.

    A column has the categories 0, 1, ... up to the largest that a row has; with its last row a category at the end is
    gone, and smoothing counts without it, as in a fresh fit. ``min_categories`` declares them instead.

    Args:
        alpha: what is added to every count, at least 1e-10.
        fit_prior: take the shares of the classes as their probabilities, else equal ones.
        class_prior: probabilities of the classes [k], in sorted order.
        min_categories: categories that a column has at least, one number or one per column.
        keep_rows: keep the rows; otherwise a keyed commitment of each, and ``forget`` needs them.

    Attributes ``classes_``, ``class_count_``, ``category_count_``, ``n_categories_`` and those derived are
    scikit-learn's.
    """

    name = "categorical_nb"
    title = "Categorical naive Bayes"
    argument = COUNTED

    def __init__(
        self,
        *,
        alpha: float = 1.0,
        fit_prior: bool = True,
        class_prior: Sequence[float] | None = None,
        min_categories: int | Sequence[int] | None = None,
        keep_rows: bool = True,
    ) -> None:
        self.alpha = alpha
        self.fit_prior = fit_prior
        self.class_prior = class_prior
        self.min_categories = min_categories
        self.keep_rows = keep_rows

    def _read(self, X: Any, y: Any, *, first: bool) -> Mapping[str, Any]:
        X, y = validate_data(self, X, y, reset=first, dtype="int")
        check_non_negative(X, "ForgettingCategoricalNB (input X)")
        check_number("alpha", self.alpha, least=LEAST_ALPHA)
        self._least()
        y = check_labels(y, None if first else self._sums)
        if X.max(initial=0) >= MOST_CATEGORIES:
            column = int((X >= MOST_CATEGORIES).any(axis=0).argmax())
            raise UsageError(
                "a column has too many categories",
                where=f"X, column {column}",
                found=f"{int((X[:, column] >= MOST_CATEGORIES).sum())} rows outside",
                expected=f"categories 0, 1, ... below {MOST_CATEGORIES}",
                fix="number the categories without gaps (OrdinalEncoder)",
            )
        return {"X": X.astype(np.int64), "y": y}

    def _least(self) -> np.ndarray:
        """Return how many categories each column has at least [d]."""
        given = np.asarray(0 if self.min_categories is None else self.min_categories)
        if given.dtype.kind not in "iu" or given.shape not in ((), (self.n_features_in_,)) or (given < 0).any():
            raise ValueError(f"min_categories takes a whole number, or one for each of {self.n_features_in_} columns")
        return np.broadcast_to(given, self.n_features_in_).astype(np.int64)

    def _empty(self) -> None:
        self._widths = self._least()
        self._sums = ByClass.empty(int(self._widths.sum()))

    def _add(self, rows: Mapping[str, Any], sign: int) -> None:
        X = rows["X"]
        widths = np.maximum(self._widths, X.max(axis=0) + 1)
        starts = np.cumsum(widths) - widths
        total = int(widths.sum())

        def counted(part: np.ndarray) -> Wide:
            return Wide.of(np.bincount((part + starts).ravel(), minlength=total).astype(np.int64))

        changed = _laid_out(self._sums, self._widths, widths).changed(rows["y"], X, counted, sign)
        check_priors(self.class_prior, len(changed.classes))
        if sign < 0:
            seen = changed.sums.limbs.any(axis=(0, 1))
            last = [np.flatnonzero(seen[a:b]).max(initial=-1) + 1 for a, b in pairwise((*starts, total))]
            fewer = np.maximum(self._least(), np.array(last, dtype=np.int64))
            changed, widths = _laid_out(changed, widths, fewer), fewer
        self._widths, self._sums = widths, changed

    def _derive(self) -> None:
        self.classes_ = self._sums.classes
        self.class_count_ = self._sums.counts.astype(np.float64)
        self.class_log_prior_ = log_priors(self._sums.counts, self.class_prior, fit=self.fit_prior)
        self.n_categories_ = self._widths.copy()
        counts = self._sums.sums.floats()
        self.category_count_ = np.split(counts, np.cumsum(self._widths)[:-1], axis=1)
        smoothed = [part + self.alpha for part in self.category_count_]
        self.feature_log_prob_ = [np.log(part) - np.log(part.sum(axis=1, keepdims=True)) for part in smoothed]

    def _learnt(self) -> Mapping[str, Any]:
        return {"widths": self._widths, **self._sums.learnt()}

    def _check_X(self, X: Any) -> np.ndarray:
        """Return rows to predict for, in which every category is known (scikit-learn's hook before predictions)."""
        X = super()._check_X(X)
        beyond = (X >= self.n_categories_).any(axis=0)
        if beyond.any():
            column = int(beyond.argmax())
            raise ValueError(
                f"column {column} has categories that no row has: known are 0 to {self.n_categories_[column] - 1}. "
                "Declare those that may come with min_categories"
            )
        return X

    @classmethod
    def trial(cls, seed: int) -> tuple[Any, Any, Any]:
        """Return an estimator that knows 4 categories, and 60 rows of 3 classes in 5 columns."""
        y = np.arange(60) % 3
        draw = np.random.default_rng(seed)
        X = (y[:, None] + draw.integers(0, 2, size=(60, 5))) % 4
        return cls(min_categories=4), X, y


def _laid_out(sums: ByClass, old: np.ndarray, new: np.ndarray) -> ByClass:
    """Return sums of columns of ``old`` widths as columns of ``new`` ones: wider with zeros, or without the last."""
    if np.array_equal(old, new):
        return sums
    made = Wide.zeros(len(sums.classes), int(new.sum()))
    for a, b, width in zip(np.cumsum(old) - old, np.cumsum(new) - new, np.minimum(old, new), strict=True):
        made.limbs[:, :, b : b + width] = sums.sums.limbs[:, :, a : a + width]
    return ByClass(sums.classes, sums.counts, made)
