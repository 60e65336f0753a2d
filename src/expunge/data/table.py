"""Records from a table: a pandas frame, or a parquet, CSV or JSON-lines file with one row per record."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from expunge.core import registry
from expunge.core.digest import sha256
from expunge.core.errors import UsageError
from expunge.core.records import Records, check_names
from expunge.data._rows import Columns, Rows


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

    Raises:
        UsageError: no such file or column, a missing id or label, a label that is no class, or no number.
    """

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
    ) -> None:
        frame, where = _frame(table, text=[name for name in (id, subject) if name is not None])
        named = [name for name in (label, id, subject) if name is not None]
        chosen = list(features) if features is not None else [c for c in map(str, frame.columns) if c not in named]
        frame.columns = frame.columns.map(str)
        _present([*named, *chosen], list(frame.columns), where)
        self._named = {"label": label, "id": id, "subject": subject, "features": chosen}
        self._frame = frame[chosen].reset_index(drop=True)
        self.columns = columns or Columns.of(self._frame)
        self.ids = _ids(frame, id, where)
        self.subjects = _subjects(frame, subject)
        labels = _plain(frame[label])
        _whole(labels, where=f"{where}, column {label}", what="label")
        self.numbers = numbers
        self.classes: tuple[Any, ...] = ()
        if numbers:
            self.y = _numbers(labels, where=f"{where}, column {label}")
        else:
            self.classes = tuple(_plain_value(c) for c in classes) if classes is not None else _occurring(labels, where)
            self.y = _codes(labels, self.classes, where=f"{where}, column {label}")

    def like(self, table: Any) -> TableRecords:
        """Return the rows of another table with the same columns and classes, as a holdout must be made."""
        more = {"numbers": True} if self.numbers else {"classes": self.classes}
        return TableRecords(table, **self._named, **more, columns=self.columns)

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
        return sha256(repr([self.columns.names, [*map(_stated, row)], _stated(label)]).encode())

    def _rows(self, places: list[int]) -> Rows:
        return Rows(self._frame.iloc[places], self.columns, self.classes)

    @cached_property
    def _values(self) -> list[list[Any]]:
        return [_plain(self._frame[name]) for name in self._frame.columns]

    def __getstate__(self) -> dict[str, Any]:
        """Leave the values out, which are the frame once more."""
        return {name: value for name, value in self.__dict__.items() if name != "_values"}


def _frame(table: Any, *, text: list[str]) -> tuple[Any, str]:
    """Return (pandas frame, what to call it in errors); columns in ``text`` are read as they are written."""
    if not isinstance(table, (str, Path)):
        made = table.to_pandas() if hasattr(table, "to_pandas") else table
        if not hasattr(made, "columns") or not hasattr(made, "iloc"):
            raise UsageError(
                "not a table",
                where="TableRecords",
                found=type(table).__name__,
                expected="a pandas or polars frame, or the path of a parquet, CSV or JSON-lines file",
                fix="make a frame of it: pandas.DataFrame(X, columns=[...])",
            )
        return made.copy(), "table"
    path = Path(table)
    read = _readers(_pandas(), text).get(path.suffix.lower())
    if read is None:
        raise UsageError(
            "cannot tell what kind of table a file is",
            where=path.name,
            found=path.suffix or "no suffix",
            expected=".parquet, .csv or .jsonl",
            fix="write it in one of these forms",
        )
    try:
        return read(path), path.name
    except (OSError, ValueError, KeyError) as error:  # the text of a parser's error could hold data
        raise UsageError(
            "cannot read a table",
            where=path.name,
            found=getattr(error, "strerror", None) or type(error).__name__,
            expected=f"a whole {path.suffix.lower()} file with a head that names its columns",
            fix="check the path, and open the file by hand: pandas says more",
        ) from error


