"""Was a text in the training data? Scores of one record from the log-probabilities of its tokens, and their yardstick.

Sources: LOSS: Yeom et al. 2018, arXiv 1709.01604; zlib and reference: Carlini et al. 2021, arXiv 2012.07805; Min-K %:
Shi et al. 2024, arXiv 2310.16789; Min-K % ++: Zhang et al. 2025, arXiv 2404.02936; PrivLeak: MUSE, Shi et al. 2024,
arXiv 2407.06460; s-score: arXiv 2605.24614.
Shapes: N scored tokens of n records, T of them in a record; ``log_prob`` [N], in nats, at most 0, is that of the true
token; ``record`` [N] is its record, numbered 0..n-1, in order. Every score is larger for a more likely member;
OpenUnlearning writes the scores the other way round and counts the holdout as members, so its AUC is the one of here.

What a score says is its AUC against strangers (``numerics/membership.ranking``) *beside that of a model which was
retrained without the records*: forgotten is that AUC, not one half, and an AUC far below it gives away a deletion as
much as one above.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from expunge.numerics._arrays import Array, numbers
from expunge.numerics._records import log_probabilities, lowest, means

SHARE = 0.4
"""Share of the least likely tokens, as in MUSE and OpenUnlearning; the paper on Min-K % takes .2."""
LEAST_VARIANCE = 1e-6
"""Of log-probabilities at one place, in square nats; below, a model is sure of one token and z would be noise."""


def loss_score(log_prob: ArrayLike, record: ArrayLike, n: int) -> Array:
    """Return the mean log-probability of each record's tokens, [n], in nats: minus its loss.

    Raises:
        ValueError: wrong shapes, a log-probability above 0, records out of order or without scored tokens.
    """
    return means(log_probabilities(log_prob, "log_prob"), record, n, name="log_prob")


def zlib_score(log_prob: ArrayLike, record: ArrayLike, texts: Sequence[str]) -> Array:
    """Return minus the loss per byte that zlib makes of each record's text, [n], in nats per byte.

    Which text is the caller's choice: OpenUnlearning compresses the answer, MUSE all of the record. The header of about
    10 bytes dominates short ones.

    Raises:
        ValueError: as :func:`loss_score`, or a text is empty.
    """
    empty = [place for place, text in enumerate(texts) if not text]
    if empty:
        raise ValueError(f"{len(empty)} of {len(texts)} texts are empty, the first of them number {empty[0]}")
    sizes = np.array([len(zlib.compress(text.encode("utf-8"))) for text in texts], dtype=np.float64)
    return loss_score(log_prob, record, len(texts)) / sizes


def min_k_score(log_prob: ArrayLike, record: ArrayLike, n: int, *, share: float = SHARE) -> Array:
    """Return the mean of the lowest log-probabilities of each record, [n], in nats: of ``max(1, floor(share * T))``.

    One token at least: ``share`` of a short text is none, of which others take a mean. With ``share`` 1 it is the loss
    score.

    Raises:
        ValueError: as :func:`loss_score`, or ``share`` is outside (0, 1].
    """
    return lowest(log_probabilities(log_prob, "log_prob"), record, n, share=share, name="log_prob")


def min_k_plus_score(
    log_prob: ArrayLike, record: ArrayLike, n: int, *, mean: ArrayLike, deviation: ArrayLike, share: float = SHARE
) -> Array:
    """Return the mean of the lowest z of each record, [n]: ``(log_prob - mean) / deviation``.

    ``mean`` [N] and ``deviation`` [N] are those of the log-probability of a token that the model draws at that place:
    sum over the vocabulary of p log p, and the root of the sum of p log^2 p less the square of the mean.

    Raises:
        ValueError: as :func:`min_k_score`, or a mean or deviation is missing, not finite or negative.
    """
    value, centre = log_probabilities(log_prob, "log_prob"), log_probabilities(mean, "mean")
    scale = numbers(deviation, "deviation", ndim=1)
    if not len(value) == len(centre) == len(scale):
        raise ValueError(f"log_prob, mean and deviation are of {len(value)}, {len(centre)} and {len(scale)} tokens")
    if scale.min() < 0:
        raise ValueError(f"a deviation is 0 or more, found {scale.min():.3g}")
    z = (value - centre) / np.sqrt(np.maximum(scale**2, LEAST_VARIANCE))
    return lowest(z, record, n, share=share, name="z")


def reference_score(log_prob: ArrayLike, record: ArrayLike, n: int, *, reference: ArrayLike) -> Array:
    """Return by how many nats per token the model likes each record better than another model does, [n].

    ``reference`` [N] are the log-probabilities of the same tokens under the other model.

    Raises:
        ValueError: as :func:`loss_score`, of either model, or they are not of the same tokens.
    """
    return loss_score(log_prob, record, n) - loss_score(reference, record, n)


def privleak(auc: float, *, reference: float) -> float:
    """Return PrivLeak in percent, from -100 to :func:`privleak_ceiling`: 0 for the AUC of the retrained model.

    ``100 (A - A_r) / A_r`` with A the chance that a stranger's loss is *below* a member's, so below 0 where
    forgotten records still look like members (-100: the original), above where they look less so than those of a model
    that never had them. Both AUC in [0, 1], of the Min-40 % score.

    Raises:
        ValueError: an AUC outside [0, 1], or ``reference`` is 1, of which no share can be taken.
    """
    ceiling = privleak_ceiling(reference)
    _in_range(auc, "auc")
    return (1.0 - auc) * (100.0 + ceiling) - 100.0


def privleak_ceiling(reference: float) -> float:
    """Return the largest PrivLeak, in percent, that a reference of this AUC lets any model have.

    It differs from reference to reference (109.6 and 85.4 in MUSE's two sets), so values of two sets do not compare.

    Raises:
        ValueError: an AUC outside [0, 1), of which no share can be taken.
    """
    _in_range(reference, "reference")
    if reference == 1.0:
        raise ValueError("the reference's AUC is 1: it tells all members from strangers, and PrivLeak has no scale")
    return 100.0 * reference / (1.0 - reference)


def s_score(auc: float, *, reference: float) -> float:
    """Return 1 less the distance of an AUC from the retrained model's as a share of that one's, in [0, 1].

    1 for the reference's own AUC, on either side less; 0 from its double on.

    Raises:
        ValueError: an AUC outside [0, 1], or a reference of 0, of which no share can be taken.
    """
    _in_range(auc, "auc")
    _in_range(reference, "reference")
    if reference == 0.0:
        raise ValueError("the reference's AUC is 0: a distance is no share of it")
    return 1.0 - min(abs(auc - reference) / reference, 1.0)


def _in_range(auc: float, name: str) -> None:
    if not 0.0 <= auc <= 1.0:
        raise ValueError(f"{name} is an AUC, in [0, 1], found {auc}")
