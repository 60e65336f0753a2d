"""Multinomial naive Bayes that forgets: sums of counts of each class, as integers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.naive_bayes import MultinomialNB

from expunge.estimators._discrete import Discrete, fixed
from expunge.estimators._sums import ARGUMENT


class ForgettingMultinomialNB(Discrete, MultinomialNB):
    """scikit-learn's ``MultinomialNB`` with ``forget(ids)``; predicts with its code, takes dense and sparse rows.

    Args:
        alpha: what is added to every count, at least 1e-10.
        fit_prior: take the shares of the classes as their probabilities, else equal ones.
        class_prior: probabilities of the classes [k], in sorted order.
        bits: bits after the point for counts that are not whole, such as TF-IDF; x < 2^(50 - bits).
        keep_rows: keep the rows in fixed point; otherwise a keyed commitment of each, and ``forget`` needs them.

    Attributes ``classes_``, ``class_count_``, ``feature_count_`` and those derived are scikit-learn's.
    """

    name = "multinomial_nb"
    title = "Multinomial naive Bayes"
    argument = ARGUMENT.format(derived="logarithms of shares are")

    def __init__(
        self,
        *,
        alpha: float = 1.0,
        fit_prior: bool = True,
        class_prior: Sequence[float] | None = None,
        bits: int | Sequence[int] = 24,
        keep_rows: bool = True,
    ) -> None:
        self.alpha = alpha
        self.fit_prior = fit_prior
        self.class_prior = class_prior
        self.bits = bits
        self.keep_rows = keep_rows

    def _integers(self, X: sparse.csr_array, *, first: bool) -> Any:
        return fixed(X, self.bits, getattr(self, "feature_names_in_", None), first=first)

    def _derive_shares(self) -> None:
        self.feature_count_ = np.ldexp(self._sums.sums.floats(), -np.asarray(self.bits))
        smoothed = self.feature_count_ + self.alpha
        self.feature_log_prob_ = np.log(smoothed) - np.log(smoothed.sum(axis=1, keepdims=True))

    @classmethod
    def trial(cls, seed: int) -> tuple[Any, Any, Any]:
        """Return an estimator with its defaults, and 60 rows of counts of 3 classes."""
        return cls(), *counts_of_classes(seed)


def counts_of_classes(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return 60 rows of counts in 5 columns, of 3 classes."""
    y = np.arange(60) % 3
    return np.random.default_rng(seed).poisson(1.0 + 2.0 * (y[:, None] == np.arange(5) % 3)).astype(float), y
