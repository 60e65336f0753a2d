"""Filters beside a model that is unchanged: of what it is asked, and of what it answers. They hold keyed hashes alone.

A stop-gap until the records are erased. Whoever has the model without the filters has all that the model knew. Standard
library only, so that they run wherever answers are given.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import ClassVar, Self

from expunge.core.digest import keyed, sha256
from expunge.core.errors import UsageError
from expunge.core.phrases import ALPHABETS, UNSPACED, words_of
from expunge.core.serial import build, canonical, parse
from expunge.core.storage import write_file

FILTERS = OUTPUT_FILTER, INPUT_FILTER = "output-filter.json", "input-filter.json"
"""The files in a run directory."""
_MARK = 16
"""Bytes of a hash that are kept: by chance none of 2^40 pieces is another's."""
_NAME = 3
"""Words that a name has at the most: what forgotten questions share is looked for in so many words in a row."""
_RARER = 5
"""How many times as often as retained questions forgotten ones name whom they ask about, at the least. A common word is
as frequent in both; and the retained ones are few then that are stopped where they are asked in other words."""
_LETTERS = 4
"""Letters and signs that count as a word where none is set apart by spaces: a word of Thai has four or five."""
_ALPHABET, _BARE = re.compile(rf"[{ALPHABETS}]"), re.compile(rf"[{UNSPACED}]")
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
        passes: hashes of whole texts that are let through although they hold a piece.
        whole: digest of all the other fields, so that a file of which a part was lost on the way is known.
    """

    key: str
    lengths: tuple[int, ...]
    marks: tuple[str, ...]
    instead: str
    until: str = ""
    format: str = ""
    passes: tuple[str, ...] = ()
    whole: str = ""

    FORMAT: ClassVar[str] = ""
    """Counts on whenever words are made of a text in another way: marks of earlier words would let it through."""
    what: ClassVar[str] = ""

    @classmethod
    def _of(cls, pieces: set[Piece], kept: Iterable[Sequence[str]], key: bytes, instead: str, until: str) -> Self:
        """Return the filter of these pieces; texts that are ``kept`` pass as they are."""
        lengths = tuple(sorted({len(piece) for piece in pieces}))
        passing = {tuple(text) for text in kept if not pieces.isdisjoint(_pieces(text, lengths))}
        marks, passes = (tuple(sorted(_mark(key, piece) for piece in some)) for some in (pieces, passing))
        made = cls(key.hex(), lengths, marks, instead, until, cls.FORMAT, passes)
        return replace(made, whole=made._sum())

    def _sum(self) -> str:
        return sha256(canonical(replace(self, whole="")))

    def stops(self, text: str) -> bool:
        """Return whether the text holds one of the pieces.

        Raises:
            UsageError: it is no text.
        """
        if not isinstance(text, str):
            raise UsageError(
                f"the {self.what} is asked about what is no text",
                where="text",
                found=type(text).__name__,
                expected="str",
                fix="give what is asked or answered as one text; of several, one after the other",
            )
        known, key, said = set(self.marks), bytes.fromhex(self.key), words_of(text)
        held = any(_mark(key, piece) in known for piece in _pieces(said, self.lengths))
        return held and _mark(key, tuple(said)) not in self.passes

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
        if found.whole != found._sum():  # with fewer marks it would let through what it was made to stop
            raise cls._unreadable(path, "a part of it is missing or was changed")
        return found

    @classmethod
    def _unreadable(cls, path: str | Path, found: str) -> UsageError:
        return UsageError(
            f"cannot read the {cls.what}",
            where=Path(path).name,
            found=found,
            expected=f"a file that `suppress` wrote, {cls.FORMAT}",
            fix="give the path of that file, as it was written; of an earlier version, write it anew with `suppress`",
        )


@dataclass(frozen=True)
class OutputFilter(Filter):
    """Stops an answer that holds some words in a row of a forgotten one."""

    FORMAT: ClassVar[str] = "expunge-output-filter-2"
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
        texts = [said for text in forgotten if (said := words_of(text))]
        return cls._of(_told(texts, map(words_of, retained), length), (), key, instead, until)

    def answer(self, text: str) -> str:
        """Return the text, or ``instead`` where it is stopped."""
        return self.instead if self.stops(text) else text


@dataclass(frozen=True)
class InputFilter(Filter):
    """Stops a prompt that asks for what is forgotten: by whom it asks about, else by the words of a forgotten question.

    Whom a prompt asks about is known by what several forgotten questions share and hardly a retained one has, mostly a
    name. A question that shares nothing with another is known by its own words in a row. A retained question passes as
    it is written, whomever it names; in other words it is stopped where it names whom the forgotten ones name.
    """

    FORMAT: ClassVar[str] = "expunge-input-filter-2"
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
        """Return the filter of these questions; ``retained`` ones are let through.

        Args:
            forgotten: the questions whose answers are forgotten.
            retained: questions that are to be answered.
            key: of the hashes.
            length: words in a row by which a question is known that shares no name with another.
            name: the fewest words in a row that make a name.
            instead: what is answered in the place of a prompt that is stopped.
            until: the date by which the records are to be erased.
        """
        kept = [words_of(question) for question in retained]
        asked = [said for question in forgotten if (said := words_of(question))]
        names, left = _names(asked, kept, name)
        return cls._of(names | _told(left, kept, length), kept, key, instead, until)


def _told(texts: Sequence[Sequence[str]], kept: Iterable[Sequence[str]], length: int) -> set[Piece]:
    """Return the pieces of ``length`` words of each text, all of one that has no more, without those that are kept."""
    found = {piece for text in texts for piece in _rows(text, length)}
    sizes = {len(piece) for piece in found}
    return found - {piece for text in kept for piece in _pieces(text, sizes)}


def _rows(text: Sequence[str], length: int) -> Iterator[Piece]:
    """Yield the pieces of a text that are as short as they can be and amount to ``length`` words, or all of it."""
    sums = list(accumulate(map(_weight, text), initial=0))
    for start in range(len(text)):
        end = bisect_left(sums, sums[start] + _LETTERS * length)
        if end <= len(text):
            yield tuple(text[start:end])
        elif start == 0:
            yield tuple(text)


def _weight(word: str) -> int:
    """Return what a word counts, in letters of scripts of letters without spaces, of which several make one word."""
    return len(word) if _ALPHABET.match(word) else _LETTERS


def _may_name(piece: Piece, most: int) -> bool:
    """Return whether some words in a row, ``most`` where spaces part them, are enough to be a name.

    One character of Chinese, Japanese or Korean is in many words, and so are a few letters of Thai and its like.
    """
    if all(map(_ALPHABET.match, piece)):
        return sum(map(_weight, piece)) >= _LETTERS
    return len(piece) <= most and (len(piece) > 1 or not _BARE.match(piece[0]))


def _names(
    texts: Sequence[Sequence[str]], kept: Sequence[Sequence[str]], fewest: int
) -> tuple[set[Piece], list[Sequence[str]]]:
    """Return pieces that several texts share and hardly one that is kept has, and the texts which hold none of these.

    First what most texts share, of that what the fewest kept ones have, and of that the shortest; then what most of the
    rest share. With nothing kept there is nothing to tell names from other words by.
    """
    words = max(fewest, _NAME)
    sizes = range(fewest, max(words, _LETTERS) + 1)
    holders: dict[Piece, set[int]] = {}
    for place, text in enumerate(texts if kept else ()):
        for piece in _pieces(text, sizes):
            if _may_name(piece, words):
                holders.setdefault(piece, set()).add(place)
    elsewhere = Counter(piece for text in kept for piece in set(_pieces(text, sizes)) & holders.keys())
    rarer = _RARER * max(1.0, len(texts) / max(1, len(kept)))  # among as many texts
    holders = {piece: of for piece, of in holders.items() if len(of) >= rarer * elsewhere[piece]}
    found, left = set[Piece](), set(range(len(texts)))
    while True:
        rated = {p: (len(of & left), -elsewhere[p], -sum(map(_weight, p))) for p, of in holders.items()}
        most = max(rated.values(), default=(0, 0, 0))
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
