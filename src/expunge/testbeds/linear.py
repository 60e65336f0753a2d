"""Linear regression: least squares in closed form."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from expunge.core.testbed import Testbed
from expunge.testbeds._drawn import need, regression
from expunge.testbeds._least_squares import solve


class Linear(Testbed):
    """Least squares with an intercept, 120 records of 5 inputs.

    Attributes:
        x: inputs [120, 5], float64; y: targets [120].
        subjects: whose each record is; records: the same data as :class:`~expunge.data.arrays.ArrayRecords`.
    """

    title = "Linear regression"
    source = "drawn here; the normal equations (Gauss 1809), solved by singular values"

    def __init__(self, *, seed: int = 0) -> None:
        super().__init__(seed=seed)
        self.rows = regression("linear", seed, count=120, dims=5)
        self.x, self.y, self.subjects, self.records = self.rows.x, self.rows.y, self.rows.subjects, self.rows.records

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the records."""
        return self.rows.ids

    def truth(self, forget: Collection[str] = ()) -> dict[str, np.ndarray]:
        """Return ``coef`` [5] and ``intercept`` that minimise ``sum (y - x w - b)^2``, and the ``rank`` of centred x.

        With 5 records or fewer (rank below 5) the minimiser with the least ``||w||``. One record is enough.
        """
        keep = need(self, self.kept(forget), 1)
        return solve(self.x[keep], self.y[keep], penalty=0.0)
