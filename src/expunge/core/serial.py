"""Frozen dataclasses to plain data and back, and canonical JSON bytes.

Canonical: keys sorted, no spaces, UTF-8, no NaN or infinity (the subset of RFC 8785 that our records
need; floats are Python's shortest round-trip form). Equal records give equal bytes on every machine.
A field with ``metadata={"live": True}`` holds a handle (a model, say) and is never written. One with ``"later"`` came
after others had been written and digested: where it has its default it is left out, so that their bytes stay.
"""

from __future__ import annotations

import dataclasses
import datetime
import difflib
import enum
import json
import math
import types
import typing
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeVar

from expunge.core.errors import UsageError

T = TypeVar("T")


def plain(value: object) -> Any:
    """Turn a record (nested dataclasses, enums, tuples, mappings) into JSON-ready data."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [f for f in dataclasses.fields(value) if not f.metadata.get("live")]
        parts = {f.name: getattr(value, f.name) for f in fields}
        unsaid = {f.name for f in fields if f.metadata.get("later") and parts[f.name] == f.default}
        return {name: plain(part) for name, part in parts.items() if name not in unsaid}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(plain(item) for item in value)
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    raise TypeError(f"cannot serialise {type(value).__name__}")


def canonical(value: object) -> bytes:
    """Return the canonical JSON bytes of a record."""
    text = json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def parse(data: bytes) -> Any:
    """Return what JSON bytes say, read strictly: UTF-8, no key twice, no NaN or infinity.

    Raises:
        ValueError: not such JSON; the text says why and quotes nothing.
    """
    try:
        return json.loads(
            data.decode("utf-8"), object_pairs_hook=_unique, parse_float=_finite, parse_constant=_no_constant
        )
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg.removesuffix(' at')} at character {error.pos}") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object has the same key twice")
    return found


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def build(cls: type[T], data: object, *, where: str = "") -> T:
    """Rebuild a record of type ``cls`` from plain data.

    ``where`` the data stand is how errors begin: a file, ``job.toml``, or a table of one, ``[methods.npo]``.

    Raises:
        UsageError: a key is unknown or missing, a value has the wrong type, or the record refuses it; says where.
    """
    return typing.cast(T, _convert(cls, data, where or cls.__name__))


def _convert(kind: Any, data: Any, where: str) -> Any:
    origin = typing.get_origin(kind)
    if kind is Any or kind is object:
        return data
    if origin in (typing.Union, types.UnionType):
        return _convert_union(kind, data, where)
    if origin is tuple:
        return _convert_tuple(kind, data, where)
    if origin in (frozenset, set):
        (item,) = typing.get_args(kind)
        return frozenset(_convert(item, part, where) for part in _expect(data, list, where))
    if origin is not None and issubclass(origin, Mapping):
        _, item = typing.get_args(kind)
        mapping = _expect(data, dict, where)
        return {key: _convert(item, part, _at(where, key)) for key, part in mapping.items()}
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return _convert_enum(kind, data, where)
    if dataclasses.is_dataclass(kind):
        return _convert_record(typing.cast(type, kind), data, where)
    if kind is float and isinstance(data, int) and not isinstance(data, bool):
        return float(data)
    return _expect(data, type(None) if kind is None else kind, where)


def _convert_union(kind: Any, data: Any, where: str) -> Any:
    options = typing.get_args(kind)
    if data is None and type(None) in options:
        return None
    failures: list[UsageError] = []
    for option in options:
        if option is not type(None):
            try:
                return _convert(option, data, where)
            except UsageError as failure:
                failures.append(failure)
    raise max(failures, key=lambda each: len(each.obstacles[0].where))  # the kind that fitted the farthest


def _convert_tuple(kind: Any, data: Any, where: str) -> Any:
    # JSON has lists only; who writes settings in Python writes a tuple where a tuple is declared.
    items, args = list(data) if isinstance(data, tuple) else _expect(data, list, where), typing.get_args(kind)
    if len(args) == 2 and args[1] is Ellipsis:
        return tuple(_convert(args[0], part, f"{where}[{i}]") for i, part in enumerate(items))
    if len(args) != len(items):
        raise UsageError(
            "wrong length",
            where=where,
            found=str(len(items)),
            expected=str(len(args)),
            fix="write as many values",
        )
    return tuple(_convert(a, part, f"{where}[{i}]") for i, (a, part) in enumerate(zip(args, items, strict=True)))


def _convert_enum(kind: type[enum.Enum], data: Any, where: str) -> enum.Enum:
    try:
        return kind(data)
    except ValueError:
        known = ", ".join(str(member.value) for member in kind)
        raise UsageError(
            "unknown value",
            where=where,
            found=repr(data),
            expected=f"one of {known}",
            fix="write one of these",
        ) from None


_hints = lru_cache(maxsize=512)(typing.get_type_hints)  # reports hold thousands of records of a few dozen types


def _convert_record(kind: type, data: Any, where: str) -> Any:
    mapping = _expect(data, dict, where)
    hints = _hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind) if f.init and not f.metadata.get("live")}
    unknown = sorted(set(mapping) - set(fields))
    if unknown:
        several = f"some of {', '.join(fields)}" if len(fields) > 1 else f"{''.join(fields)}, and nothing else"
        expected = several if fields else "nothing: there is nothing to set"
        near = difflib.get_close_matches(unknown[0], fields, n=1)
        fix = f"did you mean {near[0]!r}?" if near else "remove or rename it"
        found = ", ".join(map(repr, unknown))
        raise UsageError(f"unknown key {unknown[0]!r}", where=where, found=found, expected=expected, fix=fix)
    required = [
        name
        for name, f in fields.items()
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    missing = [name for name in required if name not in mapping]
    if missing:
        raise UsageError(
            f"missing key {missing[0]!r}",
            where=where,
            found=", ".join(map(repr, mapping)) or "no keys",
            expected=", ".join(map(repr, required)),
            fix="add it",
        )
    values = {key: _convert(hints[key], item, _at(where, key)) for key, item in mapping.items()}
    try:
        return kind(**values)
    except UsageError as error:
        raise _placed(error, f"{kind.__qualname__}.", where) from None


def _at(where: str, key: str) -> str:
    """Return where a key stands: behind a table as users write it, ``[methods.npo] beta``, else ``job.toml.seed``."""
    return f"{where} {key}" if where.startswith("[") and where.find("]") == len(where) - 1 else f"{where}.{key}"


def _placed(error: UsageError, own: str, where: str) -> UsageError:
    """Return what a record says of a field of its ``own``, said of the place where that was written."""
    first = error.obstacles[0]
    if len(error.obstacles) != 1 or not first.where.startswith(own):
        return error
    parts = {field.name: getattr(first, field.name) for field in dataclasses.fields(first) if field.name != "fatal"}
    return type(error)(**{**parts, "where": _at(where, first.where.removeprefix(own))})


def _expect(data: Any, kind: Any, where: str) -> Any:
    wrong_bool = isinstance(data, bool) and kind is not bool
    if not isinstance(data, kind) or wrong_bool:
        raise UsageError(
            "wrong type",
            where=where,
            found=_WORDS.get(type(data), type(data).__name__),
            expected=_WORDS.get(kind, kind.__name__),
            fix="write a value of that type",
        )
    return data


_WORDS = {
    dict: "a table of names and values",
    list: "a list",
    str: "a text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    type(None): "nothing",
    datetime.date: "a date",
    datetime.datetime: "a date",
}
"""What whoever writes a file calls a type."""
