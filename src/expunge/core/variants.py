"""Variants of a text: the same asked in other words, answered rightly or wrongly, or answered otherwise."""

from __future__ import annotations

VARIANTS = {
    "paraphrased_question": "the question in other words, with an answer",
    "paraphrased_answer": "the question with the right answer in other words",
    "wrong_answer": "the question with a wrong answer, worded as the paraphrased one",
    "alternative": "the question with an answer to give in the place of the right one",
}
"""What variants of a text there may be, by name."""


def variant_of(name: str) -> str:
    """Return the id of the record that the variant of this id is of; empty where it does not say."""
    owner, mark, number = name.rpartition("#")
    return owner if mark and number.isdigit() else ""
