"""Batches in an order that is a pure function of (seed, epoch, record id), so no history can change it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from expunge.core.digest import keyed
from expunge.core.records import Records


def order(ids: Sequence[str], *, seed: int, epoch: int) -> list[int]:
    """Return the indices of ``ids`` sorted by a keyed hash: leaving one out moves no other past another."""
    key = keyed(b"expunge order", seed, epoch)
    places = [hashlib.blake2b(name.encode(), key=key, digest_size=16).digest() for name in ids]
    return sorted(range(len(ids)), key=places.__getitem__)


def shuffled(records: Records, size: int, *, seed: int, epoch: int) -> Iterator[Any]:
    """Yield the records of one epoch in batches; the last may be smaller, none is dropped."""
    indices = order(records.ids, seed=seed, epoch=epoch)
    bounds = [*range(0, len(indices), size), len(indices)]
    if size > 2 and len(indices) % size == 1 < len(indices):
        bounds[-2] -= 1  # batch normalisation cannot train on a single record: two make the last batch
    return (records.read(indices[start:stop]) for start, stop in pairwise(bounds))


def in_order(records: Records, size: int = 512) -> Iterator[Any]:
    """Yield all records in their own order, for evaluation."""
    return (records.read(range(start, min(start + size, len(records)))) for start in range(0, len(records), size))


def endless(records: Records, size: int, *, seed: int, epoch: int) -> Iterator[Any]:
    """Yield batches for ever, none of no records; each time around is a new shuffle, never a replay of old batches."""
    around = 0
    while len(records):
        yield from shuffled(records, size, seed=seed, epoch=epoch * 1_000_003 + around)
        around += 1
