"""An axis of a drawing: where a value lies, which places are named, and how they are written."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from expunge.render._numbers import MINUS, SPACE, is_share, plain

_INTERVALS = 5  # ticks are read, not counted: more than six crowd a phone
_NICE = (1.0, 2.0, 5.0, 10.0)


@dataclass(frozen=True)
class Axis:
    """A scale from ``low`` to ``high`` with its named places; ``share`` writes in percent."""

    low: float
    high: float
    ticks: tuple[float, ...]
    log: bool = False
    share: bool = False

    def place(self, value: float) -> float:
        """Return where ``value`` lies, from 0 at the low end to 1; what lies beyond is put at the end."""
        if self.log:
            value = max(value, self.low)  # 0 has no place on a logarithmic axis
            at = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            at = (value - self.low) / (self.high - self.low)
        return min(1.0, max(0.0, at))

    def label(self, value: float) -> str:
        """Return the name of a tick."""
        scale = 100.0 if self.share else 1.0
        return f"{_written(scale * value, scale * self._step(value))}{f'{SPACE}%' if self.share else ''}"

    def _step(self, value: float) -> float:
        if self.log or len(self.ticks) < 2:
            return value
        return self.ticks[1] - self.ticks[0]


def linear(values: Iterable[float], name: str, *, exact: bool = False) -> Axis:
    """Return an axis that holds ``values``; ``exact`` ends where they end, else at round places."""
    found = list(values)
    low, high = min(found), max(found)
    if not exact:
        low = min(low, 0.0)
    if high <= low:
        high = low + 1.0
    step = _round_step((high - low) / _INTERVALS)
    if exact and not is_share(name) and all(value == int(value) for value in found):
        step = max(1.0, step)  # there is no half an epoch
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    if not exact:
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        low, high = first * step, last * step
    return Axis(low, high, tuple(k * step for k in range(first, last + 1)), share=is_share(name))


def logarithmic(values: Iterable[float], name: str) -> Axis:
    """Return a logarithmic axis from the power of ten at or below the least positive value up to the largest."""
    positive = [value for value in values if value > 0]
    high = max(positive, default=1.0)
    least = min(min(positive, default=0.1), high / 10)
    exponent = math.floor(math.log10(least) + 1e-9)
    low = 10.0**exponent
    decades = range(exponent, math.ceil(math.log10(high) + 1e-9) + 1)
    between = (1.0, 2.0, 5.0) if high / low <= 100.0 * (1 + 1e-9) else (1.0,)
    ticks = [factor * 10.0**power for power in decades for factor in between]
    return Axis(
        low, high, tuple(t for t in ticks if low <= t * (1 + 1e-9) and t <= high * (1 + 1e-9)), True, is_share(name)
    )


@dataclass(frozen=True)
class Figures:
    """How a table writes the values of one axis: all with the same decimals, shares in percent."""

    share: bool
    decimals: int

    @classmethod
    def of(cls, values: Iterable[float], name: str, *, fine: bool = False) -> Figures:
        """Return the fewest decimals that change no value; of shares at most one, or two where ``fine``."""
        share = is_share(name)
        scaled = [100.0 * value if share else value for value in values]
        most = (2 if fine else 1) if share else _most(scaled)
        exact = (d for d in range(most) if all(math.isclose(v, round(v, d), abs_tol=1e-9) for v in scaled))
        return cls(share, next(exact, most))

    def write(self, value: float) -> str:
        """Return ``value`` as text."""
        return f"{plain(100.0 * value, self.decimals)}{SPACE}%" if self.share else plain(value, self.decimals)


def _most(values: list[float]) -> int:
    """Return the decimals that give the largest of ``values`` four significant digits."""
    largest = max((abs(value) for value in values), default=0.0)
    return min(6, max(0, 3 - math.floor(math.log10(largest)))) if largest > 0 else 0


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(nice for nice in _NICE if nice * power >= rough * (1 - 1e-9)) * power


def _written(value: float, step: float) -> str:
    """Return a tick as people write it: as it is, else as a multiple of a power of ten."""
    size = max(abs(value), step)
    if step >= 1e-6 and size < 1e6:
        return plain(value, _decimals(step))
    if value == 0.0:
        return "0"
    power = math.floor(math.log10(abs(value)) + 1e-9)
    digits = str(power).replace("-", MINUS).translate(_RAISED)
    return f"{plain(value / 10.0**power, _decimals(step / 10.0**power))}×10{digits}"


_RAISED = str.maketrans(f"0123456789{MINUS}", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


def _decimals(step: float) -> int:
    """Return the decimals that tell multiples of ``step`` apart."""
    return min(6, max(0, -math.floor(math.log10(step) + 1e-9))) if step > 0 else 0
