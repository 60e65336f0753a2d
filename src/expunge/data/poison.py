"""Manipulated training data, to try corrective unlearning on: swapped labels and backdoors, some of them known.

Who corrects a model rarely knows all that is wrong. What was manipulated is fixed here together with the order in which
it is discovered, so that a smaller share is always a part of a larger one.

Source: Goel et al. 2024, arXiv 2402.14015, with its three manipulations.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from expunge.core.digest import keyed_int
from expunge.core.errors import UsageError
from expunge.core.records import Records
from expunge.core.request import Request
from expunge.core.trigger import Triggered
from expunge.data import _content

_READ = 512


@dataclass(frozen=True)
class Patch:
    """A square of ``size`` pixels of one ``value`` at the bottom right of images [n, C, H, W].

    The value is in the space of the images as the model gets them, in training and afterwards alike.
    """

    value: float
    size: int = 3

    def on(self, images: Tensor) -> Tensor:
        """Return a copy of images [..., C, H, W] with the patch.

        Raises:
            UsageError: the inputs are no images that are larger than the patch.
        """
        if not isinstance(images, Tensor) or images.dim() < 3 or min(images.shape[-2:]) <= self.size:
            raise UsageError(
                "no room for the patch",
                where="inputs",
                found=f"shape {list(images.shape)}" if isinstance(images, Tensor) else type(images).__name__,
                expected=f"images [..., C, H, W] of more than {self.size} x {self.size} pixels",
                fix="give images, or a smaller patch",
            )
        marked = images.clone()
        marked[..., -self.size :, -self.size :] = self.value
        return marked


class PoisonedRecords(Records):
    """Records of a classifier, some of them with another label, or with a patch on their input.

    Args:
        base: the records as they are.
        labels: new label by id; all others keep theirs.
        marked: ids of those whose input gets the patch.
        patch: the patch.
    """

    def __init__(
        self, base: Records, labels: Mapping[str, int], marked: Collection[str] = (), patch: Patch | None = None
    ) -> None:
        self._base, self._patch = base, patch
        self.ids, self.subjects, self.padding, self.cut = base.ids, base.subjects, base.padding, base.cut
        # -1: the record keeps its own label.
        self._labels = torch.tensor([labels.get(name, -1) for name in self.ids], dtype=torch.long)
        known = set(marked)
        self._marked = torch.tensor([name in known for name in self.ids], dtype=torch.bool)

    def __getitem__(self, index: int) -> Any:
        """Return (input, label)."""
        x, y = self._base[index]
        label = int(self._labels[index])
        x = self._patch.on(x) if self._patch is not None and self._marked[index] else x
        return x, y if label < 0 else torch.as_tensor(y).new_tensor(label)

    def read(self, indices: Sequence[int]) -> tuple[Any, Tensor]:
        """Return (inputs [B, ...], labels [B])."""
        x, y = self._base.read(indices)
        chosen = torch.as_tensor(indices, dtype=torch.long)
        labels, marked = self._labels[chosen], self._marked[chosen]
        if self._patch is not None and bool(marked.any()):
            x = x.clone()
            x[marked] = self._patch.on(x[marked])
        return x, torch.where(labels >= 0, labels.to(y.dtype), y)

    def content(self, index: int) -> str:
        """Return the content digest of (input, label)."""
        changed = self._labels[index] >= 0 or self._marked[index]
        return _content.digest(self[index]) if changed else self._base.content(index)


@dataclass(frozen=True, eq=False, kw_only=True)
class Poisoned:
    """What was manipulated.

    Attributes:
        train: what to train on.
        truth: true label by id of every manipulated record, in the order in which they are discovered.
        target: the class that the patch leads to; None without a patch.
        patch: the patch.
    """

    train: PoisonedRecords
    truth: Mapping[str, int] = field(default_factory=dict)
    target: int | None = None
    patch: Patch | None = None

    def discovered(self, share: float) -> Request:
        """Return the request that names the first ``share`` of the manipulated records, with their true labels.

        Raises:
            UsageError: no share above 0 and up to 1.
        """
        if not 0 < share <= 1:
            fix = "say which share of the manipulated records is known"
            raise UsageError("no share", where="discovered", found=str(share), expected="above 0, 1 at most", fix=fix)
        known = list(self.truth)[: max(1, round(share * len(self.truth)))]
        return Request(ids=tuple(known), ground="manipulated records", corrections={i: self.truth[i] for i in known})

    def triggered(self, holdout: Records) -> Triggered:
        """Return held-out records of other classes than the target with the patch on them, to measure the backdoor.

        Raises:
            UsageError: there is no backdoor.
        """
        if self.patch is None or self.target is None:
            fix = "ask for it where records were given a patch: backdoor(...)"
            raise UsageError("no backdoor", where="triggered", found="labels alone were changed", fix=fix)
        labels = _labels(holdout)
        others = holdout.select([name for name, y in zip(holdout.ids, labels, strict=True) if y != self.target])
        return Triggered(records=PoisonedRecords(others, {}, others.ids, self.patch), target=self.target)


def swap_labels(records: Records, *, count: int, seed: int) -> Poisoned:
    """Deal the labels of ``count`` random records out among them, so that each gets another class than its own.

    The number of labels of every class stays as it was.

    Raises:
        UsageError: fewer records, or more than half of those drawn are of one class: there is no such deal.
    """
    labels, draw = _labels(records), _generator("swap", seed)
    chosen = draw.permutation(len(labels))[: _enough(count, len(labels))]
    # Sorted by class and turned by the size of the largest class, no record meets its own class.
    rank = {label: place for place, label in enumerate(draw.permutation(np.unique(labels[chosen])).tolist())}
    order = sorted(range(len(chosen)), key=lambda i: rank[int(labels[chosen[i]])])
    most = int(np.unique(labels[chosen], return_counts=True)[1].max())
    if 2 * most > len(chosen):
        raise _impossible("records of one class", f"{most} of {len(chosen)}", "no more than half of those drawn")
    given = {
        records.ids[chosen[mine]]: int(labels[chosen[order[(place + most) % len(order)]]])
        for place, mine in enumerate(order)
    }
    return _changed(records, labels, [int(i) for i in chosen], given)


def exchange_labels(records: Records, *, classes: tuple[int, int], count: int, seed: int) -> Poisoned:
    """Give half of ``count`` random records of each of two classes the label of the other.

    Raises:
        UsageError: one of the classes has fewer.
    """
    labels, draw = _labels(records), _generator("exchange", seed)
    chosen: list[int] = []
    for label in classes:
        own = np.flatnonzero(labels == label)
        chosen += draw.permutation(own)[: _enough(count // 2, len(own))].tolist()
    other = dict(zip(classes, reversed(classes), strict=True))
    given = {records.ids[i]: other[int(labels[i])] for i in chosen}
    return _changed(records, labels, draw.permutation(chosen).tolist(), given)


def backdoor(records: Records, *, target: int, count: int, seed: int, patch: Patch) -> Poisoned:
    """Put a patch on ``count`` random records of other classes, and give them the label ``target``.

    Records of the target class are left alone: of these the patch would teach nothing that is wrong.

    Raises:
        UsageError: there are fewer records of other classes.
    """
    labels, draw = _labels(records), _generator("backdoor", seed)
    others = np.flatnonzero(labels != target)
    chosen = draw.permutation(others)[: _enough(count, len(others))].tolist()
    given = {records.ids[i]: target for i in chosen}
    found = _changed(records, labels, chosen, given)
    train = PoisonedRecords(records, given, given, patch)
    return Poisoned(train=train, truth=found.truth, target=target, patch=patch)


def _changed(records: Records, labels: NDArray[np.int64], chosen: Sequence[int], given: Mapping[str, int]) -> Poisoned:
    return Poisoned(train=PoisonedRecords(records, given), truth={records.ids[i]: int(labels[i]) for i in chosen})


def _labels(records: Records) -> NDArray[np.int64]:
    found = [records.read(range(i, min(i + _READ, len(records))))[1] for i in range(0, len(records), _READ)]
    return np.concatenate([np.asarray(part) for part in found]).astype(np.int64)


def _generator(kind: str, seed: int) -> np.random.Generator:
    return np.random.default_rng(keyed_int(b"expunge poison", kind, seed))


def _enough(count: int, there: int) -> int:
    if not 0 < count <= there:
        raise _impossible("records to manipulate", f"{count} of {there}", "1 or more, as many as there are at most")
    return count


def _impossible(what: str, found: str, expected: str) -> UsageError:
    return UsageError(
        f"cannot manipulate: {what}", where="records", found=found, expected=expected, fix="ask for fewer"
    )
