"""Records from a table: a pandas frame, or a parquet, CSV or JSON-lines file with one row per record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from expunge.core.digest import sha256
from expunge.core.errors import UsageError
from expunge.core.records import Records
from expunge.data._files import (
    as_written,
    frame_of,
    groups_of,
    ids_of,
    of_groups,
    place,
    plain,
    plain_value,
    present,
    stated,
    subjects_of,
    whole,
)
from expunge.data._rows import Columns, Rows, is_number, no_number


class TableRecords(Records):
    """Rows with a label, for estimators.

    Args:
        table: a pandas or polars frame (copied), or the path of a ``.parquet``, ``.csv`` or ``.jsonl`` file.
        label: the column of labels: text or whole numbers, one per class; or what a regressor predicts.
        id: the column of ids; the position where none is named.
        subject: the column that says whose data a row is; empty where unknown.
        features: the columns that the model is given, in its order; by default all others.
        classes: all labels in the order of class numbers (``model.classes_``); by default those that occur, sorted.
        numbers: whether labels are numbers to be predicted (task ``regression``), of which there are no classes.
        columns: how columns become numbers; by default as these rows show it.
        group: the column of groups between which gaps are judged, empty where unknown; it may be a feature as well.
        of: what ids begin with that are positions, so that those of two files differ.

    Raises:
        UsageError: no such file or column, a missing id or label, a label that is no class, or no number.

    ``groups`` are those of the column ``group``, by id.
    """

    at_once = 512  # what a call of an estimator costs outweighs what it holds

    def __init__(
        self,
        table: Any,
        *,
        label: str,
        id: str | None = None,
        subject: str | None = None,
        features: Sequence[str] | None = None,
        classes: Sequence[Any] | None = None,
        numbers: bool = False,
        columns: Columns | None = None,
        group: str | None = None,
        of: str = "",
    ) -> None:
        frame, where = frame_of(table, text=[name for name in (id, subject) if name is not None])
        of_groups(group, where, id=id, label=label)
        apart = [group] if group is not None and group not in (*(features or ()), subject) else []
        named = [name for name in (label, id, subject) if name is not None]
        chosen = list(features) if features is not None else [c for c in map(str, frame.columns) if c not in named]
        frame.columns = frame.columns.map(str)
        present([*named, *(features or ()), *apart], list(frame.columns), where)
        present([*named, *chosen], list(frame.columns), where)  # nor may one of all the others stand there twice
        self._named = {"label": label, "id": id, "subject": subject, "features": chosen, "group": group}
        self._frame = frame[chosen].reset_index(drop=True)
        self.columns = columns or Columns.of(self._frame)
        _as_learnt(frame, self.columns, where)
        self.ids = ids_of(frame, id, where, of=of)
        self.subjects = subjects_of(frame, subject)
        # The column may be a feature, too: what the model reads stays what it is.
        self.groups = {} if group is None else groups_of(as_written(table, group, frame), self.ids)
        labels = plain(frame[label])
        whole(labels, frame, where=f"{where}, column {label}", what="label")
        self.numbers = numbers
        self.classes: tuple[Any, ...] = ()
        if numbers:
            self.y = _numbers(labels, frame, where=f"{where}, column {label}")
        else:
            self.classes = tuple(plain_value(c) for c in classes) if classes is not None else _occurring(labels, where)
            self.y = _codes(labels, self.classes, frame, where=f"{where}, column {label}")

    def class_number(self, label: Any) -> int | None:
        """Return the number of the class that is called so; None where there is none, or no classes at all."""
        return {each: code for code, each in enumerate(self.classes)}.get(label)

    def like(self, table: Any) -> TableRecords:
        """Return the rows of another table with the same columns and classes, as a holdout must be made."""
        more = {"numbers": True} if self.numbers else {"classes": self.classes}
        return TableRecords(table, **self._named, **more, columns=self.columns, of="holdout-")

    def __getitem__(self, index: int) -> tuple[Rows, Tensor]:
        """Return (a row, class number); or the number to be predicted, float64."""
        return self._rows([index]), self.y[index]

    def read(self, indices: Sequence[int]) -> tuple[Rows, Tensor]:
        """Return (rows, class numbers [B]); or the numbers to be predicted, float64."""
        places = list(indices)
        return self._rows(places), self.y[torch.as_tensor(places, dtype=torch.long)]

    def content(self, index: int) -> str:
        """Return the SHA-256 of names and values of the features and of the label: the same from every file form."""
        row = [part[index] for part in self._values]
        label = float(self.y[index]) if self.numbers else self.classes[int(self.y[index])]
        return sha256(repr([self.columns.names, [*map(stated, row)], stated(label)]).encode())

    def _rows(self, places: list[int]) -> Rows:
        return Rows(self._frame.iloc[places], self.columns, self.classes)

    @cached_property
    def _values(self) -> list[list[Any]]:
        return [plain(self._frame[name]) for name in self._frame.columns]

    def __getstate__(self) -> dict[str, Any]:
        """Leave the values out, which are the frame once more."""
        return {name: value for name, value in self.__dict__.items() if name != "_values"}


def _as_learnt(frame: Any, columns: Columns, where: str) -> None:
    """Refuse text in what is a column of numbers in the training records."""
    for name, centre in zip(columns.names, columns.centre, strict=True):
        values = [] if centre is None or is_number(frame[name]) else plain(frame[name])
        strange = [i for i, value in enumerate(values) if no_number(value)]
        if strange:
            raise UsageError(
                f"{'text' if isinstance(values[strange[0]], str) else type(values[strange[0]]).__name__} in a column "
                "of numbers",
                where=f"{where}, column {name}, first at {place(frame, strange[0])}",
                found=f"{len(strange)} of {len(values)} rows",
                expected="numbers, as in the training records",
                fix="mend these rows, or drop them; a decimal comma makes no number",
            )


def _occurring(labels: Sequence[Any], where: str) -> tuple[Any, ...]:
    kinds = {type(label).__name__ for label in labels}
    if len(kinds) > 1:
        raise UsageError(
            "labels of several types",
            where=where,
            found=" and ".join(sorted(kinds)),
            expected="text only, or whole numbers only",
            fix="write all labels alike",
        )
    return tuple(sorted(set(labels)))


def _codes(labels: Sequence[Any], classes: Sequence[Any], frame: Any, *, where: str) -> Tensor:
    number = {label: code for code, label in enumerate(classes)}
    strange = [i for i, label in enumerate(labels) if label not in number]
    # Where one cell is text the whole column is read as text: then only what is no class as it is written is strange.
    strange = [i for i in strange if not _written(labels[i], number)] or strange
    if strange:
        raise UsageError(
            "labels that are no class of the model",
            where=f"{where}, first at {place(frame, strange[0])}",
            found=f"{len(strange)} of {len(labels)} rows, {type(labels[strange[0]]).__name__}",
            expected=f"one of {len(classes)} classes, {type(classes[0]).__name__}" if classes else "classes",
            fix="name the column of labels, written as the model was fitted with them",
        )
    return torch.tensor([number[label] for label in labels], dtype=torch.int64)


def _written(label: Any, number: Mapping[Any, int]) -> bool:
    """Return whether a label is the text of a class that is a number."""
    try:
        return isinstance(label, str) and float(label) in number
    except ValueError:
        return False


def _numbers(labels: Sequence[Any], frame: Any, *, where: str) -> Tensor:
    strange = [i for i, label in enumerate(labels) if not isinstance(label, (int, float)) or isinstance(label, bool)]
    if strange:
        raise UsageError(
            "labels that are no numbers",
            where=f"{where}, first at {place(frame, strange[0])}",
            found=f"{len(strange)} of {len(labels)} rows, {type(labels[strange[0]]).__name__}",
            expected="numbers: the model is a regressor",
            fix="name the column that the model predicts",
        )
    return torch.tensor(labels, dtype=torch.float64)
