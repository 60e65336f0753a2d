"""How much of a text a language model says by itself, and how many texts it still knows better than unseen ones.

Sources: extraction strength: Carlini et al. 2021, arXiv 2012.07805, for unlearning Wang et al. 2025,
arXiv 2406.09179, and OpenUnlearning, arXiv 2506.12618; exact memorisation: Tirumala et al. 2022, NeurIPS;
extraction likelihood and memorisation accuracy: Jang et al. 2023, arXiv 2210.01504; outliers beyond unseen text:
Barbulescu and Triantafillou 2024, arXiv 2405.03097.
Shapes: N scored tokens of n records, T of them in a record; ``correct`` [N] says of each token whether the model,
given all tokens before it, thinks it the most likely one (the lowest id wins a tie); ``record`` [N] is its record,
numbered 0..n-1, in order. Which tokens are scored, the end-of-text token among them or not, is the caller's choice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from expunge.numerics._arrays import Array, mask, numbers
from expunge.numerics._records import Counts, lengths, means

NGRAM = 10
"""Length of the pieces that :func:`overlap` compares, as published."""
WHISKER = 1.5
"""Interquartile ranges beyond the third quartile: Tukey's fence, as published."""


def exact_memorisation(correct: ArrayLike, record: ArrayLike, n: int) -> Array:
    """Return the share of correct tokens of each record, [n] in [0, 1].

    With every token but the first of a plain text scored, it is the memorisation accuracy of Jang et al.

    Raises:
        ValueError: wrong shapes, records out of order, or a record without scored tokens.
    """
    right, _ = _checked(correct, record, n)
    return means(right, record, n, name="correct")


def extraction_strength(correct: ArrayLike, record: ArrayLike, n: int) -> Array:
    """Return ``1 - k / T`` of each record, [n] in [0, 1]: k leading tokens have to be given for all others to follow.

    That is the share of the record that is correct to its end. 0 where not even the last token is, 1 where all are;
    never more than :func:`exact_memorisation`.

    Raises:
        ValueError: wrong shapes, records out of order, or a record without scored tokens.
    """
    right, count = _checked(correct, record, n)
    end = np.cumsum(count)
    last_wrong = end - count - 1  # the place before a record's first token
    wrong = np.flatnonzero(~right)
    np.maximum.at(last_wrong, np.asarray(record)[wrong], wrong)
    result: Array = (end - 1 - last_wrong) / count
    return result


def extraction_strength_openunlearning(correct: ArrayLike, record: ArrayLike, n: int) -> Array:
    """Return extraction strength as OpenUnlearning computes it, [n] in [1/T, 1]: for comparison with its tables only.

    Its search ends at the last token, so "nothing is right" reads like "the last token is right", 1/T.

    Raises:
        ValueError: wrong shapes, records out of order, or a record without scored tokens.
    """
    _, count = _checked(correct, record, n)
    return np.maximum(extraction_strength(correct, record, n), 1.0 / count)


def overlap(generated: Sequence[int], truth: Sequence[int], n: int = NGRAM) -> float:
    """Return how many n-grams of ``generated`` occur in ``truth``, per n-gram of ``truth``, in [0, 1].

    Both are token ids. Repeated n-grams of ``generated`` count each time, as in the authors' code; a generation that
    ends early has fewer. The mean over the places t = 1..T-n of a text of T tokens, with the greedy continuation of
    its first t against its last T - t, is the extraction likelihood.

    Raises:
        ValueError: ``truth`` is shorter than n, or ``generated`` longer than ``truth``: it counts as many tokens only.
    """
    if n < 1 or len(truth) < n:
        raise ValueError(f"the truth has {len(truth)} tokens; an n-gram takes {n}, and 1 or more")
    if len(generated) > len(truth):
        raise ValueError(f"{len(generated)} tokens were generated for {len(truth)}: cut them where the truth ends")
    said = Counter(_ngrams(generated, n))
    return sum(said[gram] for gram in set(_ngrams(truth, n))) / (len(truth) - n + 1)


def outlier_threshold(unseen: ArrayLike) -> float:
    """Return the third quartile and 1.5 interquartile ranges of ``unseen`` [m]: scores of text that was not trained on.

    Quartiles by linear interpolation. In normal scores .35 % lie above.

    Raises:
        ValueError: fewer than 4 scores, or NaN.
    """
    scores = numbers(unseen, "unseen", ndim=1)
    if len(scores) < 4:
        raise ValueError(f"quartiles take 4 scores or more, found {len(scores)}")
    low, high = np.percentile(scores, [25, 75])
    return float(high + WHISKER * (high - low))


def outliers(scores: ArrayLike, *, threshold: float) -> int:
    """Return how many of ``scores`` [n] lie above the threshold: c(D_F), the records that are still remembered.

    Raises:
        ValueError: no scores, or NaN.
    """
    return int((numbers(scores, "scores", ndim=1) > threshold).sum())


def _checked(correct: ArrayLike, record: ArrayLike, n: int) -> tuple[np.ndarray, Counts]:
    right = mask(correct, "correct", shape=(np.size(correct),))
    return right, lengths(record, n, tokens=len(right))


def _ngrams(tokens: Sequence[int], n: int) -> list[tuple[int, ...]]:
    return [tuple(tokens[start : start + n]) for start in range(len(tokens) - n + 1)]
