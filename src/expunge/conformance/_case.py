"""Cases: one promise of a contract each, tried on one class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


class Violation(Exception):
    """The class breaks the promise; the text says what was seen."""


class NotApplicable(Exception):
    """The promise has nothing to be tried on here; the text says why."""


@dataclass(frozen=True)
class Case:
    """One promise.

    Attributes:
        name: the function's name; an exemption names it.
        promise: what holds, one sentence.
        catches: mistakes of published code that break it, by their number in the documentation (``G-1`` ...).
        run: raises :class:`Violation` or :class:`NotApplicable`; any other error is a failure too.
    """

    name: str
    promise: str
    catches: tuple[str, ...]
    run: Callable[[type], None]


class Suite(list[Case]):
    """The cases of one contract, in order."""

    def case(self, *catches: str) -> Callable[[Callable[[type], None]], Callable[[type], None]]:
        """Add the decorated function; its docstring is the promise."""

        def add(function: Callable[[type], None]) -> Callable[[type], None]:
            assert function.__doc__, function.__name__
            promise = " ".join(function.__doc__.split())
            self.append(Case(function.__name__, promise, catches, function))
            return function

        return add


def require(holds: Any, seen: str) -> None:
    """Raise :class:`Violation` with what was seen, unless it ``holds``."""
    if not holds:
        raise Violation(seen)
