"""Phrases in texts, word for word: whatever the case, and the white space between words.

A phrase is found where its words and marks follow each other in a text. In scripts that set no space between words, or
hang particles on them (Chinese, Japanese, Korean, Thai, Lao, Khmer, Burmese), each character with its signs is a word:
finding too much can be seen, missing cannot. Curly and straight quotes are alike, so are hyphens, and so are the digits
of all scripts. Signs that may be left out are: the vowels of Arabic and Hebrew, a hamza on its letter, what is not
seen. Signs that write a sound of their script belong to the character before them. The time grows with the words of the
texts and hardly with the number of phrases: which of them could begin at a word is looked up, by their first words.

Source: kinds of characters are those of the Unicode Character Database, as Python's ``unicodedata`` has them.

Not covered: another spelling or alphabet, an accent left out, letters of Arabic that are taken for each other (alef
maksura and ya, ta marbuta and ha), and particles and endings in all other scripts, which make another word.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache

_FIRST = 5
"""Words and marks by which a phrase is looked up, at the most."""
ALPHABETS = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\ua9e0-\ua9ff\uaa60-\uaa7f"
"""Letters of scripts that set no space between words, as a range of a regular expression: Thai, Lao, Burmese, Khmer."""
UNSPACED = (
    rf"{ALPHABETS}\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
)
"""All characters of such scripts; beside those letters they are syllables and words."""
_SIGN = "\u0301"
"""Stands for every sign that belongs to the character before it, so that a regular expression can name them."""
_WORD = rf"(?=[^\W_])[{UNSPACED}]{_SIGN}*|(?:(?![{UNSPACED}])[^\W_])(?:(?![{UNSPACED}])[^\W_]|{_SIGN})*"
_WORDS, _PARTS = re.compile(_WORD), re.compile(rf"{_WORD}|[^\w\s]|_")
_ALIKE = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u02bc\u05f3", "'"),
        **dict.fromkeys("\u201c\u201d\u05f4", '"'),
        **dict.fromkeys("\u2010\u05be", "-"),
        "\u0640": None,  # draws an Arabic word out, and says nothing
    }
)
"""Signs that are written in several ways."""


def parts_of(text: str) -> tuple[str, ...]:
    """Return the words and marks of a text, in any case alike."""
    return tuple(_found(_PARTS, text))


def words_of(text: str) -> list[str]:
    """Return the words of a text, marks apart: runs of letters and digits with their signs, in any case alike."""
    return list(_found(_WORDS, text))


def _found(sought: re.Pattern[str], text: str) -> Iterator[str]:
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    if plain.isascii():
        return (found[0] for found in sought.finditer(plain))
    plain = "".join(map(_form, plain.translate(_ALIKE)))
    signs = {ord(c): _SIGN for c in set(plain) if unicodedata.category(c).startswith("M")}
    return (plain[found.start() : found.end()] for found in sought.finditer(plain.translate(signs)))


@cache
def _form(character: str) -> str:
    """Return what a character is compared by: nothing, where it may be left out or is not seen at all."""
    if unicodedata.category(character) == "Cf" or "VARIATION SELECTOR" in unicodedata.name(character, ""):
        return ""
    digit = unicodedata.decimal(character, None)
    if digit is not None:
        return str(digit)
    right_to_left = unicodedata.bidirectional(character) in ("R", "AL")
    apart = unicodedata.normalize("NFD", character) if right_to_left else character
    return "".join(c for c in apart if not _loose(c))


def _loose(character: str) -> bool:
    """Return whether a sign may be left out, by its combining class.

    Nukta (7), points and vowels of right-to-left scripts (10 to 36), and what stands over or under any letter (200 and
    more) where it makes no letter with it. Other classes are of signs that are always written: they end a consonant
    (9), or are vowels and tones of one script (84 to 132).
    """
    combining = unicodedata.combining(character)
    return combining == 7 or 10 <= combining <= 36 or combining >= 200


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
