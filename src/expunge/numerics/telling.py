"""What of an answer tells something, how much of it a text says, and which of its words come from elsewhere.

Words are those of :mod:`~expunge.numerics.rouge`. Recall is ROUGE-L recall (Lin 2004) over telling words alone: how
every answer begins and ends is said by any model that ever saw such answers, and lifts the recall of all alike.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from expunge.numerics.rouge import common_subsequence, words

COMMON = 1 / 3
"""A word that so many of the answers hold, or more, tells of none of them; two answers that share one are no crowd."""


def telling(answers: Sequence[str], questions: Sequence[str]) -> list[list[str]]:
    """Return of every answer its telling words, in their order: neither common nor given by its own question.

    Raises:
        ValueError: not one question for each answer.
    """
    said = [words(answer) for answer in answers]
    held = Counter(word for answer in said for word in set(answer))
    common = {word for word, count in held.items() if count > 2 and count >= COMMON * len(answers)}
    return [
        [word for word in answer if word not in common and word not in given]
        for answer, given in zip(said, (set(words(question)) for question in questions), strict=True)
    ]


def recall(text: str, wanted: Sequence[str]) -> float:
    """Return how many of the ``wanted`` words a text says in their order, as a share, in [0, 1].

    Raises:
        ValueError: no word is wanted.
    """
    if not wanted:
        raise ValueError("no word is wanted: there is nothing to recall")
    return common_subsequence(words(text), list(wanted)) / len(wanted)


def from_elsewhere(text: str, known: Collection[str], own: Sequence[str]) -> set[str]:
    """Return those words of a text that are ``known`` from other answers and stand in none of its ``own`` texts."""
    return (set(words(text)) & set(known)).difference(*map(words, own))


def ngram_entropy(tokens: Sequence[int], n: int) -> float:
    """Return the entropy of the n-grams of a text of T tokens, in bits, from 0 to log2(T - n + 1); 0 without any.

    Low where a text repeats itself (Zhang et al. 2018, arXiv 1809.05972).

    Raises:
        ValueError: n below 1.
    """
    if n < 1:
        raise ValueError(f"n-grams are of 1 token or more, found {n}")
    grams = Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))
    if not grams:
        return 0.0
    share: NDArray[np.float64] = np.array(list(grams.values())) / grams.total()
    return float(abs((share * np.log2(share)).sum()))
