"""Ridge regression: penalised least squares in closed form."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

import numpy as np

from expunge.core.testbed import Testbed
from expunge.testbeds._drawn import need, regression
from expunge.testbeds._least_squares import solve


class Ridge(Testbed):
    """Ridge with an intercept, 60 records of 20 inputs: from 20 records on, the penalty decides.

    The objective is ``sum (y - x w - b)^2 + penalty ||w||^2``: a sum, so that a deletion does not change the
    weight of the penalty; b is not penalised.

    Attributes:
        x: inputs [60, 20], float64; y: targets [60].
        subjects: whose each record is; records: the same data as :class:`~expunge.data.arrays.ArrayRecords`.
    """

    title = "Ridge regression"
    source = "drawn here; Hoerl and Kennard 1970, Technometrics 12(1), eq. 2.1"
    penalty: ClassVar[float] = 2.0

    def __init__(self, *, seed: int = 0) -> None:
        super().__init__(seed=seed)
        self.rows = regression("ridge", seed, count=60, dims=20)
        self.x, self.y, self.subjects, self.records = self.rows.x, self.rows.y, self.rows.subjects, self.rows.records

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the records."""
        return self.rows.ids

    def truth(self, forget: Collection[str] = ()) -> dict[str, np.ndarray]:
        """Return ``coef`` [20] and ``intercept`` of the minimiser, and the ``rank`` of centred x.

        One record is enough: ``coef`` is then 0.
        """
        keep = need(self, self.kept(forget), 1)
        return solve(self.x[keep], self.y[keep], penalty=self.penalty)
