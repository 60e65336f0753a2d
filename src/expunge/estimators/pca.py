"""Principal components that forget: sums and the Gram matrix of the columns, as integers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.decomposition import PCA
from sklearn.utils.validation import validate_data

from expunge.estimators._sums import ARGUMENT, Summed, check_number
from expunge.numerics.fixed_point import Wide, gram, quantise, scatter


class ForgettingPCA(Summed, PCA):
    """scikit-learn's ``PCA`` (solver "covariance_eigh") with ``forget(ids)``; transforms with its code.

    Each component has its largest loading positive. Components of equal variance are a subspace: which of its bases
    one gets depends on rounding.

    Args:
        n_components: how many; a share in (0, 1) of the variance that they explain; None: as many as there can be.
            Never more than rows and columns, also when rows are forgotten.
        whiten: scale the components to variance 1.
        bits: bits after the point, one number or one per column; |x| < 2^(50 - bits).
        keep_rows: keep the rows in fixed point; otherwise a keyed commitment of each, and ``forget`` needs them.

    Attributes ``components_``, ``explained_variance_``, ``explained_variance_ratio_``, ``singular_values_``,
    ``mean_``, ``n_components_``, ``n_samples_``, ``noise_variance_`` are scikit-learn's.
    """

    name = "pca"
    title = "Principal component analysis"
    argument = ARGUMENT.format(derived="components and variances are")
    svd_solver = "covariance_eigh"

    def __init__(
        self,
        n_components: int | float | None = None,
        *,
        whiten: bool = False,
        bits: int | Sequence[int] = 24,
        keep_rows: bool = True,
    ) -> None:
        self.n_components = n_components
        self.whiten = whiten
        self.bits = bits
        self.keep_rows = keep_rows

    def _read(self, X: Any, y: Any, *, first: bool) -> Mapping[str, Any]:
        X = validate_data(self, X, reset=first, dtype=np.float64)
        if self.n_components is not None:
            check_number("n_components", self.n_components, least=0, most=self.n_features_in_)
            if not 0 < self.n_components < 1 and self.n_components not in range(1, self.n_features_in_ + 1):
                raise ValueError(f"n_components is {self.n_components!r}; it takes a whole number, or a share below 1")
        Q = quantise(X, self.bits, names=getattr(self, "feature_names_in_", None), whole=first)
        return {"rows": np.hstack([np.ones((len(Q), 1), np.int64), Q])}

    def _empty(self) -> None:
        self._gram = Wide.zeros(1 + self.n_features_in_, 1 + self.n_features_in_)

    def _add(self, rows: Mapping[str, Any], sign: int) -> None:
        self._gram = self._gram.signed(gram(rows["rows"]), sign)

    def _derive(self) -> None:
        G, d, scale = self._gram, self.n_features_in_, -np.broadcast_to(self.bits, self.n_features_in_)
        n = int(G[0, 0].exact())
        self.n_samples_ = n
        self.mean_ = np.ldexp((G[0, 1:].exact() / n).astype(np.float64), scale)
        covariance = np.ldexp(scatter(n, G[1:, 1:], G[0, 1:]), scale[:, None] + scale) / max(n - 1, 1)
        values, vectors = np.linalg.eigh(covariance)
        values, vectors = np.maximum(values[::-1], 0.0), vectors.T[::-1]
        vectors = vectors * np.where(vectors[np.arange(d), np.abs(vectors).argmax(axis=1)] < 0, -1.0, 1.0)[:, None]
        total, most = values.sum(), min(n, d)
        share = values / total if total else np.zeros(d)
        self.n_components_ = k = self._chosen(share, most)
        self.components_ = vectors[:k].copy()
        self.explained_variance_ = values[:k].copy()
        self.explained_variance_ratio_ = share[:k].copy()
        self.singular_values_ = np.sqrt(values[:k] * (n - 1))
        self.noise_variance_ = float(values[k:most].mean()) if k < most else 0.0

    def _chosen(self, share: np.ndarray, most: int) -> int:
        if self.n_components is None:
            return most
        if self.n_components < 1:
            return min(int(np.searchsorted(np.cumsum(share), self.n_components, side="right")) + 1, most)
        return min(int(self.n_components), most)

    def fit_transform(self, X: Any, y: Any = None, sample_ids: Sequence[Any] | None = None) -> Any:
        """Fit, and return ``X`` transformed [n, k]."""
        return self.fit(X, y, sample_ids=sample_ids).transform(X)

    def _learnt(self) -> Mapping[str, Any]:
        return {"sums": self._gram.limbs}

    def __sklearn_tags__(self) -> Any:
        """Return scikit-learn's tags: rows are dense, answers float64."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = False
        tags.transformer_tags.preserves_dtype = ["float64"]
        return tags
