"""How numbers are written: fixed formats, sensible digits, a real minus sign, shares in percent."""

from __future__ import annotations

import math
from dataclasses import dataclass

from expunge.core.report import Finding

SPACE = "\u00a0"  # keeps a number and its unit on one line
MINUS = "\u2212"
NONE = "not\u00a0known"


def plain(value: float, decimals: int) -> str:
    """Return ``value`` with thousands separated, a real minus sign, and never a negative zero."""
    if not math.isfinite(value):
        return NONE if math.isnan(value) else ("∞" if value > 0 else f"{MINUS}∞")
    written = f"{abs(value):,.{decimals}f}"
    zero = float(written.replace(",", "")) == 0.0
    return written if value >= 0 or zero else MINUS + written


def signed(value: float, decimals: int) -> str:
    """Return :func:`plain` with a plus sign before what is above zero."""
    written = plain(value, decimals)
    return f"+{written}" if value > 0 and written != plain(0.0, decimals) else written


def count(value: float) -> str:
    """Return a number of things."""
    return plain(value, 0)


def many(value: float, one: str, more: str = "") -> str:
    """Return ``1 record``, ``2 records``."""
    return f"{count(value)}{SPACE}{one if value == 1 else more or one + 's'}"


def percent(share: float | None) -> str:
    """Return a share of a cost in percent: whole above 10 %, one decimal below, never a false zero."""
    if share is None:
        return NONE
    if 0.0 < share < 0.0005:
        return f"under{SPACE}0.1{SPACE}%"
    return f"{plain(100.0 * share, 0 if share >= 0.1 or share == 0.0 else 1)}{SPACE}%"


def retrainings(share: float | None) -> str:
    """Return a share of one retraining in words: ``34 % of`` or ``25.7 times one retraining``."""
    if share is None:
        return NONE
    if share >= 2.0:
        return f"{plain(share, 1 if share < 100.0 else 0)} times one retraining"
    return f"{percent(share)} of one retraining"


def chance(probability: float) -> str:
    """Return a probability in whole percent that never claims certainty."""
    if 0.995 <= probability:
        return f"over{SPACE}99{SPACE}%"
    if probability < 0.005:
        return f"under{SPACE}1{SPACE}%"
    return f"{plain(100.0 * probability, 0)}{SPACE}%"


def confidence(level: float) -> str:
    """Return a confidence level with as many decimals as its distance from 100 % needs (95 %, 98.75 %)."""
    return _percent_near(100.0 * level, distance=100.0 - 100.0 * level)


def error_rate(alpha: float) -> str:
    """Return a small error rate in percent (2.5 %, 0.625 %)."""
    return _percent_near(100.0 * alpha, distance=100.0 * alpha)


def _percent_near(value: float, *, distance: float) -> str:
    for decimals in range(9):
        if abs(float(f"{value:.{decimals}f}") - value) <= 0.005 * abs(distance):
            break
    return f"{plain(value, decimals)}{SPACE}%"


@dataclass(frozen=True)
class Scale:
    """How the figures of one check are written: all with the same digits, shares in percent."""

    unit: str
    decimals: int

    @classmethod
    def of(cls, *findings: Finding) -> Scale:
        """Return a scale fine enough to show on which side of the margin every bound lies."""
        units = [getattr(finding.result, "unit", "") for finding in findings]
        unit = next((unit for unit in units if unit), "")
        factor = 100.0 if is_share(unit) else 1.0
        margin = factor * min((finding.margin for finding in findings), default=0.0)
        needed = max(1 if is_share(unit) else 0, 1 - math.floor(math.log10(margin)) if margin > 0 else 3)
        decimals = min(needed, 6)
        while decimals < 6 and not all(_sides_show(finding, factor, decimals) for finding in findings):
            decimals += 1
        return cls(unit, decimals)

    @property
    def step_unit(self) -> str:
        """The unit of a difference: percentage points for shares."""
        return "points" if is_share(self.unit) or self.unit == "%" else self.unit

    def value(self, value: float) -> str:
        """Return a value with its unit, e.g. ``61.3 %``."""
        return f"{self._plain(value)}{SPACE}{self._unit()}".rstrip(SPACE)

    def values(self, low: float, high: float) -> str:
        """Return a range of values with their unit, e.g. ``59.8 to 62.0 %``."""
        return f"{self._plain(low)} to {self.value(high)}"

    def step(self, value: float) -> str:
        """Return a signed difference with its unit, e.g. ``+0.4 points``."""
        return f"{self.bare_step(value)}{SPACE}{self.step_unit}".rstrip(SPACE)

    def steps(self, low: float, high: float) -> str:
        """Return a range of differences with their unit, e.g. ``−1.2 to +2.0 points``."""
        return f"{self.bare_steps(low, high)}{SPACE}{self.step_unit}".rstrip(SPACE)

    def bare_steps(self, low: float, high: float) -> str:
        """Return a range of differences without their unit.

        Two shares are never further apart than all and nothing: what so few references allow beyond that is left out.
        """
        if is_share(self.unit) or self.unit in _UP_TO_ONE:
            low, high = max(-1.0, low), min(1.0, high)
        return f"{self.bare_step(low)} to {self.bare_step(high)}"

    def margin(self, margin: float) -> str:
        """Return a margin, e.g. ``±3.0 points``."""
        return f"{self.bare_margin(margin)}{SPACE}{self.step_unit}".rstrip(SPACE)

    def size(self, value: float) -> str:
        """Return an unsigned difference with its unit, e.g. ``2.4 points``."""
        return f"{self._plain(abs(value))}{SPACE}{self.step_unit}".rstrip(SPACE)

    def bare_step(self, value: float) -> str:
        """Return a signed difference without its unit."""
        return signed(self._factor() * value, self.decimals)

    def bare_margin(self, margin: float) -> str:
        """Return a margin without its unit."""
        return f"±{self._plain(margin)}"

    def _plain(self, value: float) -> str:
        return plain(self._factor() * value, self.decimals)

    def _factor(self) -> float:
        return 100.0 if is_share(self.unit) else 1.0

    def _unit(self) -> str:
        return "%" if is_share(self.unit) else self.unit


_UP_TO_ONE = ("AUC", "probability")
"""Units of numbers between 0 and 1 that are not written in percent."""


def is_share(unit: str) -> bool:
    return unit == "share" or unit.startswith("share of ")


def _sides_show(finding: Finding, factor: float, decimals: int) -> bool:
    """Return whether rounding keeps every bound on its side of the margin."""
    intervals = [interval for interval in (finding.narrow, finding.wide) if interval is not None]
    margin = round(factor * finding.margin, decimals)
    return all(
        (abs(bound) <= finding.margin) == (abs(round(factor * bound, decimals)) <= margin)
        for interval in intervals
        for bound in (interval.low, interval.high)
    )
