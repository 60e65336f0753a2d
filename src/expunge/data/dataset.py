"""Records from a map-style dataset: torch's, Hugging Face's, or any with ``__len__`` and ``__getitem__``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import default_collate

from expunge.core.errors import UsageError
from expunge.core.records import Records, check_names
from expunge.data import _content


class DatasetRecords(Records):
    """Records of a dataset that gives ``(input, label)`` at an index, the same at every reading.

    Ids and subjects are taken from the arguments, else from the dataset's attributes ``ids`` and
    ``subjects``, else ids are positions. Random augmentation does not belong in the dataset: pass it to
    the trainer.
    """

    def __init__(
        self, dataset: Any, *, ids: Sequence[str] | None = None, subjects: Sequence[str | None] | None = None
    ) -> None:
        self.dataset = dataset
        count = len(dataset)
        ids = ids if ids is not None else getattr(dataset, "ids", None)
        subjects = subjects if subjects is not None else getattr(dataset, "subjects", None)
        self.ids = check_names([str(i) for i in range(count)] if ids is None else ids, count, where="DatasetRecords")
        self.subjects = tuple(subjects) if subjects is not None else (None,) * count
        if len(self.subjects) != count:
            raise UsageError(
                "subjects and records differ in number",
                where="DatasetRecords",
                found=str(len(self.subjects)),
                expected=str(count),
                fix="give every record its subject, None where it is not known",
            )

    @staticmethod
    def accepts(thing: object) -> bool:
        """Return whether ``thing`` is a map-style dataset; tuples, lists, text and single arrays are not."""
        sized = hasattr(thing, "__len__") and hasattr(thing, "__getitem__")
        return sized and not isinstance(thing, (tuple, list, str, bytes, dict, np.ndarray, Tensor))

    @classmethod
    def adopt(cls, thing: Any) -> DatasetRecords:
        """Return the dataset as records."""
        return cls(thing)

    def __getitem__(self, index: int) -> Any:
        """Return the example at ``index``."""
        return self.dataset[index]

    def read(self, indices: Sequence[int]) -> Any:
        """Return the examples collated as torch's DataLoader would."""
        return default_collate([self.dataset[index] for index in indices])

    def content(self, index: int) -> str:
        """Return the content digest of the example; reads it."""
        return _content.digest(self.dataset[index])
