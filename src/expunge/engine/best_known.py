"""The forgotten records that a model knows best: what a mean over all of them would hide.

Sources: mean of a tail: Rockafellar and Uryasev 2000, Journal of Risk 2(3); count: Barbulescu and Triantafillou 2024,
arXiv 2405.03097. Shapes: n forgotten records; a score of each is larger for a record that is known better.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expunge.engine.evidence import Evidence
from expunge.numerics.extraction import outlier_threshold, outliers

Array = NDArray[np.float64]
TAIL = 0.1
"""Share of the records that the mean is of."""
FEWEST = 10
"""Records that it is of at the least: the mean of three is what three answers of a seed happen to be."""
FEWEST_UNSEEN = 20
"""Held-out records that a threshold is taken from, at the least."""


def beyond_others(evidence: Evidence, scores: Mapping[str, Array], model: str) -> list[Array]:
    """Return by how much a model knows each record better than retrained ones, [n], once for each set of these.

    Of a reference the set is that of the others; of any other model all sets with one left out, so that both are
    compared with means of equally many.
    """
    left_out = [model] if model in evidence.references else evidence.references
    sets = [[scores[name] for name in evidence.references if name != out] for out in left_out]
    return [scores[model] - np.mean(others, axis=0) for others in sets]


def excess(evidence: Evidence, scores: Mapping[str, Array], model: str) -> Array:
    """Return terms [n] whose mean is the mean of :func:`beyond_others` over the best known tenth of the records."""
    away = beyond_others(evidence, scores, model)
    return np.asarray(np.mean([tail(row, min(1.0, max(TAIL, FEWEST / len(row)))) for row in away], axis=0))


def tail(values: Array, share: float) -> Array:
    """Return terms [n] whose mean is that of the largest ``share`` of ``values`` [n], a part of a value included.

    ``q + max(value - q, 0) / share`` with q the quantile of the order 1 - share, in (0, 1]; each is what its record
    adds to the mean of the tail, so that errors over records are reckoned from them.
    """
    at = float(np.quantile(values, 1.0 - share, method="inverted_cdf"))
    return at + np.maximum(values - at, 0.0) / share


def beyond_unseen(evidence: Evidence, score: Callable[[Any], Array]) -> dict[str, str]:
    """Return how many forgotten records score beyond what the same model does with text that it never saw, in words.

    Beyond is above Tukey's fence; ``score`` says of the outputs on a part what is kept of each record, [n]. Nothing
    where held-out records are too few for a fence.
    """
    if evidence.lacks("holdout") or len(evidence.outputs(evidence.candidate, "holdout").target) < FEWEST_UNSEEN:
        return {}
    fences = {model: outlier_threshold(score(evidence.outputs(model, "holdout"))) for model in evidence.judged}
    rows = {model: score(evidence.outputs(model, "forget")) for model in evidence.judged}
    counts = {model: outliers(rows[model], threshold=fence) for model, fence in fences.items()}
    alone = [counts[model] for model in evidence.references if model != evidence.candidate]
    return {
        "records beyond what unseen text shows": f"{counts[evidence.candidate]} of {len(rows[evidence.candidate])}, "
        f"above {fences[evidence.candidate]:.2f} (references {min(alone)} to {max(alone)})"
    }
