"""The forms in which a report can be had: name, file in the run directory, function. Nothing else lists them.

Each is imported when it is used: the command line lists the names for every command.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from expunge.core.errors import UnknownName
from expunge.core.report import Report


@dataclass(frozen=True)
class Format:
    """One form: ``file`` is its name in a run directory, ``render`` a pure function of the report."""

    file: str
    render: Callable[[Report], bytes]


def _html(report: Report) -> bytes:
    from expunge.render.html import page

    return page(report).encode()


def _json(report: Report) -> bytes:
    from expunge.render.record import dump

    return dump(report)


def _junit(report: Report) -> bytes:
    from expunge.render.junit import suites

    return suites(report).encode()


def _markdown(report: Report) -> bytes:
    from expunge.render.markdown import page

    return page(report).encode()


def _sarif(report: Report) -> bytes:
    from expunge.render.sarif import log

    return log(report).encode()


def _text(report: Report) -> bytes:
    from expunge.render.text import summary

    return f"{summary(report)}\n".encode()


FORMATS = {
    "html": Format("report.html", _html),
    "json": Format("report.json", _json),
    "junit": Format("report.junit.xml", _junit),
    "markdown": Format("report.md", _markdown),
    "sarif": Format("report.sarif", _sarif),
    "text": Format("report.txt", _text),
}
ALWAYS = ("html", "json")
"""What every run writes, asked or not."""


def named(name: str, *, where: str) -> Format:
    """Return a form by its name.

    Raises:
        UnknownName: there is no such form.
    """
    if name not in FORMATS:
        raise UnknownName(
            f"no format called {name!r}",
            where=where,
            found=repr(name),
            expected=f"one of {', '.join(FORMATS)}",
            fix="write one of these",
        )
    return FORMATS[name]
