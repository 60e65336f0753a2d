"""Which rows an estimator holds, by id, and keyed hashes of those it forgot."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

import numpy as np

from expunge.core.errors import UsageError

Id = str | int


class Book:
    """Ids in the order of the rows of an estimator; taking rows out moves the last ones into their places."""

    def __init__(self) -> None:
        self.ids: list[Id] = []
        self.place: dict[Id, int] = {}
        self.next = 0
        self._salt = secrets.token_bytes(16)
        self._gone: set[bytes] = set()

    def __len__(self) -> int:
        """Return the number of rows held."""
        return len(self.ids)

    @property
    def tombstones(self) -> int:
        """The number of ids that were forgotten and not given again."""
        return len(self._gone)

    def named(self, sample_ids: Sequence[Any] | None, count: int) -> list[Id]:
        """Return one id per new row: those given, else numbers that go on from the last; nothing is entered yet.

        Raises:
            UsageError: wrong number, not all text or all integers, used twice, or already held.
        """
        if sample_ids is None:
            if self.ids and isinstance(self.ids[0], str):
                raise _wrong("no ids", found="none", expected="text, as the ids of the rows before")
            return list(range(self.next, self.next + count))
        ids = self._typed(sample_ids)
        if len(ids) != count:
            raise _wrong("ids and rows differ in number", found=str(len(ids)), expected=str(count))
        if len(set(ids)) != count:
            raise _wrong("an id is used twice", found=f"{count - len(set(ids))} repeated", expected="one id per row")
        held = sum(name in self.place for name in ids)
        if held:
            raise _wrong("an id is held already", found=f"{held} of {count}", expected="new ids, or forget them first")
        return ids

    def add(self, ids: Sequence[Id]) -> None:
        """Enter ids that :meth:`named` returned, for rows put at the end."""
        self.place.update(zip(ids, range(len(self.ids), len(self.ids) + len(ids)), strict=True))
        self.ids.extend(ids)
        if ids and not isinstance(ids[0], str):
            self.next = max(self.next, max(int(name) for name in ids) + 1)
        if self._gone:
            self._gone.difference_update(map(self._hash, ids))

    def find(self, ids: Iterable[Any]) -> np.ndarray:
        """Return the places of these rows, each once, sorted; ids that were forgotten before are passed over.

        Raises:
            UsageError: an id that was never given, or of another type.
        """
        wanted = self._typed([ids] if isinstance(ids, (str, int)) else ids)
        places = {self.place[name] for name in wanted if name in self.place}
        strange = [i for i, n in enumerate(wanted) if n not in self.place and self._hash(n) not in self._gone]
        if strange:
            positions = ", ".join(map(str, islice(strange, 5))) + (", ..." if len(strange) > 5 else "")
            raise UsageError(
                "unknown ids",
                where=f"forget, position {positions}",
                found=f"{len(strange)} of {len(wanted)} were never given",
                expected="sample_ids that fit or partial_fit was given",
                fix="correct or leave out the ids at these positions; nothing was forgotten",
            )
        return np.array(sorted(places), dtype=np.int64)

    def drop(self, places: np.ndarray) -> list[tuple[int, int]]:
        """Take rows out; return (to, from) of rows that move into the places that became free, in that order."""
        moves = []
        for place in sorted(map(int, places), reverse=True):
            name, last = self.ids[place], self.ids.pop()
            self._gone.add(self._hash(name))
            del self.place[name]
            if place < len(self.ids):
                self.ids[place], self.place[last] = last, place
                moves.append((place, len(self.ids)))
        return moves

    def canonical(self) -> np.ndarray:
        """Return the places of all rows in an order that depends on the ids alone."""
        return np.array(sorted(range(len(self.ids)), key=lambda place: self.ids[place]), dtype=np.int64)

    def _typed(self, ids: Iterable[Any]) -> list[Id]:
        """Return ids as Python's own text or integers, of the type of those held."""
        plain = [name.item() if isinstance(name, np.generic) else name for name in ids]
        kinds = {type(name) for name in (*plain, *self.ids[:1])}
        if not kinds <= {str} and not kinds <= {int}:
            found = " and ".join(sorted(kind.__name__ for kind in kinds))
            raise _wrong("ids of another type", found=found, expected="text only, or integers only, in all calls")
        return plain

    def _hash(self, name: Id) -> bytes:
        return hashlib.blake2b(repr(name).encode(), key=self._salt, digest_size=12).digest()


def _wrong(what: str, *, found: str, expected: str) -> UsageError:
    return UsageError(what, where="sample_ids", found=found, expected=expected, fix="give every row an id of its own")