def _readers(pandas: ModuleType, text: list[str]) -> dict[str, Callable[[Path], Any]]:
    def csv(path: Path) -> Any:
        frame = pandas.read_csv(path)
        for name in set(text) & set(frame.columns):  # read as text they keep their zeros, and a person called NA
            frame[name] = pandas.read_csv(path, usecols=[name], dtype=str, keep_default_na=False)[name]
        return frame

    def lines(path: Path) -> Any:  # pandas' own reader rounds numbers
        return pandas.DataFrame([json.loads(line) for line in path.read_text().splitlines() if line.strip()])

    return {".csv": csv, ".parquet": pandas.read_parquet, ".jsonl": lines, ".ndjson": lines}


def _pandas() -> ModuleType:
    try:
        import pandas
    except ModuleNotFoundError as error:
        raise registry.missing_extra(error) from error
    return pandas


def _present(wanted: list[str], there: list[str], where: str) -> None:
    missing = [name for name in wanted if name not in there]
    if missing:
        raise UsageError(
            "the table lacks columns",
            where=where,
            found=f"no {', '.join(missing[:5])}",
            expected=f"some of {', '.join(there[:20])}",
            fix="correct the names of the columns",
        )
    double = sorted({name for name in wanted if there.count(name) > 1 or wanted.count(name) > 1})
    if double:
        raise UsageError(
            "a column is named twice",
            where=where,
            found=", ".join(double[:5]),
            expected="every column with a name and a use of its own",
            fix="rename it, or take it out of the features: ids and labels are no features",
        )


def _plain_value(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _plain(column: Any) -> list[Any]:
    """Return the values of a column as Python's own; None where one is missing."""
    missing = column.isna().tolist()
    return [None if gone else _plain_value(v) for v, gone in zip(column.tolist(), missing, strict=True)]


def _stated(value: Any) -> Any:
    """Return a value as something whose text is the same in every process, and from every form of a file."""
    if isinstance(value, float) and value.is_integer():
        return int(value)  # a column of whole numbers becomes one of floats as soon as one of them is missing
    return value if isinstance(value, (str, int, float, bool, type(None))) else f"{type(value).__name__} {value}"


def _whole(values: Sequence[Any], *, where: str, what: str) -> None:
    missing = [i for i, value in enumerate(values) if value is None or value == ""]
    if missing:
        raise UsageError(
            f"rows without {what}",
            where=f"{where}, first at row {missing[0]}",
            found=f"{len(missing)} of {len(values)} rows",
            expected=f"a {what} in every row",
            fix="drop these rows, or mend them",
        )


def _ids(frame: Any, column: str | None, where: str) -> tuple[str, ...]:
    if column is None:
        return tuple(map(str, range(len(frame))))
    values = _plain(frame[column])
    _whole(values, where=f"{where}, column {column}", what="id")
    return check_names([str(_stated(value)) for value in values], len(values), where=where)


def _subjects(frame: Any, column: str | None) -> tuple[str | None, ...]:
    if column is None:
        return (None,) * len(frame)
    return tuple(None if value is None or value == "" else str(_stated(value)) for value in _plain(frame[column]))


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


def _codes(labels: Sequence[Any], classes: Sequence[Any], *, where: str) -> Tensor:
    number = {label: code for code, label in enumerate(classes)}
    strange = [i for i, label in enumerate(labels) if label not in number]
    if strange:
        raise UsageError(
            "labels that are no class of the model",
            where=f"{where}, first at row {strange[0]}",
            found=f"{len(strange)} of {len(labels)} rows, {type(labels[strange[0]]).__name__}",
            expected=f"one of {len(classes)} classes, {type(classes[0]).__name__}" if classes else "classes",
            fix="name the column of labels, written as the model was fitted with them",
        )
    return torch.tensor([number[label] for label in labels], dtype=torch.int64)


def _numbers(labels: Sequence[Any], *, where: str) -> Tensor:
    strange = [i for i, label in enumerate(labels) if not isinstance(label, (int, float)) or isinstance(label, bool)]
    if strange:
        raise UsageError(
            "labels that are no numbers",
            where=f"{where}, first at row {strange[0]}",
            found=f"{len(strange)} of {len(labels)} rows, {type(labels[strange[0]]).__name__}",
            expected="numbers: the model is a regressor",
            fix="name the column that the model predicts",
        )
    return torch.tensor(labels, dtype=torch.float64)
