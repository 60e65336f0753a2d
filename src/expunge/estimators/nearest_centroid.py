"""Nearest centroid that forgets: counts, sums and sums of squares of each class, as integers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.neighbors import NearestCentroid
from sklearn.utils.validation import validate_data

from expunge.estimators._sums import ARGUMENT, ByClass, Summed, check_labels, check_number, check_priors, moments
from expunge.numerics.fixed_point import quantise, within


class ForgettingNearestCentroid(Summed, NearestCentroid):
    """scikit-learn's ``NearestCentroid``, Euclidean, with ``forget(ids)``; predicts with its code.

    One class alone is predicted always, and columns that do not vary within classes are compared as they are.

    Args:
        shrink_threshold: how far centroids are shrunken towards the overall one, in deviations; None: not at all.
        priors: ``"uniform"``, ``"empirical"``, or probabilities of the classes [k], in sorted order.
        bits: bits after the point, one number or one per column; |x| < 2^(50 - bits).
        keep_rows: keep the rows in fixed point; otherwise a keyed commitment of each, and ``forget`` needs them.

    Attributes ``classes_``, ``centroids_``, ``class_prior_``, ``within_class_std_dev_``, ``deviations_`` are
    scikit-learn's.
    """

    name = "nearest_centroid"
    title = "Nearest centroid"
    argument = ARGUMENT.format(derived="centroids and deviations are")
    metric = "euclidean"

    def __init__(
        self,
        *,
        shrink_threshold: float | None = None,
        priors: str | Sequence[float] = "uniform",
        bits: int | Sequence[int] = 24,
        keep_rows: bool = True,
    ) -> None:
        self.shrink_threshold = shrink_threshold
        self.priors = priors
        self.bits = bits
        self.keep_rows = keep_rows

    def _read(self, X: Any, y: Any, *, first: bool) -> Mapping[str, Any]:
        X, y = validate_data(self, X, y, reset=first, dtype=np.float64)
        if self.shrink_threshold is not None:
            check_number("shrink_threshold", self.shrink_threshold, least=0)
        if isinstance(self.priors, str) and self.priors not in ("uniform", "empirical"):
            raise ValueError(f"priors is {self.priors!r}; it takes 'uniform', 'empirical', or probabilities")
        y = check_labels(y, None if first else self._sums)
        return {"X": quantise(X, self.bits, names=getattr(self, "feature_names_in_", None), whole=first), "y": y}

    def _empty(self) -> None:
        self._sums = ByClass.empty(2 * self.n_features_in_)

    def _add(self, rows: Mapping[str, Any], sign: int) -> None:
        changed = self._sums.changed(rows["y"], rows["X"], moments, sign)
        check_priors(None if isinstance(self.priors, str) else self.priors, len(changed.classes))
        self._sums = changed

    def _derive(self) -> None:
        d, counts = self.n_features_in_, self._sums.counts
        summed, squared = self._sums.sums[:, :d], self._sums.sums[:, d:]
        n, k, scale = int(counts.sum()), len(counts), -np.asarray(self.bits)
        self.classes_ = self._sums.classes
        if isinstance(self.priors, str):
            self.class_prior_ = counts / n if self.priors == "empirical" else np.full(k, 1 / k)
        else:
            self.class_prior_ = np.asarray(self.priors, dtype=np.float64)
        about = np.ldexp(within(counts, squared.total(), summed), 2 * scale)
        self.within_class_std_dev_ = deviation = np.sqrt(about / max(n - k, 1))
        centroids = np.ldexp((summed.exact() / counts.astype(object)[:, None]).astype(np.float64), scale)
        overall = np.ldexp((summed.total().exact() / n).astype(np.float64), scale)
        unit = np.sqrt(1 / counts - 1 / n)[:, None] * (deviation + np.median(deviation))
        apart = centroids - overall
        self.deviations_ = np.divide(apart, unit, out=np.zeros_like(apart), where=unit > 0)
        if self.shrink_threshold:
            left = np.maximum(np.abs(self.deviations_) - self.shrink_threshold, 0)
            self.deviations_ = np.sign(self.deviations_) * left
            centroids = np.where(unit > 0, overall + unit * self.deviations_, centroids)
        self.centroids_ = centroids

    def _learnt(self) -> Mapping[str, Any]:
        return self._sums.learnt()

    def __sklearn_tags__(self) -> Any:
        """Return scikit-learn's tags: rows are dense."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = False
        return tags
