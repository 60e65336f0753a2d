"""What the naive Bayes classifiers over counts share: sparse rows of integers, smoothed shares, priors."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.utils.validation import check_non_negative, validate_data

from expunge.core.errors import UsageError
from expunge.estimators._sums import ByClass, Summed, check_labels, check_number, check_priors
from expunge.numerics.fixed_point import quantise, sums

LEAST_ALPHA = 1e-10  # below, logarithms of what was never seen drown the rest: scikit-learn's own floor


class Discrete(Summed):
    """Sums of non-negative columns by class; rows are sparse, whatever they came as."""

    alpha: float
    fit_prior: bool
    class_prior: Sequence[float] | None

    def _read(self, X: Any, y: Any, *, first: bool) -> Mapping[str, Any]:
        X, y = validate_data(self, X, y, reset=first, dtype=np.float64, accept_sparse="csr")
        check_number("alpha", self.alpha, least=LEAST_ALPHA)
        y = check_labels(y, None if first else self._sums)
        return {"X": self._integers(sparse.csr_array(X), first=first), "y": y}

    @abstractmethod
    def _integers(self, X: sparse.csr_array, *, first: bool) -> sparse.csr_array:
        """Return the counts of each row ([n, d]) as integers; ``first`` lets ``fit`` learn what they are counts of."""

    def _empty(self) -> None:
        self._sums = ByClass.empty(self.n_features_in_)

    def _add(self, rows: Mapping[str, Any], sign: int) -> None:
        changed = self._sums.changed(rows["y"], rows["X"], sums, sign)
        check_priors(self.class_prior, len(changed.classes))
        self._sums = changed

    def _derive(self) -> None:
        self.classes_ = self._sums.classes
        self.class_count_ = self._sums.counts.astype(np.float64)
        self.class_log_prior_ = log_priors(self._sums.counts, self.class_prior, fit=self.fit_prior)
        self._derive_shares()

    @abstractmethod
    def _derive_shares(self) -> None:
        """Derive the share of each feature in each class from the sums."""

    def _learnt(self) -> Mapping[str, Any]:
        return self._sums.learnt()


def log_priors(counts: np.ndarray, given: Sequence[float] | None, *, fit: bool) -> np.ndarray:
    """Return logarithms of the probabilities of classes [k]: those given, their shares, or equal ones."""
    if given is not None:
        with np.errstate(divide="ignore"):  # a prior of 0 rules a class out
            return np.log(np.asarray(given, dtype=np.float64))
    return np.log(counts / counts.sum()) if fit else np.full(len(counts), -np.log(len(counts)))


def fixed(X: sparse.csr_array, bits: int | Sequence[int], names: Sequence[str] | None, *, first: bool) -> Any:
    """Return non-negative sparse rows [n, d] in fixed point, without stored zeros, columns in order."""
    check_non_negative(X, "a count-based naive Bayes (input X)")
    X = X.copy()
    X.sum_duplicates()
    X.sort_indices()
    each = np.broadcast_to(bits, X.shape[1]).astype(np.int32)
    try:
        data = quantise(X.data[None, :], each[X.indices])[0]
    except UsageError:  # said again with the column that it is about
        largest = np.zeros(X.shape[1])
        np.maximum.at(largest, X.indices, X.data)
        column = int(np.ldexp(largest, each).argmax())
        label = [f"column {column}" if names is None else names[column]]
        quantise(X[:, [column]].toarray(), int(each[column]), names=label)
        raise
    Q = sparse.csr_array((data, X.indices, X.indptr), shape=X.shape)
    if first:
        lost = np.flatnonzero(np.bincount(X.indices, X.data != 0, X.shape[1]) * (Q.sum(axis=0) == 0))
        if len(lost):
            label = [f"column {lost[0]}" if names is None else names[lost[0]]]
            quantise(X[:, lost[:1]].toarray(), int(each[lost[0]]), names=label, whole=True)
    Q.eliminate_zeros()
    return Q
