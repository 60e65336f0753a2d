"""Phrases in texts, word for word: whatever the case, and the white space between words.

A phrase is found where its words and marks follow each other in a text. In scripts that set no space between words, or
hang particles on them (Chinese, Japanese, Korean, Thai, Lao, Khmer, Burmese), each character is a word: finding too
much can be seen, missing cannot. Curly and straight quotes are alike, and so are hyphens. The time grows with the words
of the texts and hardly with the number of phrases: which of them could begin at a word is looked up, by their first
words.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

_FIRST = 5
"""Words and marks by which a phrase is looked up, at the most."""
UNSPACED = (
    r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
    r"\uf900-\ufaff\U00020000-\U0003ffff"
)
"""Characters of scripts that set no space between words, as a range of a regular expression."""
_WORD = rf"[{UNSPACED}]|(?:(?![{UNSPACED}])\w)+"
_PART = re.compile(rf"{_WORD}|[^\w\s]")
_ALIKE = str.maketrans(
    {"\u2018": "'", "\u2019": "'", "\u02bc": "'", "\u201c": '"', "\u201d": '"', "\u2010": "-", "\u0307": None}
)
"""Signs that are written in several ways; a dot above is what Turkish capitals leave of themselves in small letters."""


def parts_of(text: str) -> tuple[str, ...]:
    """Return the words and marks of a text, in any case alike."""
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return tuple(_PART.findall(plain.translate(_ALIKE)))


def words_in(text: str) -> int:
    """Return how many words a text has, marks apart."""
    return len(re.findall(_WORD, text))


class Phrases:
    """Phrases that are looked for together; one without any word or mark is found nowhere."""

    def __init__(self, phrases: Sequence[str]) -> None:
        # By the number of first parts, by these parts, by length: each whole phrase with its places in the list.
        self._known: dict[int, dict[tuple[str, ...], dict[int, dict[tuple[str, ...], list[int]]]]] = {}
        for place, phrase in enumerate(phrases):
            parts = parts_of(phrase)
            if not parts:
                continue
            first = parts[:_FIRST]
            lengths = self._known.setdefault(len(first), {}).setdefault(first, {})
            lengths.setdefault(len(parts), {}).setdefault(parts, []).append(place)

    def within(self, text: str) -> set[int]:
        """Return the places, in the list of phrases, of those that stand in ``text``."""
        found: set[int] = set()
        parts = parts_of(text)
        for count, firsts in self._known.items():
            # Shifted against itself, the text lists its runs of so many parts.
            for start, run in enumerate(zip(*(parts[shift:] for shift in range(count)), strict=False)):
                for length, whole in firsts.get(run, {}).items():
                    found.update(whole.get(parts[start : start + length], ()))
        return found
