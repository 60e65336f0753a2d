"""Tables that a screen reader, a phone and a printer can all read; decisions with a word and a sign."""

from __future__ import annotations

from collections.abc import Sequence

from expunge.core.verdict import Decision
from expunge.render._markup import Child, Markup, join, tag

_CLASSES = {
    Decision.PASS: "pass",
    Decision.FAIL: "fail",
    Decision.INCONCLUSIVE: "unsure",
    Decision.NOT_MEASURED: "none",
}
# Drawn, not typed: no font is sure to have the signs. Shape and word differ too: nothing hangs on colour.
_SIGNS = {
    Decision.PASS: (
        tag("circle", cx="8", cy="8", r="8", fill="currentColor"),
        tag("path", d="M4.3 8.4 L7 11 L11.7 5.4", class_="mark"),
    ),
    Decision.FAIL: (
        tag("rect", x="0.5", y="0.5", width="15", height="15", rx="3", fill="currentColor"),
        tag("path", d="M4.8 4.8 L11.2 11.2 M11.2 4.8 L4.8 11.2", class_="mark"),
    ),
    Decision.INCONCLUSIVE: (
        tag("circle", cx="8", cy="8", r="7", class_="ring"),
        tag("path", d="M5.7 6.3 C5.8 3.4 10.3 3.5 10.2 6.2 C10.1 7.9 8 7.8 8 9.4 M8 11.9 L8 12", class_="ring"),
    ),
    Decision.NOT_MEASURED: (
        tag("circle", cx="8", cy="8", r="7", class_="ring"),
        tag("path", d="M5 8 L11 8", class_="ring"),
    ),
}


def signs() -> Markup:
    """Return the drawings of the four signs, once per page, to be used by :func:`badge`."""
    symbols = [
        tag("symbol", *parts, id=f"sign-{_CLASSES[decision]}", viewBox="-1 -1 18 18")
        for decision, parts in _SIGNS.items()
    ]
    return tag("svg", *symbols, class_="signs", aria_hidden="true", width="0", height="0")


def sign(decision: Decision) -> Markup:
    """Return the sign alone; a word must stand beside it."""
    return tag("svg", tag("use", href=f"#sign-{_CLASSES[decision]}"), class_="sign", aria_hidden="true")


def badge(decision: Decision, word: str | None = None) -> Markup:
    """Return sign and word of a decision, or of something that counts like it."""
    said = word or decision.value.capitalize()
    return tag("span", sign(decision), tag("span", said), class_=f"badge {_CLASSES[decision]}")


def tone_class(decision: Decision) -> str:
    """Return the class that gives a box the colour of a decision."""
    return _CLASSES[decision]


def two(first: Child, second: Child) -> Markup:
    """Return a figure with a smaller line below it."""
    return join(tag("span", first, class_="first"), tag("span", second, class_="second"))


def cell(label: str, content: Child, **attributes: str | None) -> Markup:
    """Return a cell that carries the name of its column, for the narrow form of the table."""
    return tag("td", tag("span", content, class_="cell"), role="cell", data_label=label, **attributes)


def row(heads: Sequence[str], cells: Sequence[Child], *, scope: str = "row") -> Markup:
    """Return a row whose first cell is its head."""
    first = tag("th", cells[0], scope=scope, role="rowheader")
    rest = [cell(label, content) for label, content in zip(heads[1:], cells[1:], strict=True)]
    return tag("tr", first, *rest, role="row")


def more(columns: int, content: Markup) -> Markup:
    """Return a row of remarks across the whole table."""
    return tag("tr", tag("td", content, colspan=str(columns), role="cell"), role="row", class_="more")


def frame(
    caption: Child,
    heads: Sequence[str],
    bodies: Sequence[Markup],
    *,
    class_: str = "",
    foot: Markup | None = None,
) -> Markup:
    """Return a table around finished bodies (``tbody`` elements).

    The roles repeat what the elements mean: a narrow screen shows rows as blocks, and some browsers then
    forget that it is a table.
    """
    columns = [tag("th", name, scope="col", role="columnheader") for name in heads]
    head = tag("thead", tag("tr", *columns, role="row"), role="rowgroup")
    return tag("table", tag("caption", caption), head, *bodies, foot, class_=class_ or None, role="table")


def table(
    caption: Child,
    heads: Sequence[str],
    rows: Sequence[Sequence[Child]],
    *,
    class_: str = "",
    foot: Sequence[Child] | None = None,
) -> Markup:
    """Return a plain table; the first cell of a row is its head."""
    body = tag("tbody", *(row(heads, cells) for cells in rows), role="rowgroup")
    last = tag("tfoot", row(heads, foot), role="rowgroup") if foot is not None else None
    return frame(caption, heads, [body], class_=class_, foot=last)
