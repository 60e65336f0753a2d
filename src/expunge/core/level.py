"""The one ordered scale of promises, for the guarantee of a method and for the claim of a certificate."""

from __future__ import annotations

import enum
import functools


@functools.total_ordering
class Level(enum.Enum):
    """``bitwise > exact > certified > audited > suppressed``; compares by strength."""

    BITWISE = "bitwise"
    EXACT = "exact"
    CERTIFIED = "certified"
    AUDITED = "audited"
    SUPPRESSED = "suppressed"

    @property
    def strength(self) -> int:
        """Return 5 for the strongest level down to 1."""
        return 5 - list(Level).index(self)

    @property
    def stands_alone(self) -> bool:
        """Return whether the level rests on evidence of its own, not on the audit's verdict."""
        return self >= Level.CERTIFIED

    def __lt__(self, other: object) -> bool:
        """Return whether this level promises less."""
        return self.strength < other.strength if isinstance(other, Level) else NotImplemented


PROMISES = {
    Level.BITWISE: "equals, byte for byte, what the same training run or fit gives without the records",
    Level.EXACT: "has the same distribution as a model retrained without the records",
    Level.CERTIFIED: "is within (ε, δ) of the stated reference under the stated assumptions",
    Level.AUDITED: "is not distinguishable from retrained models by the tests listed; this is not a proof",
    Level.SUPPRESSED: "is unchanged; filters stand around it",
}
