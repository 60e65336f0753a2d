"""Gaussian naive Bayes that forgets: counts, sums and sums of squares of each class, as integers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.naive_bayes import GaussianNB
from sklearn.utils.validation import validate_data

from expunge.estimators._sums import ARGUMENT, ByClass, Summed, check_labels, check_number, check_priors, moments
from expunge.numerics.fixed_point import quantise, spread


class ForgettingGaussianNB(Summed, GaussianNB):
    """scikit-learn's ``GaussianNB`` with ``forget(ids)``; predicts with its code.

    Args:
        priors: probabilities of the classes [k], in sorted order; by default their shares.
        var_smoothing: share of the largest variance of a column that is added to all variances; where no column
            varies, the share itself is added.
        bits: bits after the point, one number or one per column; |x| < 2^(50 - bits).
        keep_rows: keep the rows in fixed point; otherwise a keyed commitment of each, and ``forget`` needs them.

    Attributes ``classes_``, ``class_count_``, ``class_prior_``, ``theta_``, ``var_``, ``epsilon_`` are scikit-learn's.
    """

    name = "gaussian_nb"
    title = "Gaussian naive Bayes"
    argument = ARGUMENT.format(derived="means and variances are")

    def __init__(
        self,
        *,
        priors: Sequence[float] | None = None,
        var_smoothing: float = 1e-9,
        bits: int | Sequence[int] = 24,
        keep_rows: bool = True,
    ) -> None:
        self.priors = priors
        self.var_smoothing = var_smoothing
        self.bits = bits
        self.keep_rows = keep_rows

    def _read(self, X: Any, y: Any, *, first: bool) -> Mapping[str, Any]:
        X, y = validate_data(self, X, y, reset=first, dtype=np.float64)
        check_number("var_smoothing", self.var_smoothing, least=0)
        y = check_labels(y, None if first else self._sums)
        return {"X": quantise(X, self.bits, names=getattr(self, "feature_names_in_", None), whole=first), "y": y}

    def _empty(self) -> None:
        self._sums = ByClass.empty(2 * self.n_features_in_)

    def _add(self, rows: Mapping[str, Any], sign: int) -> None:
        changed = self._sums.changed(rows["y"], rows["X"], moments, sign)
        check_priors(self.priors, len(changed.classes))
        self._sums = changed

    def _derive(self) -> None:
        d, counts = self.n_features_in_, self._sums.counts
        summed, squared = self._sums.sums[:, :d], self._sums.sums[:, d:]
        n, scale = int(counts.sum()), -np.asarray(self.bits)
        total = spread(n, squared.total(), summed.total())
        self.epsilon_ = float(self.var_smoothing * (np.ldexp(total, 2 * scale).max() or 1.0))
        self.classes_ = self._sums.classes
        self.class_count_ = counts.astype(np.float64)
        self.class_prior_ = counts / n if self.priors is None else np.asarray(self.priors, dtype=np.float64)
        self.theta_ = np.ldexp((summed.exact() / counts.astype(object)[:, None]).astype(np.float64), scale)
        self.var_ = np.ldexp(spread(counts[:, None], squared, summed), 2 * scale) + self.epsilon_

    def _learnt(self) -> Mapping[str, Any]:
        return self._sums.learnt()
