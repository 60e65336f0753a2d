"""Tags as values: text is escaped unless it is already markup, so that nothing can be forgotten."""

from __future__ import annotations

import html
import re

# Characters that no text for people holds and that HTML does not allow.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_VOID = frozenset({"meta"})
_CLOSED = frozenset({"circle", "line", "path", "rect", "use"})  # of SVG: these must close themselves


class Markup(str):
    """A string that is finished HTML; made by :func:`tag` and :func:`join` only."""

    __slots__ = ()


Child = str | None
"""Markup is taken as it is, a plain string is escaped, None is left out."""


def printable(value: str) -> str:
    """Return ``value`` without characters that steer a terminal or that HTML forbids."""
    return _CONTROL.sub("\ufffd", value)


def text(value: str) -> Markup:
    """Return ``value`` escaped for content and attributes."""
    return Markup(html.escape(printable(value), quote=True))


def join(*children: Child, between: str = "") -> Markup:
    """Return the children one after the other, with ``between`` (escaped) between them."""
    parts = [child if isinstance(child, Markup) else text(child) for child in children if child is not None]
    return Markup(text(between).join(parts))


def tag(name: str, /, *children: Child, **attributes: str | bool | None) -> Markup:
    """Return an element; ``class_`` stands for ``class``, ``data_label`` for ``data-label``.

    An attribute that is None or False is left out, one that is True stands without a value.
    """
    head = name
    for key, value in attributes.items():
        if value is not None and value is not False:
            written = key.rstrip("_").replace("_", "-")
            head += f" {written}" if value is True else f' {written}="{text(value)}"'
    if name in _VOID or name in _CLOSED:
        return Markup(f"<{head}/>" if name in _CLOSED else f"<{head}>")
    return Markup(f"<{head}>{join(*children)}</{name}>")


def bullets(items: tuple[str, ...], *, otherwise: str) -> Markup:
    """Return a list of sentences, or ``otherwise`` where there are none."""
    if not items:
        return tag("p", otherwise, class_="muted")
    return tag("ul", *(tag("li", item) for item in items))


def pairs(*entries: tuple[str, Child], class_: str) -> Markup:
    """Return a description list of (term, description); those without a description are left out."""
    rows = [tag("div", tag("dt", term), tag("dd", said)) for term, said in entries if said is not None]
    return tag("dl", *rows, class_=class_) if rows else Markup()


def code(value: str) -> Markup:
    """Return a digest or a literal setting."""
    return tag("code", value)
