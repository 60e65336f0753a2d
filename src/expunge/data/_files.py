"""Tables and files of rows: read whole, their columns found, ids and subjects as text."""

from __future__ import annotations

import codecs
import csv
import difflib
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from expunge.core import registry
from expunge.core.errors import UsageError
from expunge.core.records import check_names


def frame_of(table: Any, *, text: list[str]) -> tuple[Any, str]:
    """Return (pandas frame, what to call it in errors); columns in ``text`` are read as they are written."""
    if not isinstance(table, (str, Path)):
        made = table.to_pandas() if hasattr(table, "to_pandas") else table
        if not hasattr(made, "columns") or not hasattr(made, "iloc"):
            raise UsageError(
                "not a table",
                where="table",
                found=type(table).__name__,
                expected="a pandas or polars frame, or the path of a parquet, CSV or JSON-lines file",
                fix="make a frame of it: pandas.DataFrame(X, columns=[...])",
            )
        return made.copy(), "table"
    path = Path(table)
    reader = _readers(_pandas(), text).get(path.suffix.lower())
    if reader is None:
        raise UsageError(
            "cannot tell what kind of table a file is",
            where=path.name,
            found="a folder" if path.is_dir() else path.suffix or "no suffix",
            expected=".parquet, .csv or .jsonl",
            fix="write it in one of these forms",
        )
    try:
        frame = reader(path)
        if frame.index.name != "line":
            frame.index = _pandas().RangeIndex(1, len(frame) + 1, name="row")
    except (OSError, ValueError, KeyError) as error:  # the text of a parser's error could hold data
        empty = path.is_file() and not path.stat().st_size
        if isinstance(error, UnicodeDecodeError):
            raise UsageError(
                "cannot read a table",
                where=path.name,
                found="text that is not UTF-8",
                expected="a file in UTF-8",
                fix="save the file as UTF-8",
            ) from error
        raise UsageError(
            "cannot read a table",
            where=path.name,
            found="an empty file" if empty else getattr(error, "strerror", None) or type(error).__name__,
            expected=f"a whole {path.suffix.lower()} file with a head that names its columns",
            fix="check the path, and open the file by hand: pandas says more",
        ) from error
    if not len(frame):
        raise UsageError(
            "a table without rows",
            where=path.name,
            found=f"{len(frame.columns)} columns and no row" if len(frame.columns) else "an empty file",
            expected="a row for each record",
            fix="check whether this is the file that was meant, and whether it was written to its end",
        )
    return frame, path.name


def _readers(pandas: ModuleType, text: list[str]) -> dict[str, Callable[[Path], Any]]:
    def comma(path: Path) -> Any:
        _even(path)
        frame = pandas.read_csv(path)
        for name in set(text) & set(frame.columns):
            frame[name] = as_written(path, name, frame)
        return frame

    def lines(path: Path) -> Any:  # pandas' own reader rounds numbers
        rows = _json_lines(path)
        return pandas.DataFrame(list(rows.values()), index=pandas.Index(list(rows), name="line", dtype="int64"))

    return {".csv": comma, ".parquet": pandas.read_parquet, ".jsonl": lines, ".ndjson": lines}


def as_written(table: Any, name: str, frame: Any) -> Any:
    """Return a column of a table, read as ``frame``; of a CSV file as text, with its zeros, and a person called NA."""
    if isinstance(table, (str, Path)) and Path(table).suffix.lower() == ".csv":
        return _pandas().read_csv(table, usecols=[name], dtype=str, keep_default_na=False)[name]
    return frame[name]


