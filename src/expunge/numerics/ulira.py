"""U-LiRA: per record, are models that had and forgot it told apart from models that never had it?

Source: Hayes et al. 2025, arXiv 2403.01218 (U-LiRA); Gaussians doubly shrunk as in ``lira``. Every model is
scored with the others: fitting and scoring on the same models tells even perfect unlearning apart (accuracy .62 with
8 models on a side).
Games: unlearned against retrained (efficacy), unlearned against never trained (privacy), and the same on retained
records, which may have become more exposed.
Shapes: K models, N records of a fixed audit set, of which each model had about half.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from expunge.numerics._arrays import Array, Mask, mask, numbers
from expunge.numerics.lira import lira_each
from expunge.numerics.membership import ranking

MIN_MODELS = 4
"""Of either kind for every record: fewer leave 2 after one is held out, and doubly shrunk is measured from 4 in all."""


@dataclass(frozen=True)
class Unlearned:
    """What the attack says, with K models and N records.

    ``score`` [K, N]: log likelihood ratio, above 0 for "had and forgot it". ``auc`` [K] and balanced ``accuracy`` [K]
    are per model, over its records; ``by_record`` [N] is the balanced accuracy on one record, over the models. Not the
    AUC there: each score has its own value left out of its fit, which orders models of equal laws backwards (AUC .40).
    """

    score: Array
    auc: Array
    accuracy: Array
    by_record: Array


def ulira(phi: ArrayLike, *, had: ArrayLike) -> Unlearned:
    """Attack every model with the others, two-sided: a forgotten record may be less likely than an unseen one.

    Args:
        phi: confidences [K, N] after each model unlearned the records that it had.
        had: booleans [K, N], which model had (and forgot) which record.

    Chance is an AUC and a balanced accuracy of .5. Cost O(K N) and a sort.

    Raises:
        ValueError: wrong shapes, NaN, a record that fewer than 4 models had or fewer than 4 never had, or a model
            that had all records or none.
    """
    values = numbers(phi, "phi", ndim=2)
    chosen = mask(had, "had", shape=values.shape)
    fewest = int(np.minimum(chosen.sum(axis=0), (~chosen).sum(axis=0)).min())
    if fewest < MIN_MODELS:
        raise ValueError(
            f"needs {MIN_MODELS} models that had each record and as many that never had it, found {fewest}"
        )
    if (chosen.all(axis=1) | ~chosen.any(axis=1)).any():
        raise ValueError("needs models that had some records of the audit set and not others, found one of all or none")
    score = lira_each(values, keep=chosen)
    auc = np.array([ranking(row[own], row[~own]).auc for row, own in zip(score, chosen, strict=True)])
    right = (score > 0) == chosen
    return Unlearned(score, auc, _balanced(right, chosen, axis=1), _balanced(right, chosen, axis=0))


def _balanced(right: Mask, chosen: Mask, *, axis: int) -> Array:
    """Return the mean of the shares that are ``right`` among the ``chosen`` and among the others."""
    result: Array = (right.mean(axis=axis, where=chosen) + right.mean(axis=axis, where=~chosen)) / 2
    return result
