"""Linear discriminant analysis that forgets: one Gram matrix, and counts and sums of each class, as integers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.utils.validation import validate_data

from expunge.estimators._sums import ARGUMENT, ByClass, Summed, check_labels, check_number, check_priors
from expunge.numerics.fixed_point import Wide, gram, quantise, sums, within


class ForgettingLinearDiscriminant(Summed, LinearDiscriminantAnalysis):
    """scikit-learn's ``LinearDiscriminantAnalysis`` (solver "svd") with ``forget(ids)``; predicts with its code.

    The solver works on the covariance within classes, taken exactly from the sums, where scikit-learn's decomposes the
    rows. Where rows do not vary within classes, classes are predicted by their probabilities.

    Args:
        priors: probabilities of the classes [k], in sorted order; by default their shares.
        n_components: columns that ``transform`` gives at most; there are min(k - 1, d).
        tol: directions that vary less than this, in deviations of standardised columns, are left out; at least 1e-6.
        bits: bits after the point, one number or one per column; |x| < 2^(50 - bits).
        keep_rows: keep the rows in fixed point; otherwise a keyed commitment of each, and ``forget`` needs them.

    Attributes ``classes_``, ``coef_``, ``intercept_``, ``means_``, ``priors_``, ``scalings_``, ``xbar_``,
    ``explained_variance_ratio_`` are scikit-learn's.
    """

    name = "linear_discriminant"
    title = "Linear discriminant analysis"
    argument = ARGUMENT.format(derived="directions and weights are")
    solver = "svd"

    def __init__(
        self,
        *,
        priors: Sequence[float] | None = None,
        n_components: int | None = None,
        tol: float = 1e-4,
        bits: int | Sequence[int] = 24,
        keep_rows: bool = True,
    ) -> None:
        self.priors = priors
        self.n_components = n_components
        self.tol = tol
        self.bits = bits
        self.keep_rows = keep_rows

    def _read(self, X: Any, y: Any, *, first: bool) -> Mapping[str, Any]:
        X, y = validate_data(self, X, y, reset=first, dtype=np.float64)
        check_number("tol", self.tol, least=1e-6, most=1)  # the square of less is rounding in a covariance
        if self.n_components is not None:
            check_number("n_components", self.n_components, least=1, most=self.n_features_in_)
        y = check_labels(y, None if first else self._sums)
        return {"X": quantise(X, self.bits, names=getattr(self, "feature_names_in_", None), whole=first), "y": y}

    def _empty(self) -> None:
        d = self.n_features_in_
        self._gram, self._sums = Wide.zeros(d, d), ByClass.empty(d)

    def _add(self, rows: Mapping[str, Any], sign: int) -> None:
        changed = self._sums.changed(rows["y"], rows["X"], sums, sign)
        check_priors(self.priors, len(changed.classes))
        self._gram, self._sums = self._gram.signed(gram(rows["X"]), sign), changed

    def _derive(self) -> None:
        counts, summed = self._sums.counts, self._sums.sums
        n, k, scale = int(counts.sum()), len(counts), -np.broadcast_to(self.bits, self.n_features_in_)
        self.classes_ = self._sums.classes
        self.priors_ = counts / n if self.priors is None else np.asarray(self.priors, dtype=np.float64)
        self.means_ = np.ldexp((summed.exact() / counts.astype(object)[:, None]).astype(np.float64), scale)
        self.xbar_ = self.priors_ @ self.means_

        scatter = np.ldexp(within(counts, self._gram, summed), scale[:, None] + scale) / n
        deviation = np.sqrt(scatter.diagonal())
        deviation[deviation == 0] = 1.0
        values, vectors = np.linalg.eigh(scatter / deviation[:, None] / deviation)
        used = (values > self.tol**2)[::-1]
        white = (vectors[:, ::-1] / deviation[:, None])[:, used] / np.sqrt(values[::-1][used])

        apart = self.means_ - self.xbar_
        weight = np.sqrt(n * self.priors_ / max(k - 1, 1))
        _, S, Vt = np.linalg.svd((weight[:, None] * apart) @ white, full_matrices=False)
        most = min(k - 1, self.n_features_in_)
        self._max_components = most if self.n_components is None else min(self.n_components, most)
        total = (S**2).sum()
        self.explained_variance_ratio_ = (S**2 / total if total else S)[: self._max_components]
        self.scalings_ = white @ Vt[S > self.tol * S.max(initial=0)].T
        at = apart @ self.scalings_
        with np.errstate(divide="ignore"):  # a prior of 0 rules a class out
            intercept = np.log(self.priors_) - 0.5 * (at**2).sum(axis=1)
        coef = at @ self.scalings_.T
        intercept = intercept - self.xbar_ @ coef.T
        if k == 2:
            coef, intercept = coef[1:] - coef[:1], intercept[1:] - intercept[:1]
        self.coef_, self.intercept_ = coef, intercept
        self._n_features_out = self._max_components

    def _learnt(self) -> Mapping[str, Any]:
        return {"gram": self._gram.limbs, **self._sums.learnt()}
