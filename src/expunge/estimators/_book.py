"""Which rows an estimator holds, by id, and keyed hashes of those it forgot."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

from expunge.core.errors import UsageError

Id = str | int
_KINDS = frozenset({str, int})
_TOMBSTONE = 12  # bytes


class Book:
    """Ids in the order of the rows of an estimator; taking rows out moves the last ones into their places."""

    def __init__(self) -> None:
        self.ids: list[Id] = []
        self.place: dict[Id, int] = {}
        self.next = 0
        self._salt = b""  # drawn with the first tombstone: two equal fits hold equal bytes
        self._gone: set[bytes] = set()

    def __len__(self) -> int:
        """Return the number of rows held."""
        return len(self.ids)

    def __deepcopy__(self, memo: dict[int, Any]) -> Book:
        """Return a copy; names and places are never changed in place, so that the containers are copied alone."""
        made = Book.__new__(Book)
        made.__dict__.update(self.__dict__)
        made.ids, made.place, made._gone = list(self.ids), dict(self.place), set(self._gone)
        return made

    def __getstate__(self) -> dict[str, Any]:
        """Return two arrays of bytes: a file of one entry per id takes minutes."""
        names, gone = json.dumps(self.ids).encode(), b"".join(sorted(self._gone))
        return {
            "ids": np.frombuffer(names, dtype=np.uint8),
            "gone": np.frombuffer(gone, dtype=np.uint8),
            "next": self.next,
            "salt": self._salt,
        }

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.ids = json.loads(state["ids"].tobytes())
        self.place = {name: place for place, name in enumerate(self.ids)}
        self.next, self._salt = state["next"], state["salt"]
        gone = state["gone"].tobytes()
        self._gone = {gone[i : i + _TOMBSTONE] for i in range(0, len(gone), _TOMBSTONE)}

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
            self._gone.difference_update(self._hashes(ids))

    def find(self, ids: Iterable[Any]) -> np.ndarray:
        """Return the places of these rows, each once, sorted; ids that were forgotten before are passed over.

        Raises:
            UsageError: an id that was never given, or of another type.
        """
        wanted = self._typed(listed(ids))
        found = list(map(self.place.get, wanted))
        strange = [i for i, place in enumerate(found) if place is None and not self._forgot(wanted[i])]
        if strange:
            positions = ", ".join(map(str, islice(strange, 5))) + (", ..." if len(strange) > 5 else "")
            raise UsageError(
                "unknown ids",
                where=f"forget, position {positions}",
                found=f"{len(strange)} of {len(wanted)} were never given",
                expected="sample_ids that fit or partial_fit was given",
                fix="correct or leave out the ids at these positions; nothing was forgotten",
            )
        return np.array(sorted({place for place in found if place is not None}), dtype=np.int64)

    def drop(self, places: np.ndarray) -> list[tuple[int, int]]:
        """Take rows out (``places`` sorted); return (to, from) of those that move into what became free, in order."""
        moves, names, ids, at = [], [], self.ids, self.place
        for place in reversed(places.tolist()):
            name, last = ids[place], ids.pop()
            names.append(name)
            del at[name]
            if place < len(ids):
                ids[place], at[last] = last, place
                moves.append((place, len(ids)))
        self._gone.update(self._hashes(names))
        return moves

    def canonical(self) -> np.ndarray:
        """Return the places of all rows in an order that depends on the ids alone."""
        return np.array(sorted(range(len(self.ids)), key=lambda place: self.ids[place]), dtype=np.int64)

    def _typed(self, ids: Iterable[Any]) -> list[Id]:
        """Return ids as Python's own text or integers, of the type of those held."""
        plain = [name.item() if isinstance(name, np.generic) else name for name in ids]
        kinds = {*map(type, plain), *map(type, self.ids[:1])}
        if len(kinds) > 1 or not kinds <= _KINDS:
            found = " and ".join(sorted(kind.__name__ for kind in kinds))
            raise _wrong("ids of another type", found=found, expected="text only, or integers only, in all calls")
        return plain

    def _forgot(self, name: Id) -> bool:
        return bool(self._gone) and self._hash(name) in self._gone

    def _hash(self, name: Id) -> bytes:
        return next(self._hashes([name]))

    def _hashes(self, names: Iterable[Id]) -> Iterator[bytes]:
        self._salt = self._salt or secrets.token_bytes(16)
        start = hashlib.blake2b(key=self._salt, digest_size=_TOMBSTONE)  # taking in the key is half of the work
        for name in names:
            one = start.copy()
            one.update(repr(name).encode())
            yield one.digest()


def listed(ids: Any) -> list[Any]:
    """Return ids, of which one may stand alone, as a list.

    Raises:
        UsageError: they are nothing that could be ids.
    """
    if isinstance(ids, (str, int, np.generic)):
        return [ids]
    if isinstance(ids, bytes) or not isinstance(ids, Iterable):
        raise UsageError(
            "these are no ids",
            where="forget",
            found=type(ids).__name__,
            expected="a list of ids, or one id",
            fix="give ids that fit or partial_fit was given; an empty list forgets nothing",
        )
    return list(ids)


def _wrong(what: str, *, found: str, expected: str) -> UsageError:
    return UsageError(what, where="sample_ids", found=found, expected=expected, fix="give every row an id of its own")
