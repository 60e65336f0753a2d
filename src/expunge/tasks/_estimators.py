"""What an estimator says of table rows: a number, or log-probabilities under one stated rule.

A forest gives a probability of 0 as soon as no tree votes for a class, and its logarithm says nothing. So every
probability is raised to FLOOR at least, and the row is divided by its new sum. Estimators without probabilities give
decision values, which are taken through the softmax first (two classes: 0 and the value), or classes alone, which
count as probability 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from expunge.core.errors import UsageError
from expunge.data._rows import Rows, given, names_of
from expunge.numerics.divergences import log_softmax

Array = NDArray[np.float64]
FLOOR = 1e-3
"""A tenth of a vote in a forest of 100 trees: from no vote to one is then about as far as from one vote to ten."""


def log_probabilities(model: Any, rows: Rows) -> Tensor:
    """Return floored log-probabilities [B, C], float64; a class that the model never saw has the floor.

    Raises:
        UsageError: the model knows a class that the records do not.
    """
    known = [c.item() if isinstance(c, np.generic) else c for c in model.classes_]
    number = {label: code for code, label in enumerate(rows.classes)}
    strange = [label for label in known if label not in number]
    if strange:
        raise UsageError(
            "the model knows classes that the records do not",
            where="classes",
            found=f"{len(strange)} of {len(known)}",
            expected=f"the {len(rows.classes)} classes of the records",
            fix="give the records classes=model.classes_",
        )
    everything = np.zeros((len(rows), len(rows.classes)))
    everything[:, [number[label] for label in known]] = _probabilities(model, rows)
    raised = np.maximum(everything, FLOOR)  # NaN stays: it is found where outputs are looked at
    return torch.from_numpy(np.log(raised / raised.sum(axis=1, keepdims=True)))


def _probabilities(model: Any, rows: Rows) -> Array:
    x = given(rows.frame, names_of(model))
    if hasattr(model, "predict_proba"):
        return np.asarray(model.predict_proba(x), dtype=np.float64)
    if hasattr(model, "decision_function"):
        scores = np.asarray(model.decision_function(x), dtype=np.float64)
        scores = np.stack([np.zeros(len(rows)), scores], axis=1) if scores.ndim == 1 else scores
        probabilities: Array = np.exp(log_softmax(scores))
        return probabilities
    return np.asarray(np.asarray(model.predict(x))[:, None] == np.asarray(model.classes_)[None], dtype=np.float64)


def predictions(model: Any, rows: Rows) -> Tensor:
    """Return what a regressor predicts of table rows, [B] or [B, 1], float64."""
    return torch.from_numpy(np.asarray(model.predict(given(rows.frame, names_of(model))), dtype=np.float64))
