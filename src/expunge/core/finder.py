"""The contract of a way to find records that a request does not name, and what it finds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from expunge.core.errors import Obstacle

if TYPE_CHECKING:
    from expunge.core.problem import Problem


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a search found; to be looked at by people before it is forgotten.

    Attributes:
        way: the name of the way that was gone.
        named: records of the request that were learnt from.
        searched: retained records that were looked through.
        ids: those that were found, the likeliest first.
        likely: how likely each of them is what was looked for, in 0..1.
        strangers: held-out records that were looked through as well, of which none can be what was looked for.
        taken: those of them that were taken for it.
        at_most: no more than this share of all such held-out records is taken for it, at a confidence of 95%.
        telling: share of pairs of a named and a searched record that are put in the right order (AUC).
        reason: why nothing is found; empty where something is.
    """

    way: str
    named: int
    searched: int
    ids: tuple[str, ...] = ()
    likely: tuple[float, ...] = ()
    strangers: int = 0
    taken: int = 0
    at_most: float = 1.0
    telling: float = 0.5
    reason: str = ""

    @property
    def by_chance(self) -> float:
        """How many would be found if the searched records were like the held-out ones."""
        return self.taken / self.strangers * self.searched if self.strangers else 0.0

    @property
    def sentence(self) -> str:
        """What was found, with what the search finds where nothing is."""
        if not self.ids:
            return (
                f"None of {self.searched:,} retained records was found to be like the {self.named:,} of the request: "
                f"{self.reason}."
            )
        count = len(self.ids)
        wrong, most = (min(count, round(each)) for each in (self.by_chance, self.at_most * self.searched))
        return (
            f"{count:,} of {self.searched:,} retained records are like the {self.named:,} of the request. Of "
            f"{self.strangers:,} held-out records, which cannot be, {self.taken:,} were taken for such: by that "
            f"{wrong:,} of those that were found are none, and at most {most:,} (95% confidence)."
        )


class Finder(ABC):
    """A way to find retained records that belong to a request.

    Class attributes: ``title`` for people, ``source`` of the way.
    """

    name = ""
    title: ClassVar[str]
    source: ClassVar[str]

    @abstractmethod
    def obstacles(self, problem: Problem) -> list[Obstacle]:
        """Return what keeps this way from being gone on a problem, before any work."""

    @abstractmethod
    def find(self, problem: Problem) -> Found:
        """Return what was found; reads records and the original, and changes neither.

        Raises:
            InvalidProblem: something keeps it from being gone, see :meth:`obstacles`.
        """
