"""Ridge regression that forgets: the Gram matrix of (1, x, y) in integers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.base import MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from expunge.estimators._quadratic import Quadratic
from expunge.estimators._sums import ARGUMENT, Summed, check_number
from expunge.numerics.fixed_point import Wide, gram_changed, quantise, scatter


class ForgettingRidge(RegressorMixin, MultiOutputMixin, Summed):
    """Ridge regression with ``forget(ids)``; its weights are those of scikit-learn's ``Ridge``.

    Args:
        alpha: strength of the penalty: Σ (y − x·w − b)² + alpha ‖w‖², not times the number of rows.
        fit_intercept: add b, which is not penalised.
        standardize: penalise the weights of standardised columns, with deviations that forget too; ``coef_`` is for
            columns as they are given. Equal to a ``StandardScaler`` before ``Ridge``.
        bits: bits after the point of ``X``, one number or one per column; |x| < 2^(50 - bits).
        target_bits: the same for ``y``, one number or one per target.
        keep_rows: keep the rows in fixed point; otherwise a keyed commitment of each, and ``forget`` needs them.

    Attributes:
        coef_: weights [d], or [k, d] for targets [n, k].
        intercept_: b, or [k]; 0.0 without intercept.
    """

    name = "ridge"
    title = "Ridge regression"
    argument = ARGUMENT.format(derived="weights (‖A w − b‖ / ‖b‖ <= 1e-10, rounding as a rule) are")

    def __init__(
        self,
        alpha: float = 1.0,
        *,
        fit_intercept: bool = True,
        standardize: bool = False,
        bits: int | Sequence[int] = 24,
        target_bits: int | Sequence[int] = 24,
        keep_rows: bool = True,
    ) -> None:
        self.alpha = alpha
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.bits = bits
        self.target_bits = target_bits
        self.keep_rows = keep_rows

    def _read(self, X: Any, y: Any, *, first: bool) -> Mapping[str, Any]:
        X, y = validate_data(self, X, y, reset=first, dtype=np.float64, multi_output=True, y_numeric=True)
        check_number("alpha", self.alpha, least=0)
        if self.standardize and not self.fit_intercept:
            raise ValueError("standardize=True needs fit_intercept=True: deviations are taken about the mean")
        targets = y.shape[1:]
        if not first and targets != self._targets:
            raise ValueError(f"y has targets {targets} where {self._targets} were learnt")
        columns = np.asarray(y, dtype=np.float64).reshape(len(y), -1)
        one = np.ones((len(y), 1), np.int64)
        Q = quantise(X, self.bits, names=getattr(self, "feature_names_in_", None), whole=first)
        self._targets = targets
        return {"rows": np.hstack([one, Q, quantise(columns, self.target_bits, what="y", whole=first)])}

    def _empty(self) -> None:
        d, k = self.n_features_in_, int(np.prod(self._targets, dtype=int))
        bits = np.concatenate([[0], np.broadcast_to(self.bits, d), np.broadcast_to(self.target_bits, k)])
        self._unit = np.ldexp(1.0, -bits.astype(np.int32))
        self._gram, self._solved = Wide.zeros(1 + d + k, 1 + d + k), None

    def _add(self, rows: Mapping[str, Any], sign: int) -> None:
        Q, d = rows["rows"], self.n_features_in_
        solved, self._solved = self._solved, None  # what fails from here on is derived anew from the integers
        self._gram = gram_changed(self._gram, Q, sign)
        if solved is not None and 4 * len(Q) <= d:
            real = Q * self._unit
            self._solved = solved if solved.changed(real[:, 1 : 1 + d], real[:, 1 + d :], sign) else None

    def _derive(self) -> None:
        if self._solved is None:
            self._solved = self._solve()
        one = self._solved
        self.coef_ = one.w.T.reshape(*self._targets, -1).copy()
        self.intercept_ = (one.target - one.mean @ one.w).reshape(self._targets)[()] if self.fit_intercept else 0.0

    def _solve(self) -> Quadratic:
        d, G = self.n_features_in_, self._gram
        n = int(G[0, 0].exact())
        unit = self._unit[1:]
        if self.fit_intercept:
            means = (G[0, 1:].exact() / n).astype(np.float64) * unit
            about = scatter(n, G[1:, 1:], G[0, 1:]) * unit[:, None] * unit
        else:
            means = np.zeros(len(unit))
            about = G[1:, 1:].floats() * unit[:, None] * unit
        return Quadratic(
            n,
            means[:d].copy(),
            means[d:].copy(),
            about[:d, :d],
            about[:d, d:].copy(),
            alpha=float(self.alpha),
            centred=self.fit_intercept,
            standardize=self.standardize,
        )

    def predict(self, X: Any) -> np.ndarray:
        """Return the prediction for each row of ``X`` [n, d]: [n], or [n, k]."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64)
        return X @ self.coef_.T + self.intercept_

    def _learnt(self) -> Mapping[str, Any]:
        return {"targets": list(self._targets), "sums": self._gram.limbs}
