"""Batches in an order that is a pure function of (seed, epoch, record id), so no history can change it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expunge.core.digest import keyed_int
from expunge.core.records import Records

Words = NDArray[np.uint64]


def order(ids: Sequence[str], *, seed: int, epoch: int) -> list[int]:
    """Return the indices of ``ids`` sorted by a keyed hash: leaving one out moves no other past another."""
    found: list[int] = np.argsort(places(fingerprints(tuple(ids)), seeds=[seed], epoch=epoch)[0]).tolist()
    return found


@lru_cache(maxsize=16)
def fingerprints(ids: tuple[str, ...]) -> Words:
    """Return 64 bits of a hash of every id, [n]; made once, they serve all epochs and seeds."""
    if not ids:
        return np.zeros(0, dtype=np.uint64)
    return np.frombuffer(b"".join(hashlib.blake2b(i.encode(), digest_size=8).digest() for i in ids), dtype="<u8")


def places(words: Words, *, seeds: Sequence[int], epoch: int) -> Words:
    """Return a place for every fingerprint ([n] or [K, n]) under each of K seeds, [K, n]; anew for every epoch.

    Two places of one seed are equal only for equal fingerprints.

    Source: the finaliser of SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number
    generators"), a bijection of 64 bits in which every bit of the input moves every bit of the output.
    """
    keys = np.array([keyed_int(b"expunge order", seed, epoch) for seed in seeds], dtype=np.uint64)
    mixed = words ^ keys[:, None]
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)))


def shuffled(records: Records, size: int, *, seed: int, epoch: int) -> Iterator[Any]:
    """Yield the records of one epoch in batches; the last may be smaller, none is dropped."""
    return map(records.read, drawn(records, size, seed=seed, epoch=epoch))


def drawn(records: Records, size: int, *, seed: int, epoch: int) -> Iterator[list[int]]:
    """Yield the positions of the batches of :func:`shuffled`."""
    indices = order(records.ids, seed=seed, epoch=epoch)
    return (indices[start:stop] for start, stop in bounds(len(indices), size))


def bounds(count: int, size: int) -> list[tuple[int, int]]:
    """Return (start, stop) of the batches of ``count`` records in order; the last may be smaller."""
    edges = [*range(0, count, size), count]
    if size > 2 and count % size == 1 < count:
        edges[-2] -= 1  # batch normalisation cannot train on a single record: two make the last batch
    return list(pairwise(edges))


def in_order(records: Records, size: int | None = None) -> Iterator[Any]:
    """Yield all records in their own order, for evaluation, ``size`` at a time (:attr:`Records.at_once`)."""
    step = size or records.at_once
    return (records.read(range(start, min(start + step, len(records)))) for start in range(0, len(records), step))


def drawn_endlessly(records: Records, size: int, *, seed: int, epoch: int) -> Iterator[list[int]]:
    """Yield the positions of batches for ever, none of no records; each time around is a new shuffle, no replay."""
    around = 0
    while len(records):
        yield from drawn(records, size, seed=seed, epoch=epoch * 1_000_003 + around)
        around += 1


def flowing(records: Records, size: int, *, seed: int, start: int) -> Iterator[list[int]]:
    """Yield the positions of whole batches from place ``start`` of an order without end: shuffle after shuffle.

    No batch is larger than all records. One that reaches from one shuffle into the next may hold a record twice.
    """
    size = min(size, len(records))
    around, place = divmod(start, max(1, len(records)))
    indices = order(records.ids, seed=seed, epoch=around)
    while size:
        while len(indices) < place + size:
            around += 1
            indices, place = indices[place:] + order(records.ids, seed=seed, epoch=around), 0
        yield indices[place : place + size]
        place += size
