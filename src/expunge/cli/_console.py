"""The two ways out: text for people on stderr, one JSON object on stdout.

Texts may come from files that someone else wrote (names in a certificate, say): control characters are
shown as escapes, so that no text can move the cursor, and markup is never interpreted.
"""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, redirect_stdout
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from expunge.core.errors import ExpungeError, Obstacle
from expunge.core.serial import plain

ERROR_PARTS = ("where", "found", "expected", "fix")


def console() -> Console:
    """Return the console for people: stderr as it is now; rich reads NO_COLOR by itself."""
    return Console(stderr=True, highlight=False)


def clean(text: str) -> str:
    """Return ``text`` with everything that is not printable as an escape; line ends stay."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def say(text: str, *, style: str = "", first: str = "", indent: int = 0) -> None:
    """Print a paragraph on stderr: ``first`` before it, further lines indented by ``indent``.

    Lines are wrapped on a terminal only, so that logs keep whole sentences.
    """
    out = console()
    body = clean(text)
    if out.is_terminal:
        lines = [textwrap.wrap(part, max(20, out.width - indent - 1)) or [""] for part in body.splitlines()]
        body = "\n".join(line for part in lines for line in part)
    body = body.replace("\n", "\n" + " " * indent)
    out.print(Text.assemble(first.ljust(indent), (body, style)), soft_wrap=True)


def width() -> int:
    """Return how many columns a text may have: those of the terminal, or a hundred in a log."""
    out = console()
    return out.width if out.is_terminal else 100


def verbatim(text: str) -> None:
    """Print lines on stderr as they are: a command or a path that is too long is left to the terminal to wrap."""
    console().print(Text(clean(text)), soft_wrap=True)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table on stderr; the first column never wraps."""
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for place, column in enumerate(columns):
        grid.add_column(column, no_wrap=place == 0, overflow="fold")
    for row in rows:
        grid.add_row(*(Text(clean(cell)) for cell in row))
    console().print(grid)


def own_stdout() -> AbstractContextManager[object]:
    """Keep stdout for results: what a user's code prints meanwhile goes to stderr."""
    return redirect_stdout(sys.stderr)


def emit_json(record: object) -> None:
    """Print a record as one JSON object on stdout."""
    print(json.dumps(plain(record), allow_nan=False), flush=True)


def show_error(error: ExpungeError, *, as_json: bool) -> None:
    """Print an error as one block on stderr, and with ``as_json`` as one object on stdout instead."""
    if as_json:
        emit_json({"error": describe(error)})
        return
    count = len(error.obstacles)
    if count > 1:
        say(f"{count} things are wrong:", style="bold red")
    for obstacle in error.obstacles:
        _show_obstacle(obstacle, first="error: " if count == 1 else "- ")


def describe(error: ExpungeError) -> dict[str, Any]:
    """Return an error as plain data."""
    obstacles = [plain(obstacle) for obstacle in error.obstacles]
    return {"kind": type(error).__name__, "exit_code": error.exit_code, "problems": obstacles}


def _show_obstacle(obstacle: Obstacle, *, first: str) -> None:
    say(obstacle.what, style="bold", first=first, indent=len(first))
    for name in ERROR_PARTS:
        if text := getattr(obstacle, name):
            say(text, first=f"  {name}:", indent=12)
