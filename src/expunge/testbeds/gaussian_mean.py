"""Gaussian mean: mean and covariance of points that lie far from zero."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from expunge.core.testbed import Testbed
from expunge.testbeds._drawn import Rows, generator, need


class GaussianMean(Testbed):
    """The maximum-likelihood Gaussian of 80 points in 4 dimensions.

    One coordinate lies at 10^6 with standard deviation 1: a covariance from sums of squares loses some 12 of its
    16 digits there.

    Attributes:
        x: points [80, 4], float64; subjects: whose each point is.
    """

    title = "Mean and covariance of a Gaussian"
    source = "drawn here; maximum likelihood (Anderson, Multivariate Statistical Analysis, 3rd ed., theorem 3.2.1)"

    def __init__(self, *, seed: int = 0) -> None:
        super().__init__(seed=seed)
        draw = generator(seed, "gaussian_mean")
        points = draw.normal(size=(80, 4)) @ draw.normal(size=(4, 4)) + np.array([0.0, 3.0, -20.0, 1e6])
        self.rows = Rows(draw, points, np.zeros(80))
        self.x, self.subjects = self.rows.x, self.rows.subjects

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the records."""
        return self.rows.ids

    def truth(self, forget: Collection[str] = ()) -> dict[str, np.ndarray]:
        """Return ``mean`` [4] and ``covariance`` [4, 4] divided by n (ddof 0), in two passes. One record is enough."""
        x = self.x[need(self, self.kept(forget), 1)]
        mean = x.mean(axis=0)
        return {"mean": mean, "covariance": (x - mean).T @ (x - mean) / len(x)}