def _even(path: Path) -> None:
    """Refuse a CSV file of which a line has other columns than its head: pandas would shift or fill them, unsaid."""
    csv.field_size_limit(2**31 - 1)  # a text may be longer than the 128 KiB that Python allows
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines, width, before = csv.reader(file), 0, 0
        try:
            for values in lines:
                if not width:
                    _separated(values, path)
                width, begins, before = width or len("".join(values).strip() and values), before + 1, lines.line_num
                if len(values) != width and "".join(values).strip():  # a blank line is none
                    raise UsageError(
                        "a line of a table has other columns than its head",
                        where=f"{path.name}, line {begins}",
                        found=f"{len(values)} values",
                        expected=f"{width}, as in the head",
                        fix="mend that line; a value with a comma in it stands in quotes",
                    )
        except csv.Error as error:
            raise ValueError from error


def _separated(head: Sequence[str], path: Path) -> None:
    """Refuse a file of which the head is one name that holds another separator, as half the world writes tables."""
    kinds = {";": "semicolons", "\t": "tabs", "|": "bars"}
    other = [name for sign, name in kinds.items() if len(head) == 1 and sign in head[0]]
    if other:
        raise UsageError(
            "values of a table are not separated by commas",
            where=f"{path.name}, line 1",
            found=f"one column, and {other[0]} in its name",
            expected="commas between values, and a point in numbers",
            fix="save the file with commas; in a spreadsheet: as CSV with the field delimiter set to a comma",
        )


def _json_lines(path: Path) -> dict[int, Any]:
    """Return the object on each line that is not blank, by the number of the line, from 1."""
    data = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    rows: dict[int, Any] = {}
    for number, line in enumerate(data.split(b"\n"), start=1):  # a text may hold other ends of lines, as characters
        try:
            if line.strip():
                rows[number] = json.loads(line)
        except UnicodeDecodeError as error:
            raise _no_object(path, number, f"byte {error.start + 1} is not UTF-8", "save the file as UTF-8") from error
        except ValueError as error:  # the parser's reason without its text, which could hold data
            said, column = getattr(error, "msg", "no JSON"), getattr(error, "colno", 1)
            fix = "correct that line; a file of one list is written anew with pandas: to_json(path, orient='records', "
            raise _no_object(path, number, f"{said}, column {column}", f"{fix}lines=True)") from error
        if not isinstance(rows.get(number, {}), dict):
            raise _no_object(path, number, type(rows[number]).__name__, 'give every value a name: {"text": ...}')
    return rows


def _no_object(path: Path, number: int, found: str, fix: str) -> UsageError:
    return UsageError(
        "a line that is no JSON object",
        where=f"{path.name}, line {number}",
        found=found,
        expected='one object on each line, e.g. {"id": 7, "text": "..."}',
        fix=fix,
    )


def _pandas() -> ModuleType:
    try:
        import pandas
    except ModuleNotFoundError as error:
        raise registry.missing_extra(error) from error
    return pandas


