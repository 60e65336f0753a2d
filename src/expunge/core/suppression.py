"""Filters beside a model that is unchanged: of what it is asked, and of what it answers. They hold keyed hashes alone.

A stop-gap until the records are erased. Whoever has the model without the filters has all that the model knew. Standard
library only, so that they run wherever answers are given.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from expunge.core.digest import keyed
from expunge.core.errors import UsageError
from expunge.core.phrases import UNSPACED
from expunge.core.serial import build, canonical, parse
from expunge.core.storage import write_file

FILTERS = OUTPUT_FILTER, INPUT_FILTER = "output-filter.json", "input-filter.json"
"""The files in a run directory."""
_MARK = 16
"""Bytes of a hash that are kept: by chance none of 2^40 pieces is another's."""
_NAME = 3
"""Words that a name has at the most: what forgotten questions share is looked for in so many words in a row."""
Piece = tuple[str, ...]


@dataclass(frozen=True)
class Filter:
    """Stops a text that holds a piece, some words in a row, of which it knows the hash.

    Attributes:
        key: in hex; hashes are made with it, so that the file does not show what it stops. Who holds the file can still
            find out whether a text that he guesses is stopped, and names are soon guessed.
        lengths: words of the pieces.
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
    format: str = ""

    FORMAT: ClassVar[str] = ""
    what: ClassVar[str] = ""

    @classmethod
    def _of(cls, pieces: Iterable[Piece], key: bytes, instead: str, until: str) -> Self:
        found = set(pieces)
        marks = sorted({_mark(key, piece) for piece in found})
        return cls(key.hex(), tuple(sorted({len(piece) for piece in found})), tuple(marks), instead, until, cls.FORMAT)

    def stops(self, text: str) -> bool:
        """Return whether the text holds one of the pieces."""
        known, key = set(self.marks), bytes.fromhex(self.key)
        return any(_mark(key, piece) in known for piece in _pieces(words(text), self.lengths))

    def save(self, path: Path) -> None:
        """Write the filter as JSON."""
        write_file(path, canonical(self) + b"\n")

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Return the filter that :meth:`save` wrote.

        Raises:
            UsageError: not readable, or no such filter.
        """
        try:
            found: Self = build(cls, parse(Path(path).read_bytes()), where=f"the {cls.what}")
        except (OSError, ValueError) as error:
            raise cls._unreadable(path, str(getattr(error, "strerror", None) or error)) from error
        if found.format != cls.FORMAT:
            raise cls._unreadable(path, f"format {found.format[:40]!r}")
        if wrong := found._altered():
            raise cls._unreadable(path, f"{wrong} of another form")
        return found

    def _altered(self) -> str:
        """Return which field is not as it is written: such a filter would let everything through, without a word."""
        if not re.fullmatch(r"([0-9a-f]{2})+", self.key):
            return "key"
        if not all(re.fullmatch(rf"[0-9a-f]{{{2 * _MARK}}}", mark) for mark in self.marks):
            return "marks"
        return "lengths" if bool(self.lengths) != bool(self.marks) or min(self.lengths, default=1) < 1 else ""

    @classmethod
    def _unreadable(cls, path: str | Path, found: str) -> UsageError:
        return UsageError(
            f"cannot read the {cls.what}",
            where=Path(path).name,
            found=found,
            expected=f"a file that `suppress` wrote, {cls.FORMAT}",
            fix="give the path of that file, as it was written",
        )


@dataclass(frozen=True)
class OutputFilter(Filter):
    """Stops an answer that holds some words in a row of a forgotten one."""

    FORMAT: ClassVar[str] = "expunge-output-filter-1"
    what: ClassVar[str] = "output filter"

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
        """Return the filter of pieces of ``length`` words of these texts, and of all of a text that has no more.

        Pieces that stand in a ``retained`` text as well are let through.
        """
        texts = [said for text in forgotten if (said := words(text))]
        return cls._of(_told(texts, map(words, retained), length), key, instead, until)

    def answer(self, text: str) -> str:
        """Return the text, or ``instead`` where it is stopped."""
        return self.instead if self.stops(text) else text


