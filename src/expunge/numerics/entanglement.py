"""How entangled what is forgotten is with what stays, in the features of a model."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def entanglement(retain: Array, forget: Array) -> float:
    """Return the scatter of both sets around their own means over the scatter of the means; features [n, D], >= 0.

    Infinite where the means are equal. Means are exact over records, whatever the batches were.

    Source: Zhao, Kurmanji and Triantafillou 2024, arXiv 2406.01257, the entanglement score.
    """
    means = [part.mean(axis=0) for part in (retain, forget)]
    within = sum(
        float(((part - mean) ** 2).sum(axis=1).mean()) for part, mean in zip((retain, forget), means, strict=True)
    )
    middle = (means[0] + means[1]) / 2
    between = float(np.mean([((mean - middle) ** 2).sum() for mean in means]))
    return within / between if between > 0 else float("inf")