def present(wanted: list[str], there: list[str], where: str) -> None:
    """Refuse a table that lacks a column, or has one of this name twice."""
    missing = [name for name in wanted if name not in there]
    if missing:
        near = difflib.get_close_matches(missing[0], there, n=1)
        raise UsageError(
            "the table lacks columns",
            where=where,
            found=f"no {', '.join(missing[:5])}",
            expected=_names(wanted, there, where),
            fix=f"did you mean {near[0]!r}?" if near else "correct the names of the columns",
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


def _names(wanted: list[str], there: list[str], where: str) -> str:
    """Return which columns there are; of a CSV file that has none of these names its first line may be a record."""
    if where.lower().endswith(".csv") and not set(wanted) & set(there):
        return (
            f"a first line that names the columns: that of this file has {len(there)} entries, none of them asked for"
        )
    return f"some of {', '.join(there[:20])}"


def plain_value(value: Any) -> Any:
    """Return a number of NumPy's as Python's own; of lists and structs, as parquet nests them, every part so."""
    if hasattr(value, "tolist"):
        value = value.tolist()  # of a list in parquet; its structs may hold lists of their own
    if isinstance(value, dict):
        return {name: plain_value(part) for name, part in value.items()}
    return [plain_value(part) for part in value] if isinstance(value, list) else value


def plain(column: Any) -> list[Any]:
    """Return the values of a column as Python's own; None where one is missing."""
    missing = column.isna().tolist()
    return [None if gone else plain_value(v) for v, gone in zip(column.tolist(), missing, strict=True)]


def stated(value: Any) -> Any:
    """Return a value as something whose text is the same in every process, and from every form of a file."""
    if isinstance(value, float) and value.is_integer():
        return int(value)  # a column of whole numbers becomes one of floats as soon as one of them is missing
    return value if isinstance(value, (str, int, float, bool, type(None))) else f"{type(value).__name__} {value}"


def place(frame: Any, row: int) -> str:
    """Return where the row at this position stands in its file, in words; a frame that came from none counts from 0."""
    return f"{frame.index.name} {frame.index[row]}" if frame.index.name in ("line", "row") else f"row {row}"


def whole(values: Sequence[Any], frame: Any, *, where: str, what: str) -> None:
    """Refuse values, one for each row of ``frame``, of which one is missing."""
    missing = [i for i, value in enumerate(values) if value is None or value == ""]
    if missing:
        raise UsageError(
            f"rows without {what}",
            where=f"{where}, first at {place(frame, missing[0])}",
            found=f"{len(missing)} of {len(values)} rows",
            expected=f"a {what} in every row",
            fix="drop these rows, or mend them",
        )


def ids_of(frame: Any, column: str | None, where: str, *, of: str = "") -> tuple[str, ...]:
    """Return the ids in a column as text; positions where none is named, after what the file is ``of``."""
    if column is None:
        return tuple(f"{of}{position}" for position in range(len(frame)))
    values = plain(frame[column])
    whole(values, frame, where=f"{where}, column {column}", what="id")
    names = check_names([str(stated(value)) for value in values], len(values), where=where)
    double = [name for name, count in Counter(names).items() if count > 1]
    if double:
        raise UsageError(
            "duplicate record ids",
            where=f"{where}, column {column}, first at {place(frame, names.index(double[0]))}",
            found=f"{len(double)} ids used more than once",
            expected="every record with an id of its own",
            fix="number the copies, or drop them: a deletion that leaves a copy deletes nothing",
        )
    return names


def subjects_of(frame: Any, column: str | None) -> tuple[str | None, ...]:
    """Return the subjects in a column as text, None where one is missing or no column is named."""
    if column is None:
        return (None,) * len(frame)
    return tuple(None if value is None or value == "" else str(stated(value)) for value in plain(frame[column]))


def groups_of(column: Any, ids: Sequence[str]) -> dict[str, str]:
    """Return the group of each record by id, as text, of a column of groups; of those without one, none."""
    values = [None if value is None or value == "" else str(stated(value)) for value in plain(column)]
    return {name: _WHOLE.sub(r"\1", group) for name, group in zip(ids, values, strict=True) if group is not None}


_WHOLE = re.compile(r"^(-?\d+)\.0$")
"""How pandas writes a whole number of a column in which one is missing: in another file it is written without."""


def of_groups(group: str | None, where: str, **others: str | None) -> None:
    """Refuse a column of groups that is the one of ids, or of labels."""
    for what, other in others.items():
        if group is not None and group == other:
            raise UsageError(
                f"groups by {what}",
                where=f"{where}, column {group}",
                found=f"the column of {what}s",
                expected="a column that says which group a record is of, with many records, and classes, in each",
                fix="name another column, or leave the group out",
            )


def together(column: str, *found: Mapping[str, str]) -> dict[str, str]:
    """Return the groups of records of several files, by id.

    Raises:
        UsageError: none of them has any: nothing would be judged by the column that was named for it.
    """
    groups = {name: group for part in found for name, group in part.items()}
    if not groups:
        raise UsageError(
            "a column of groups that names none",
            where=f"[data], group, column {column}",
            found="no row with a group, in any file",
            expected="the group of each row for which it is known",
            fix="name another column, or leave the group out",
        )
    return groups
