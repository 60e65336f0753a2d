"""The contract of a test bed: a small problem whose answer after any deletion is known."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from expunge.core.errors import UsageError

if TYPE_CHECKING:
    from expunge.core.problem import Problem


class Testbed(ABC):
    """A small problem, a pure function of ``seed``, whose answer after any deletion is known.

    Class attributes: ``title`` for people, ``source`` of data and closed form.
    """

    __test__ = False  # pytest collects classes by their name
    name = ""
    title: ClassVar[str]
    source: ClassVar[str]

    def __init__(self, *, seed: int = 0) -> None:
        self.seed = seed

    @property
    @abstractmethod
    def ids(self) -> tuple[str, ...]:
        """The ids of all records, in order."""

    @abstractmethod
    def truth(self, forget: Collection[str] = ()) -> Mapping[str, Any]:
        """Return the answer, made from scratch without these records: arrays by name.

        Raises:
            UsageError: an id that is not there, or too few records remain for an answer.
        """

    def kept(self, forget: Collection[str]) -> list[int]:
        """Return the positions of the records that remain, in order.

        Raises:
            UsageError: an id that is not there.
        """
        strange = set(forget) - set(self.ids)
        if strange:
            raise UsageError(
                "cannot forget records that are not there",
                where=f"test bed {self.name}",
                found=f"{len(strange)} unknown ids",
                expected=f"ids like {self.ids[0]!r}",
                fix="take them from `ids`",
            )
        return [place for place, name in enumerate(self.ids) if name not in set(forget)]


class ModelTestbed(Testbed):
    """A test bed with a model, its training records and a trainer."""

    @abstractmethod
    def problem(self, forget: Collection[str]) -> Problem:
        """Return the problem of forgetting these records from a model that was trained on all of them."""
