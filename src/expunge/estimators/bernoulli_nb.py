"""Bernoulli naive Bayes that forgets: how often each column is on in each class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.naive_bayes import BernoulliNB
from sklearn.preprocessing import binarize

from expunge.estimators._discrete import Discrete
from expunge.estimators._sums import COUNTED, check_number


class ForgettingBernoulliNB(Discrete, BernoulliNB):
    """scikit-learn's ``BernoulliNB`` with ``forget(ids)``; predicts with its code, takes dense and sparse rows.

    Args:
        alpha: what is added to every count, at least 1e-10.
        binarize: columns are on above this, at least 0; None for columns that are 0 and 1 already.
        fit_prior: take the shares of the classes as their probabilities, else equal ones.
        class_prior: probabilities of the classes [k], in sorted order.
        keep_rows: keep which columns are on in each row; otherwise a keyed commitment, and ``forget`` needs the rows.

    Attributes ``classes_``, ``class_count_``, ``feature_count_`` and those derived are scikit-learn's.
    """

    name = "bernoulli_nb"
    title = "Bernoulli naive Bayes"
    argument = COUNTED

    def __init__(
        self,
        *,
        alpha: float = 1.0,
        binarize: float | None = 0.0,
        fit_prior: bool = True,
        class_prior: Sequence[float] | None = None,
        keep_rows: bool = True,
    ) -> None:
        self.alpha = alpha
        self.binarize = binarize
        self.fit_prior = fit_prior
        self.class_prior = class_prior
        self.keep_rows = keep_rows

    def _integers(self, X: sparse.csr_array, *, first: bool) -> Any:
        if self.binarize is None:
            if not np.isin(X.data, (0.0, 1.0)).all():
                raise ValueError("X holds other values than 0 and 1: set binarize, above which a column is on")
        else:
            check_number("binarize", self.binarize, least=0)
            X = binarize(X, threshold=self.binarize)
        X = sparse.csr_array(X, dtype=np.int64)
        X.sort_indices()
        X.eliminate_zeros()
        return X

    def _derive_shares(self) -> None:
        self.feature_count_ = self._sums.sums.floats()
        on = np.log(self.feature_count_ + self.alpha)
        self.feature_log_prob_ = on - np.log(self.class_count_ + 2 * self.alpha)[:, None]
