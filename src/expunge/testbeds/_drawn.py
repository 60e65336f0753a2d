"""What test beds share when they draw their data: generators, names, subjects, copies, and the refusal of too few."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from expunge.core.digest import keyed_int
from expunge.core.errors import UsageError
from expunge.core.testbed import Testbed
from expunge.data.arrays import ArrayRecords

_PEOPLE = 3
"""Records per subject, on average."""
COPIES = 4
"""Records that are exact copies of earlier ones: deleting one must leave the other."""


class Rows:
    """A table drawn once: inputs ``x`` [n, d] and targets ``y`` [n], read-only; ids and subjects [n].

    The last :data:`COPIES` rows repeat the first ones, under ids of their own. Ids are in no order, so that a
    result that depends on places shows.
    """

    def __init__(self, draw: np.random.Generator, x: np.ndarray, y: np.ndarray) -> None:
        count = len(x)
        x[-COPIES:], y[-COPIES:] = x[:COPIES], y[:COPIES]
        x.setflags(write=False)
        y.setflags(write=False)
        self.x, self.y = x, y
        self.ids = tuple(f"row-{number:03d}" for number in draw.permutation(count))
        self.subjects = tuple(f"person-{who:02d}" for who in draw.integers(0, count // _PEOPLE, count))

    @cached_property
    def records(self) -> ArrayRecords:
        """The rows as records."""
        return ArrayRecords(self.x, self.y, ids=self.ids, subjects=self.subjects)


def generator(seed: int, name: str) -> np.random.Generator:
    """Return the generator of one test bed: the same seed gives other numbers to another bed."""
    return np.random.default_rng([seed, keyed_int(b"expunge test bed", name) % 2**32])


def regression(name: str, seed: int, *, count: int, dims: int) -> Rows:
    """Draw inputs that lie far from zero and have one nearly redundant column, and noisy linear targets."""
    draw = generator(seed, name)
    x = draw.normal(size=(count, dims)) + draw.normal(scale=3.0, size=dims)
    x[:, -1] = x[:, 0] + 0.05 * x[:, -1]
    y = x @ draw.normal(size=dims) + 2.0 + 0.5 * draw.normal(size=count)
    return Rows(draw, x, y)


def clusters(name: str, seed: int, *, count: int, holdout: int, dims: int, classes: int) -> tuple[Rows, ArrayRecords]:
    """Draw overlapping Gaussian clusters, one per class, ``holdout`` records apart; each row has length 1."""
    draw = generator(seed, name)
    y = draw.integers(0, classes, count + holdout)
    x = draw.normal(size=(classes, dims))[y] + 0.7 * draw.normal(size=(len(y), dims))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    apart = ArrayRecords(x[count:], y[count:], ids=[f"held-out-{i:03d}" for i in range(holdout)])
    return Rows(draw, x[:count], y[:count]), apart


def need(bed: Testbed, keep: list[int], least: int) -> list[int]:
    """Return ``keep`` if it has ``least`` records.

    Raises:
        UsageError: it has fewer.
    """
    if len(keep) < least:
        raise UsageError(
            "too few records remain for an answer",
            where=f"test bed {bed.name}",
            found=f"{len(keep)} of {len(bed.ids)} remain",
            expected=f"at least {least}",
            fix="forget fewer",
        )
    return keep
