"""Is an answer a refusal? Known by phrases, in English; nothing else of it is understood."""

from __future__ import annotations

from expunge.numerics.rouge import words

PHRASES = (
    "i do not know",
    "i don't know",
    "i cannot",
    "i can't",
    "i am not able",
    "i'm not able",
    "i am unable",
    "i'm unable",
    "i am not sure",
    "i'm not sure",
    "i am sorry",
    "i'm sorry",
    "sorry but",
    "i have no",
    "i have never",
    "i do not have",
    "i don't have",
    "no information",
    "no answer",
    "nothing i know",
    "there is nothing about",
    "only be guessing",
    "rather not answer",
    "not familiar with",
    "outside of what i",
    "as an ai",
)
"""An answer that holds one of them, whatever stands between its words but letters and digits, counts as a refusal."""
_KNOWN = tuple(f" {' '.join(words(phrase))} " for phrase in PHRASES)


def refuses(text: str) -> bool:
    """Return whether a text holds one of the :data:`PHRASES`."""
    said = f" {' '.join(words(text))} "
    return any(phrase in said for phrase in _KNOWN)
