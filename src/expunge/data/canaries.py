"""Canaries for a classifier: records of its own training data with a wrong label, planted before training.

A wrong label can be known from memory only, and one wrong label is about as hard to learn as another, so that few
canaries show much (see docs/guides/canaries.md for what that costs). Other kinds (random strings for a language
model) are records of another `kind`, told apart by the record that :func:`plant` leaves.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from expunge.core.canaries import Canaries, Canary, Planted
from expunge.core.digest import keyed, keyed_int
from expunge.core.errors import UsageError
from expunge.core.records import Records
from expunge.data import _content

KIND = "mislabelled"
FEWEST = 100
"""With fewer, the AUC of a model that never saw them lies beyond 0.39 or 0.61 one time in twenty."""
DEFAULT, SHARE = 250, 64
"""How many where no number is given: one record in 64 (1.6 %), at least 250: then true retrains pass at 97 %."""


class PlantedRecords(Records):
    """Records of a classifier, some of them with a label and an id of their own.

    Args:
        base: all records, without canaries.
        places: indices into ``base``, in order.
        planted: the canary by id of the record it was made from; all others stay as they are.
    """

    def __init__(self, base: Records, places: Sequence[int], planted: Mapping[str, Canary]) -> None:
        self._base, self._places, self.padding = base, list(places), base.padding
        found = [planted.get(base.ids[place]) for place in self._places]
        self.ids = tuple(
            canary.id if canary else base.ids[place] for canary, place in zip(found, self._places, strict=True)
        )
        self.cut = frozenset(i for i, place in enumerate(self._places) if place in base.cut)
        # The input is still somebody's: who asks for his records to be deleted means this one, too.
        self.subjects = tuple(base.subjects[place] for place in self._places)
        # -1: the record keeps its own label.
        self._labels = torch.tensor([canary.label if canary else -1 for canary in found], dtype=torch.long)

    def __getitem__(self, index: int) -> Any:
        """Return (input, label)."""
        x, y = self._base[self._places[index]]
        label = int(self._labels[index])
        return (x, y) if label < 0 else (x, torch.as_tensor(y).new_tensor(label))

    def read(self, indices: Sequence[int]) -> tuple[Any, Tensor]:
        """Return (inputs [B, ...], labels [B])."""
        x, y = self._base.read([self._places[i] for i in indices])
        labels = self._labels[torch.as_tensor(indices, dtype=torch.long)]
        return x, torch.where(labels >= 0, labels.to(y.dtype), y)

    def content(self, index: int) -> str:
        """Return the content digest of (input, label)."""
        return self._base.content(self._places[index]) if self._labels[index] < 0 else _content.digest(self[index])


def plant(records: Records, *, count: int | None = None, secret: bytes | None = None) -> tuple[Canaries, Planted]:
    """Draw canaries, and return their record and the training records with the included ones among them.

    ``count`` records are picked, each gets another label than its own, all equally likely; a fair coin each says
    whether it is trained on in this form. With its own label none of them is trained on: a record that stood beside
    its canary would say which label is wrong. All draws are functions of (secret, id).

    Args:
        records: all records that could be trained on; labels are integers from 0.
        count: number of canaries, the included half and the other; see :data:`DEFAULT`.
        secret: 32 bytes; drawn where none is given. What can be guessed gives the coin away.

    Raises:
        UsageError: too few canaries, more than there are records, labels that are no classes, a short secret.
    """
    count = max(DEFAULT, len(records) // SHARE) if count is None else count
    secret = secrets.token_bytes(32) if secret is None else secret
    if len(secret) < 16:
        raise _refused(
            "the secret of the canaries is short", len(secret), "32 random bytes", "leave it out: one is drawn"
        )
    if not FEWEST <= count <= len(records):
        raise _refused(
            "the number of canaries is out of range",
            count,
            f"{FEWEST} or more, of {len(records)} records",
            "fewer show nothing; see what `expunge plan` says they can show",
        )
    if isinstance(records, PlantedRecords):
        raise _refused(
            "canaries are planted already",
            "records with canaries among them",
            "all records, without canaries",
            "plant once, and use a part for each request: `planted.portion`",
        )
    labels = _labels(records)
    classes = sorted(set(labels))
    if len(classes) < 2:
        raise _refused("there is no wrong label", f"{len(classes)} classes", "2 or more", "plant in all the records")
    ranked = sorted(range(len(records)), key=lambda place: keyed(secret, "pick", records.ids[place]))
    drawn = []
    for place in sorted(ranked[:count]):
        name = records.ids[place]
        wrong = [label for label in classes if label != labels[place]]
        drawn.append(
            Canary(
                id=f"canary-{keyed(secret, 'id', name).hex()[:16]}",
                source=name,
                label=wrong[keyed_int(secret, "label", name) % len(wrong)],
                included=keyed(secret, "coin", name)[0] % 2 == 1,
            )
        )
    made = Canaries(kind=KIND, secret=secret.hex(), canaries=tuple(drawn))
    return made, replant(records, made)


def replant(records: Records, canaries: Canaries) -> Planted:
    """Return the training records that the record of canaries describes; ``records`` as when it was made.

    Raises:
        UsageError: another kind of canary, or a record that one was made from is not there.
    """
    if canaries.kind != KIND:
        raise _refused("canaries of another kind", canaries.kind, KIND, "use the kind of data they were made for")
    lost = sum(canary.source not in records.position for canary in canaries.canaries)
    if lost:
        raise _refused(
            "records that canaries were made from are missing",
            f"{lost} of {len(canaries.canaries)}",
            "the records that `plant` was given, by the same ids",
            "pass all records, without canaries",
        )
    planted = {canary.source: canary for canary in canaries.canaries}
    included = [canary for canary in canaries.canaries if canary.included]
    absent = [canary for canary in canaries.canaries if not canary.included]
    gone = {canary.source for canary in absent}
    return Planted(
        train=PlantedRecords(records, [i for i, name in enumerate(records.ids) if name not in gone], planted),
        included=tuple(canary.id for canary in included),
        aside=PlantedRecords(records, [records.position[canary.source] for canary in absent], planted),
        commitment=canaries.commitment,
        made_from={canary.source: canary.id for canary in included},
    )


def _labels(records: Records) -> list[int]:
    _, y = records.read(range(len(records)))
    if not isinstance(y, Tensor) or y.is_floating_point() or y.ndim != 1 or bool((y < 0).any()):
        shape = tuple(y.shape) if isinstance(y, Tensor) else type(y).__name__
        raise _refused(
            "labels that are no classes",
            f"{getattr(y, 'dtype', '')} {shape}".strip(),
            "one class from 0 per record",
            "canaries with wrong labels are for classifiers",
        )
    return [int(label) for label in y.tolist()]


def _refused(what: str, found: object, expected: str, fix: str) -> UsageError:
    return UsageError(what, where="canaries", found=str(found), expected=expected, fix=fix)