@dataclass(frozen=True)
class InputFilter(Filter):
    """Stops a prompt that asks for what is forgotten: by whom it asks about, else by the words of a forgotten question.

    Whom a prompt asks about is known by what several forgotten questions share and no retained one has, mostly a name.
    A question that shares nothing with another is known by its own words in a row.
    """

    FORMAT: ClassVar[str] = "expunge-input-filter-1"
    what: ClassVar[str] = "input filter"

    @classmethod
    def against(
        cls,
        forgotten: Sequence[str],
        retained: Iterable[str],
        *,
        key: bytes,
        length: int,
        name: int,
        instead: str,
        until: str = "",
    ) -> InputFilter:
        """Return the filter of these questions; what stands in a ``retained`` question as well is let through.

        Args:
            forgotten: the questions whose answers are forgotten.
            retained: questions that are to be answered.
            key: of the hashes.
            length: words in a row by which a question is known that shares no name with another.
            name: the fewest words in a row that make a name.
            instead: what is answered in the place of a prompt that is stopped.
            until: the date by which the records are to be erased.
        """
        kept = [words(question) for question in retained]
        asked = [said for question in forgotten if (said := words(question))]
        names, left = _names(asked, kept, name)
        return cls._of(names | _told(left, kept, length), key, instead, until)


def words(text: str) -> list[str]:
    """Return the words of a text: runs of letters and digits, in one case and one form of every character.

    In scripts that set no space between words each character is one. Signs that may be left out (the vowels of Arabic
    and Hebrew, soft hyphens) are left out; those that write a vowel of an Indian script belong to its word.
    """
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return re.findall(_WORD, plain if plain.isascii() else "".join(c for c in plain if not _left_out(c)))


_INDIAN = r"\u0900-\u0963\u0966-\u0dff"
"""Blocks of Indian scripts, but for the signs that end a sentence: their vowels after a consonant are no letters."""
_WORD = re.compile(rf"[{UNSPACED}]|(?:(?![{UNSPACED}])(?:[^\W_]|[{_INDIAN}]))+")
_BARE = re.compile(rf"[{UNSPACED}]")


def _left_out(character: str) -> bool:
    """Return whether a sign stands over or under a letter without being part of it, or is not seen at all."""
    loose = unicodedata.combining(character) and not _BARE.match(character)
    return bool(loose) or unicodedata.category(character) == "Cf"


def _told(texts: Sequence[Sequence[str]], kept: Iterable[Sequence[str]], length: int) -> set[Piece]:
    """Return the pieces of ``length`` words of each text, all of one that has no more, without those that are kept."""
    sizes = {min(length, len(text)) for text in texts}
    found = {piece for text in texts for piece in _pieces(text, (min(length, len(text)),))}
    return found - {piece for text in kept for piece in _pieces(text, sizes)}


def _names(
    texts: Sequence[Sequence[str]], kept: Sequence[Sequence[str]], fewest: int
) -> tuple[set[Piece], list[Sequence[str]]]:
    """Return pieces that several texts share and none that is kept has, and the texts which hold none of these.

    First what most texts share, and of that the shortest; then what most of the rest do. With nothing kept there is
    nothing to tell names from other words by. One character of a script without spaces is no name: it is in many words.
    """
    sizes = range(fewest, max(fewest, _NAME) + 1)
    holders: dict[Piece, set[int]] = {}
    for place, text in enumerate(texts if kept else ()):
        for piece in _pieces(text, sizes):
            if len(piece) > 1 or not _BARE.match(piece[0]):
                holders.setdefault(piece, set()).add(place)
    for text in kept:
        for piece in _pieces(text, sizes):
            holders.pop(piece, None)
    found, left = set[Piece](), set(range(len(texts)))
    while True:
        rated = {piece: (len(of & left), -len(piece)) for piece, of in holders.items()}
        most = max(rated.values(), default=(0, 0))
        if most[0] < 2:  # what one text has alone may be any word
            return found, [texts[place] for place in sorted(left)]
        chosen = {piece for piece, value in rated.items() if value == most}
        found |= chosen
        left -= set[int]().union(*(holders[piece] for piece in chosen))


def _pieces(text: Sequence[str], lengths: Iterable[int]) -> Iterator[Piece]:
    for size in lengths:
        yield from (tuple(text[i : i + size]) for i in range(len(text) - size + 1))


def _mark(key: bytes, piece: Piece) -> str:
    return keyed(key, *piece)[:_MARK].hex()
