"""A chart as data: what a check would draw, aggregated so that no single record can be read from it."""

from __future__ import annotations

import enum
from dataclasses import dataclass

FEWEST = 10
"""Records below which no chart is made: a step of a curve over fewer could be one person's value."""


class Role(enum.Enum):
    """Whose numbers a series shows; it decides how the series is drawn, on every page alike."""

    SUBJECT = "the model under audit"
    ORIGINAL = "the original"
    REFERENCES = "retrained models"
    NULL = "were nothing to be found"


@dataclass(frozen=True, kw_only=True)
class Series:
    """One line of a chart.

    Attributes:
        role: whose numbers these are.
        x: places, increasing; for a histogram the edges of the bins, one more than ``y``.
        y: values; of the references their mean.
        low / high: lowest and highest over the references at each place; empty for a single model.
    """

    role: Role
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Chart:
    """What to draw, without how.

    Attributes:
        title: what is shown.
        x / y: what the axes measure, with unit.
        histogram: whether ``x`` holds bin edges.
        log: whether both axes are logarithmic.
        n: records that went into it.
        note: how to read it, or what cannot be read from it.
    """

    title: str
    x: str
    y: str
    series: tuple[Series, ...]
    histogram: bool = False
    log: bool = False
    n: int
    note: str = ""

    def __post_init__(self) -> None:
        """Check that the series fit their axes."""
        for line in self.series:
            assert len(line.x) == len(line.y) + self.histogram, (self.title, line.role, len(line.x), len(line.y))
            assert len(line.low) == len(line.high), (self.title, line.role)
            assert len(line.low) in (0, len(line.y)), (self.title, line.role)
