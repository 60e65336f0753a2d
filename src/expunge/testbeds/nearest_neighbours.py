"""Nearest neighbours: votes at fixed queries, on a grid that is full of ties."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

import numpy as np

from expunge.core.testbed import Testbed
from expunge.testbeds._drawn import Rows, generator, need


class NearestNeighbours(Testbed):
    """Five nearest neighbours of 40 queries among 90 records of three classes, all on an integer grid.

    Distances are Euclidean; their squares are small integers, so ties are exact and frequent. Of records at one
    distance the one with the smaller id is nearer; of classes with one number of votes the smallest wins. Places
    of records decide nothing.

    Attributes:
        x: inputs [90, 2], float64; y: labels [90] in 0..2; q: queries [40, 2].
        subjects: whose each record is; records: the same data as :class:`~expunge.data.arrays.ArrayRecords`.
    """

    title = "Nearest neighbours"
    source = "drawn here; Cover and Hart 1967, IEEE Transactions on Information Theory 13(1)"
    neighbours: ClassVar[int] = 5

    def __init__(self, *, seed: int = 0) -> None:
        super().__init__(seed=seed)
        draw = generator(seed, "nearest_neighbours")
        y = draw.integers(0, 3, 90)
        x = np.rint(np.array([[3.0, 4.0], [6.0, 3.0], [5.0, 6.0]])[y] + 2.0 * draw.normal(size=(90, 2)))
        self.rows = Rows(draw, x, y)
        self.x, self.y, self.subjects, self.records = self.rows.x, self.rows.y, self.rows.subjects, self.rows.records
        self.q = draw.integers(0, 10, size=(40, 2)).astype(float)
        self.q.setflags(write=False)

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the records."""
        return self.rows.ids

    def truth(self, forget: Collection[str] = ()) -> dict[str, np.ndarray]:
        """Return ``neighbours`` [40, 5], ids from the nearest on, and ``labels`` [40], their vote."""
        keep = need(self, self.kept(forget), self.neighbours)
        keep.sort(key=self.ids.__getitem__)
        x, y, names = self.x[keep], self.y[keep], np.array(self.ids)[keep]
        distance = ((self.q[:, None] - x[None]) ** 2).sum(axis=2)
        nearest = np.argsort(distance, axis=1, kind="stable")[:, : self.neighbours]  # stable: ids are in order
        votes = (y[nearest][:, :, None] == np.arange(3)).sum(axis=1)
        return {"neighbours": names[nearest], "labels": votes.argmax(axis=1)}
