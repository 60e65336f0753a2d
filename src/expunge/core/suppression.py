"""An output filter: it stops answers that say what was to be forgotten, and knows no more of it than keyed hashes.

It is a file beside a model that is unchanged, a stop-gap until the records are erased. Whoever has the model without
the filter has all that the model knew. Standard library only, so that it runs wherever answers are given.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from expunge.core.digest import keyed
from expunge.core.errors import UsageError
from expunge.core.serial import build, canonical, parse
from expunge.core.storage import write_file

FORMAT = "expunge-output-filter-1"
OUTPUT_FILTER = "output-filter.json"
"""The file in a run directory."""
_MARK = 16
"""Bytes of a hash that are kept: by chance none of 2^40 pieces is another's."""


@dataclass(frozen=True)
class OutputFilter:
    """Stops a text that holds ``length`` words in a row of a forgotten one.

    Attributes:
        key: in hex; hashes are made with it, so that the file does not show what it stops. Who holds the file can still
            find out whether a text that he guesses is stopped.
        lengths: words of the pieces: ``length``, and fewer where a whole forgotten text has no more.
        marks: their hashes, sorted.
        instead: what is answered in the place of a text that is stopped.
        until: the date (YYYY-MM-DD) by which the records are to be erased, noted alone; empty where there is none.
        format: of the file.
    """

    key: str
    lengths: tuple[int, ...]
    marks: tuple[str, ...]
    instead: str
    until: str = ""
    format: str = FORMAT

    @classmethod
    def against(
        cls,
        forgotten: Iterable[str],
        retained: Iterable[str],
        *,
        key: bytes,
        length: int,
        instead: str,
        until: str = "",
    ) -> OutputFilter:
        """Return the filter of these texts; pieces that stand in a ``retained`` text as well are let through."""
        texts = [said for text in forgotten if (said := words(text))]
        sizes = {min(length, len(text)) for text in texts}
        found = {piece for text in texts for piece in _pieces(text, (min(length, len(text)),))}
        found -= {piece for text in retained for piece in _pieces(words(text), sizes)}
        marks = sorted({_mark(key, piece) for piece in found})
        return cls(key.hex(), tuple(sorted({len(piece) for piece in found})), tuple(marks), instead, until)

    def stops(self, text: str) -> bool:
        """Return whether the text holds a piece of a forgotten one."""
        known, key = set(self.marks), bytes.fromhex(self.key)
        return any(_mark(key, piece) in known for piece in _pieces(words(text), self.lengths))

    def answer(self, text: str) -> str:
        """Return the text, or ``instead`` where it is stopped."""
        return self.instead if self.stops(text) else text

    def save(self, path: Path) -> None:
        """Write the filter as JSON."""
        write_file(path, canonical(self) + b"\n")

    @classmethod
    def load(cls, path: str | Path) -> OutputFilter:
        """Return the filter that :meth:`save` wrote.

        Raises:
            UsageError: not readable, or no such filter.
        """
        try:
            found: OutputFilter = build(cls, parse(Path(path).read_bytes()), where="the output filter")
            bytes.fromhex(found.key)
        except (OSError, ValueError) as error:
            raise _unreadable(path, str(getattr(error, "strerror", None) or error)) from error
        if found.format != FORMAT:
            raise _unreadable(path, f"format {found.format[:40]!r}")
        return found


def _unreadable(path: str | Path, found: str) -> UsageError:
    return UsageError(
        "cannot read the output filter",
        where=Path(path).name,
        found=found,
        expected=f"a file that `suppress` wrote, {FORMAT}",
        fix="give the path of that file, as it was written",
    )


def words(text: str) -> list[str]:
    """Return the words of a text: runs of letters and digits, in one case and one form of every character."""
    return re.findall(r"[^\W_]+", unicodedata.normalize("NFKC", text).casefold())


def _pieces(text: list[str], lengths: Iterable[int]) -> Iterator[tuple[str, ...]]:
    for size in lengths:
        yield from (tuple(text[i : i + size]) for i in range(len(text) - size + 1))


def _mark(key: bytes, piece: tuple[str, ...]) -> str:
    return keyed(key, *piece)[:_MARK].hex()
