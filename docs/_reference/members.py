"""A class or a function of the API as a section of a page."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from typing import Any

from _reference.text import code, doc, fields, limits, plain, signature, table


def section(name: str, thing: Any, *, level: int = 2) -> str:
    """Return the section on one public name: signature, docstring, fields, members."""
    head = f"{'#' * level} {name}"
    where = f"`{thing.__module__}.{thing.__qualname__}`"
    if not isinstance(thing, type):
        return "\n\n".join([head, where, code(signature(name, thing)), doc(thing)])
    parts = [head, where, _made(name, thing), doc(thing), _fields(thing), _members(thing)]
    return "\n\n".join(part for part in parts if part)


def _made(name: str, kind: type) -> str:
    if issubclass(kind, __import__("enum").Enum):
        return table(("member", "value"), [(f"`{m.name}`", f"`{m.value}`") for m in kind])  # type: ignore[attr-defined]
    return code(signature(name, kind)) if not inspect.isabstract(kind) else ""


def _fields(kind: type) -> str:
    """Return the table of fields where the docstring does not list them."""
    if not dataclasses.is_dataclass(kind) or not any("doc" in f.metadata for f in fields(kind)):
        return ""
    rows = [(f"`{f.name}`", plain(f.metadata.get("doc", "")), limits(f)) for f in fields(kind)]
    return table(("field", "meaning", "allowed"), rows)


def _members(kind: type) -> str:
    """Return the public members that a class brings itself, each with what it promises."""
    rows = []
    for name, member in kind.__dict__.items():
        if name.startswith("_") and name not in ("__getitem__", "__len__"):
            continue
        bare = member.__func__ if isinstance(member, (staticmethod, classmethod)) else member
        if isinstance(bare, (property, functools.cached_property)):
            function = bare.fget if isinstance(bare, property) else bare.func
            rows.append(f"- `{name}`: {_said(kind, name, function)}")
        elif inspect.isfunction(bare):
            must = " **Must be written.**" if getattr(bare, "__isabstractmethod__", False) else ""
            shown = " ".join(signature(name, bare, width=None).split())
            rows.append(f"- `{shown}`: {_said(kind, name, bare)}{must}")
    return "\n".join(["**Members**", "", *rows]) if rows else ""


def _said(kind: type, name: str, function: Any) -> str:
    text = doc(function) or next((doc(b.__dict__[name]) for b in kind.__mro__[1:] if name in b.__dict__), "")
    return " ".join(text.replace("\n- ", " · ").split())
