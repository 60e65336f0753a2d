"""Ridge classifier that forgets: the Gram matrix of (1, x), and counts and sums of each class, as integers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from expunge.estimators._quadratic import Quadratic
from expunge.estimators._sums import ARGUMENT, ByClass, Summed, check_labels, check_number
from expunge.numerics.fixed_point import Wide, gram_changed, quantise, scatter, sums


class ForgettingRidgeClassifier(ClassifierMixin, Summed):
    """Least squares on +1 and -1, one class against the rest, with ``forget(ids)``; as ``RidgeClassifier``.

    One class alone is predicted always.

    Args:
        alpha: strength of the penalty, not times the number of rows.
        fit_intercept: add an intercept, which is not penalised.
        standardize: penalise the weights of standardised columns, with deviations that forget too.
        bits: bits after the point, one number or one per column; |x| < 2^(50 - bits).
        keep_rows: keep the rows in fixed point; otherwise a keyed commitment of each, and ``forget`` needs them.

    Attributes:
        classes_: those that have rows, sorted [k].
        coef_: weights [k, d]; [1, d] for two classes.
        intercept_: [k], or [1].
    """

    name = "ridge_classifier"
    title = "Ridge classifier"
    argument = ARGUMENT.format(derived="weights (‖A w − b‖ / ‖b‖ <= 1e-10, rounding as a rule) are")

    def __init__(
        self,
        alpha: float = 1.0,
        *,
        fit_intercept: bool = True,
        standardize: bool = False,
        bits: int | Sequence[int] = 24,
        keep_rows: bool = True,
    ) -> None:
        self.alpha = alpha
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.bits = bits
        self.keep_rows = keep_rows

    def _read(self, X: Any, y: Any, *, first: bool) -> Mapping[str, Any]:
        X, y = validate_data(self, X, y, reset=first, dtype=np.float64)
        check_number("alpha", self.alpha, least=0)
        if self.standardize and not self.fit_intercept:
            raise ValueError("standardize=True needs fit_intercept=True: deviations are taken about the mean")
        y = check_labels(y, None if first else self._sums)
        Q = quantise(X, self.bits, names=getattr(self, "feature_names_in_", None), whole=first)
        return {"rows": np.hstack([np.ones((len(Q), 1), np.int64), Q]), "y": y}

    def _empty(self) -> None:
        d = self.n_features_in_
        self._unit = np.ldexp(1.0, -np.broadcast_to(self.bits, d).astype(np.int32))
        self._gram, self._sums, self._solved = Wide.zeros(1 + d, 1 + d), ByClass.empty(d), None

    def _add(self, rows: Mapping[str, Any], sign: int) -> None:
        Q, y = rows["rows"], rows["y"]
        changed = self._sums.changed(y, Q[:, 1:], sums, sign)
        same = self._sums.classes.tolist() == changed.classes.tolist()
        solved, self._solved = self._solved, None  # what fails from here on is derived anew from the integers
        self._gram, self._sums = gram_changed(self._gram, Q, sign), changed
        if solved is not None and same and 4 * len(Q) <= self.n_features_in_:
            targets = np.where(y[:, None] == self._positive(), 1.0, -1.0)
            self._solved = solved if solved.changed(Q[:, 1:] * self._unit, targets, sign) else None

    def _positive(self) -> np.ndarray:
        """Return the classes that have weights of their own: of two the second, and of one it."""
        classes = self._sums.classes
        return classes[1:] if len(classes) == 2 else classes

    def _derive(self) -> None:
        if self._solved is None:
            self._solved = self._solve()
        one = self._solved
        self.classes_ = self._sums.classes
        self.coef_ = one.w.T.copy()
        self.intercept_ = one.target - one.mean @ one.w if self.fit_intercept else np.zeros(len(self.coef_))

    def _solve(self) -> Quadratic:
        G, unit, k = self._gram, self._unit, len(self._positive())
        n, s = int(G[0, 0].exact()), G[0, 1:]
        of = self._sums.sums[-k:]
        products = (of + of - Wide(np.broadcast_to(s.limbs[:, None], of.limbs.shape))).T  # Σ x y with y = ±1
        targets = Wide.of(2 * self._sums.counts[-k:] - n)
        if self.fit_intercept:
            mean, target = (s.exact() / n).astype(np.float64) * unit, targets.floats() / n
            C, c = scatter(n, G[1:, 1:], s), scatter(n, products, s, targets)
        else:
            mean, target = np.zeros(len(unit)), np.zeros(k)
            C, c = G[1:, 1:].floats(), products.floats()
        return Quadratic(
            n,
            mean,
            target,
            C * unit[:, None] * unit,
            c * unit[:, None],
            alpha=float(self.alpha),
            centred=self.fit_intercept,
            standardize=self.standardize,
        )

    def decision_function(self, X: Any) -> np.ndarray:
        """Return scores of the rows ``X`` [n, d]: [n, k], or [n] of the second of two classes."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64)
        scores = X @ self.coef_.T + self.intercept_
        return scores[:, 0] if len(self.classes_) == 2 else scores

    def predict(self, X: Any) -> np.ndarray:
        """Return the class of each row of ``X`` [n, d]."""
        scores = self.decision_function(X)
        return self.classes_[(scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(axis=1)]

    def _learnt(self) -> Mapping[str, Any]:
        return {"gram": self._gram.limbs, **self._sums.learnt()}
