"""Records from arrays: ``x[i]`` is an input, ``y[i]`` its label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from expunge.core.errors import UsageError
from expunge.core.records import Records, check_names
from expunge.data import _content


class ArrayRecords(Records):
    """Records of a classifier or regressor, held as two tensors.

    Args:
        x: inputs, array or tensor [n, ...]; copied.
        y: labels, array or tensor [n]; copied; integers become int64.
        ids: one stable id per record; the position where none are given.
        subjects: whose data each record is, None where unknown.

    Raises:
        UsageError: x, y, ids or subjects differ in length, or an id is not a string.
    """

    def __init__(
        self,
        x: Any,
        y: Any,
        *,
        ids: Sequence[str] | None = None,
        subjects: Sequence[str | None] | None = None,
    ) -> None:
        self.x, self.y = _copy(x), _copy(y)
        count = len(self.x)
        if len(self.y) != count:
            raise UsageError(
                "inputs and labels differ in number",
                where="ArrayRecords",
                found=str(len(self.y)),
                expected=str(count),
                fix="give one label per input, in the same order",
            )
        if not self.y.is_floating_point():
            self.y = self.y.long()
        self.ids = check_names([str(i) for i in range(count)] if ids is None else ids, count, where="ArrayRecords")
        self.subjects = tuple(subjects) if subjects is not None else (None,) * count
        if len(self.subjects) != count:
            raise UsageError(
                "subjects and records differ in number",
                where="ArrayRecords",
                found=str(len(self.subjects)),
                expected=str(count),
                fix="give every record its subject, None where it is not known",
            )

    @staticmethod
    def accepts(thing: object) -> bool:
        """Return whether ``thing`` is a pair (x, y)."""
        return isinstance(thing, tuple) and len(thing) == 2 and all(hasattr(part, "shape") for part in thing)

    @classmethod
    def adopt(cls, thing: Any) -> ArrayRecords:
        """Return the pair (x, y) as records whose ids are their positions."""
        return cls(*thing)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return (input, label)."""
        return self.x[index], self.y[index]

    def read(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return (inputs [B, ...], labels [B]): one gather, no loop."""
        index = torch.from_numpy(np.array(indices, dtype=np.int64))  # of a list faster than torch is
        return self.x.index_select(0, index), self.y.index_select(0, index)

    def content(self, index: int) -> str:
        """Return the content digest of (input, label)."""
        return _content.digest(self[index])


def _copy(array: Any) -> Tensor:
    # torch refuses arrays with negative strides, and warns of those that are read-only (memory-mapped, say).
    return torch.as_tensor(np.array(array, order="C") if isinstance(array, np.ndarray) else array).clone()
