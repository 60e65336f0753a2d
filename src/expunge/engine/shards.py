"""Shards and slices: which part of an ensemble holds a record, and what a deletion costs; no torch.

Source: SISA, Bourtoule et al., "Machine Unlearning", IEEE S&P 2021 (arXiv 1912.03817). Here a record's shard and slice
are keyed hashes of (seed, subject), not places in a list: no deletion moves anybody else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from expunge.core.digest import keyed_int
from expunge.core.errors import UsageError


@dataclass(frozen=True)
class Shards:
    """``shards`` parts, each of ``slices`` slices that enter one after the other.

    Attributes:
        seed: of the assignment; secret, since who knows it knows who shares a shard.
        shards: how many members the ensemble has.
        slices: a member is trained on its first slice, then on its first two, and so on.
    """

    seed: int
    shards: int
    slices: int = 1

    def __post_init__(self) -> None:
        """Refuse an ensemble of nothing."""
        for name in ("shards", "slices"):
            if getattr(self, name) < 1:
                raise UsageError("no such ensemble", where=name, found=str(getattr(self, name)), expected="1 or more")

    def shard(self, subject: str) -> int:
        """Return the shard of a subject, in [0, shards)."""
        return keyed_int(b"expunge shard", self.seed, subject) % self.shards

    def slice(self, subject: str) -> int:
        """Return the slice of a subject inside its shard, in [0, slices)."""
        return keyed_int(b"expunge slice", self.seed, subject) % self.slices

    def member_seed(self, shard: int) -> int:
        """Return the seed with which a member is trained, in [0, 2**31)."""
        return keyed_int(b"expunge member", self.seed, shard) % 2**31

    def assigned(self, subjects: Sequence[str]) -> list[list[int]]:
        """Return for each shard the indices of its records, in the order given."""
        found: list[list[int]] = [[] for _ in range(self.shards)]
        for index, subject in enumerate(subjects):
            found[self.shard(subject)].append(index)
        return found


def whose(ids: Sequence[str], subjects: Sequence[str | None]) -> list[str]:
    """Return by what each record is assigned: its subject, else its id, which never equals a subject."""
    return [
        f"subject {subject}" if subject is not None else f"id {name}"
        for name, subject in zip(ids, subjects, strict=True)
    ]


def expected_share(shards: int, slices: int, requests: int) -> float:
    """Return the expected work of so many uniform requests at once, as a share of training the whole ensemble.

    A stage j of a member trains on j slices and is done anew if one of the first j slices of the shard is touched:
    ``2/(R(R+1)) sum_j j (1 - (1 - j/(R S))^K)`` (derived; checked by simulation in ``tests/engine/test_shards.py``); of
    one slice that is the share of shards that are touched.
    """
    stages = range(1, slices + 1)
    redone = sum(j * (1 - (1 - j / (slices * shards)) ** requests) for j in stages)
    return 2 / (slices * (slices + 1)) * redone
