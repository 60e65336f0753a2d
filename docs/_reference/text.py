"""From docstrings and signatures to Markdown."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterable, Sequence
from typing import Any

_ROLE = re.compile(r":(?:class|func|meth|mod|attr|data):`~?\.?([\w.]+)`")
_SECTION = re.compile(r"^(Attributes|Args|Raises|Shapes|Source|Not covered|Returns):(.*)$")
_ENTRY = re.compile(r"^([\w/*., ]+?):\s+(.*)$")
_TITLES = {"Args": "Arguments"}


def plain(text: str) -> str:
    """Return docstring text as Markdown: roles and double backticks become code."""
    return _ROLE.sub(lambda role: f"`{role[1]}`", text).replace("``", "`")


def doc(thing: Any) -> str:
    """Return the own docstring of a thing as Markdown; empty where it has none."""
    own = thing.__dict__.get("__doc__") if isinstance(thing, type) else getattr(thing, "__doc__", None)
    return markdown(own or "")


def markdown(docstring: str) -> str:
    """Return a docstring as Markdown; its sections (``Attributes:``, ``Raises:``) become lists."""
    lines, out = inspect.cleandoc(docstring).splitlines(), []
    for line in lines:
        section = _SECTION.match(line)
        if section:
            rest = section[2].strip()
            out += ["", f"**{_TITLES.get(section[1], section[1])}**" + (f" {rest}" if rest else ""), ""]
        elif line.startswith("    ") and (entry := _ENTRY.match(line.strip())) and not line.startswith("     "):
            names = ", ".join(f"`{name.strip()}`" for name in re.split(r"[,/]", entry[1]))
            out.append(f"- {names}: {entry[2]}")
        elif line.startswith("        ") and out:
            out[-1] += f" {line.strip()}"
        else:
            out.append(line)
    return plain("\n".join(out)).strip()


def first_line(thing: Any) -> str:
    """Return the first paragraph of the docstring, in one line."""
    return " ".join(doc(thing).split("\n\n")[0].split())


def code(text: str) -> str:
    """Return a Python block of a signature: ``text`` is shown, never run."""
    return f"```python\n{text}\n```"


def signature(name: str, function: Any, *, width: int | None = 90) -> str:
    """Return ``name(arguments) -> result`` as the source has it, broken where it is longer than ``width``."""
    shown = inspect.signature(function)
    parts, star = [], False
    for parameter in shown.parameters.values():
        if parameter.name in ("self", "cls"):
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not star:
            parts.append("*")
        star = star or parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_POSITIONAL)
        parts.append(_parameter(parameter))
    back = shown.return_annotation
    result = "" if isinstance(function, type) or back is shown.empty else f" -> {_annotation(back)}"
    line = f"{name}({', '.join(parts)}){result}"
    if width is None or len(line) <= width:
        return line
    return f"{name}(\n" + "".join(f"    {part},\n" for part in parts) + f"){result}"


def _parameter(parameter: inspect.Parameter) -> str:
    """Return one parameter; a long default is shown by its class alone."""
    stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    hint = "" if parameter.annotation is parameter.empty else f": {_annotation(parameter.annotation)}"
    if parameter.default is parameter.empty:
        return f"{stars}{parameter.name}{hint}"
    value = repr(parameter.default)
    if value == "<factory>":
        value = "..."
    elif dataclasses.is_dataclass(parameter.default):
        value = f"{type(parameter.default).__qualname__}(...)"
    return f"{stars}{parameter.name}{hint} = {value}" if hint else f"{stars}{parameter.name}={value}"


def _annotation(hint: Any) -> str:
    return hint if isinstance(hint, str) else getattr(hint, "__name__", str(hint))


def fields(kind: type) -> list[dataclasses.Field[Any]]:
    """Return the fields of a dataclass."""
    return list(dataclasses.fields(kind))


def default(field: dataclasses.Field[Any]) -> str:
    """Return the default of a field, or ``required``."""
    if field.default is not dataclasses.MISSING:
        return f"`{field.default!r}`" if not dataclasses.is_dataclass(field.default) else "see below"
    if field.default_factory is not dataclasses.MISSING:
        return f"`{field.default_factory()!r}`"
    return "required"


def limits(field: dataclasses.Field[Any]) -> str:
    """Return what a setting may be."""
    meta = field.metadata
    parts = [
        f"≥ {meta['low']}" if meta.get("low") is not None else "",
        f"> {meta['above']}" if meta.get("above") is not None else "",
        f"≤ {meta['high']}" if meta.get("high") is not None else "",
        ", ".join(f"`{choice}`" for choice in meta.get("choices") or ()),
    ]
    return " and ".join(part for part in parts if part) or "any"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    """Return a table cell: a bar outside code would end it; inside code it stands for itself."""
    parts = text.split("`")
    return "`".join(part if place % 2 else part.replace("|", "\\|") for place, part in enumerate(parts))


def settings(kind: type) -> str:
    """Return the table of a configuration's settings."""
    rows = [
        (f"`{f.name}: {f.type}`", default(f), limits(f), plain(f.metadata.get("doc", "")))
        for f in fields(kind)
        if "doc" in f.metadata
    ]
    return table(("setting", "default", "allowed", "meaning"), rows)


def page(title: str, *parts: str) -> str:
    """Return a page: the title and its parts, with a line of origin at the end."""
    origin = "*Written from the code when this page was built.*"
    return "\n\n".join([f"# {title}", *(part for part in parts if part), origin]) + "\n"
