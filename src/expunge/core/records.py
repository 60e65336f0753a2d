"""Records with ids: what every kind of data is turned into, and views of it.

A record is one training example with a stable ``id`` and, where known, a ``subject`` (whose data it is).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral
from typing import Any

from expunge.core.digest import combine, sha256
from expunge.core.errors import Obstacle, UsageError

TWICE = 256
"""Records that are read a second time: augmentation changes all of them, so a sample shows it."""


@dataclass(frozen=True)
class Manifest:
    """What a set of records is, without its content.

    ``entries`` are (id, content digest) in order; they stay in the run directory and never leave it.
    """

    entries: tuple[tuple[str, str], ...]

    @cached_property
    def digest(self) -> str:
        """One digest over ids and contents, independent of their order."""
        return combine([sha256(f"{name}\n{content}".encode()) for name, content in self.entries])


class Records(ABC):
    """A sequence of examples with ids. A map-style dataset, so ``torch.utils.data.DataLoader`` takes it."""

    name = ""
    ids: tuple[str, ...]
    subjects: tuple[str | None, ...]
    padding: Any = None
    """What shorter records of a batch are filled up with on the right, in the form of a batch; None where none are."""
    cut: frozenset[int] = frozenset()
    """Positions of the records of which the end is left out, since a model reads no more of them at once."""
    at_once: int = 128
    """How many are read at a time where nothing is trained: of many more a core's cache does not hold what a network
    makes of them, and a ResNet-20 takes twice as long over 512."""

    @staticmethod
    def accepts(thing: object) -> bool:
        """Return whether :meth:`adopt` can turn ``thing`` into records of this kind."""
        return False

    @classmethod
    def adopt(cls, thing: Any) -> Records:
        """Return ``thing`` as records of this kind."""
        raise TypeError(f"{cls.__name__} adopts nothing")

    @abstractmethod
    def __getitem__(self, index: int) -> Any:
        """Return the example at ``index``: for a classifier ``(input, label)``."""

    @abstractmethod
    def read(self, indices: Sequence[int]) -> Any:
        """Return the examples at ``indices`` as one batch, ready for a model."""

    @abstractmethod
    def content(self, index: int) -> str:
        """Return the SHA-256 of the example at ``index``, the same in every process."""

    def text(self, index: int) -> str | None:
        """Return what is to be predicted of the example at ``index`` as text; None where it is no text."""
        return None

    def words(self, index: int) -> str | None:
        """Return all that the example at ``index`` says as text; None where it is no text."""
        return None

    def said(self, index: int) -> tuple[str, ...]:
        """Return what is answered in the example at ``index``, turn by turn as written; none where it is no text."""
        return ()

    def class_number(self, label: Any) -> int | None:
        """Return the number of the class that these records call ``label``; None where they have no such class."""
        return int(label) if isinstance(label, Integral) and not isinstance(label, bool) else None

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self.ids)

    def __iter__(self) -> Iterator[Any]:
        """Yield the examples in order."""
        return (self[index] for index in range(len(self)))

    @cached_property
    def position(self) -> dict[str, int]:
        """The index of every id."""
        return {name: index for index, name in enumerate(self.ids)}

    def select(self, ids: Sequence[str]) -> View:
        """Return a view of the records with these ids, in this order."""
        return View(self, [self.position[name] for name in ids])

    def without(self, ids: Sequence[str]) -> View:
        """Return a view of the records that have none of these ids."""
        gone = set(ids)
        return View(self, [index for index, name in enumerate(self.ids) if name not in gone])

    @cached_property
    def manifest(self) -> Manifest:
        """Ids and content digests; reads every record once."""
        return Manifest(tuple((name, self.content(index)) for index, name in enumerate(self.ids)))

    @property
    def reread(self) -> tuple[int, int]:
        """(how many have another content when they are read once more, how many were read): a sample.

        Read at every call: records may be changed in place between two runs, and the manifest is that of the first.
        """
        entries = self.manifest.entries
        sample = range(0, len(self), max(1, len(self) // TWICE))
        return sum(self.content(index) != entries[index][1] for index in sample), len(sample)

    def examine(self) -> list[Obstacle]:
        """Return what is wrong with ids and subjects."""
        double = [name for name, count in Counter(self.ids).items() if count > 1]
        if not double:
            return []
        first = self.ids.index(double[0])
        return [
            Obstacle(
                what="duplicate record ids",
                where=f"records, first at position {first}",
                found=f"{len(double)} ids used more than once",
                expected="every record with an id of its own",
                fix="number the copies, or drop them: a deletion that leaves a copy deletes nothing",
            )
        ]


class View(Records):
    """Some records of a larger set; holds no copy."""

    def __init__(self, base: Records, indices: Sequence[int]) -> None:
        self._base: Records = base
        self._indices = list(indices)
        if type(base) is View:  # not a WatchedView: what is read through a part of it must count, too
            self._base, self._indices = base._base, [base._indices[i] for i in indices]
        self.ids = tuple(self._base.ids[i] for i in self._indices)
        self.subjects = tuple(self._base.subjects[i] for i in self._indices)
        self.padding, self.at_once = self._base.padding, self._base.at_once
        self.cut = frozenset(place for place, index in enumerate(self._indices) if index in self._base.cut)

    def __getitem__(self, index: int) -> Any:
        """Return the example at ``index`` of the view."""
        return self._base[self._indices[index]]

    def class_number(self, label: Any) -> int | None:
        """Return the number of the class that the whole records call ``label``."""
        return self._base.class_number(label)

    def read(self, indices: Sequence[int]) -> Any:
        """Return the examples at ``indices`` of the view as one batch."""
        return self._base.read([self._indices[i] for i in indices])

    def content(self, index: int) -> str:
        """Return the content digest of the example at ``index`` of the view."""
        return self._base.content(self._indices[index])

    @cached_property
    def manifest(self) -> Manifest:
        """Ids and content digests; of records that were read for the manifest of the whole set none is read again."""
        if "manifest" not in vars(self._base):
            return Manifest(tuple((name, self.content(index)) for index, name in enumerate(self.ids)))
        entries = self._base.manifest.entries
        return Manifest(tuple(entries[index] for index in self._indices))

    @cached_property
    def reread(self) -> tuple[int, int]:
        """As of all records; once for each view, of which several models are asked."""
        return super().reread

    def text(self, index: int) -> str | None:
        """Return what is to be predicted of the example at ``index`` of the view as text."""
        return self._base.text(self._indices[index])

    def words(self, index: int) -> str | None:
        """Return all that the example at ``index`` of the view says as text."""
        return self._base.words(self._indices[index])

    def said(self, index: int) -> tuple[str, ...]:
        """Return what is answered in the example at ``index`` of the view."""
        return self._base.said(self._indices[index])


def whole(records: Records) -> Records:
    """Return the records that a view is of; others as they are."""
    return records._base if isinstance(records, View) else records


class WatchedView(View):
    """The view a trainer gets: counts how often each record is read, so that what it saw can be stated."""

    def __init__(self, base: Records, indices: Sequence[int]) -> None:
        super().__init__(base, indices)
        self.reads = [0] * len(indices)

    @classmethod
    def over(cls, records: Records) -> WatchedView:
        """Return a watched view of all of ``records``."""
        return cls(records, range(len(records)))

    def __getitem__(self, index: int) -> Any:
        """Return the example and count the read."""
        example = super().__getitem__(index)
        self.reads[index] += 1
        return example

    def read(self, indices: Sequence[int]) -> Any:
        """Return the batch and count the reads."""
        for index in indices:
            self.reads[index] += 1
        return super().read(indices)

    @property
    def passes(self) -> float:
        """The mean number of times a record was read."""
        return sum(self.reads) / max(1, len(self.reads))

    @property
    def unread(self) -> int:
        """The number of records that were never read."""
        return sum(1 for count in self.reads if count == 0)


def check_names(ids: Sequence[str], count: int, *, where: str) -> tuple[str, ...]:
    """Return ``ids`` as a tuple of strings, one per record.

    Raises:
        UsageError: wrong number, or an id that is not a string.
    """
    names = tuple(ids)
    if len(names) != count:
        raise UsageError(
            "ids and records differ in number",
            where=where,
            found=str(len(names)),
            expected=str(count),
            fix="give every record one id, in the order of the records",
        )
    wrong = next((i for i, name in enumerate(names) if not isinstance(name, str)), None)
    if wrong is not None:
        raise UsageError(
            "ids must be strings",
            where=f"{where}, position {wrong}",
            found=type(names[wrong]).__name__,
            expected="str",
            fix="convert them once and keep them: str(id)",
        )
    return names
