"""How sure a model is of its own answers, and the factor that makes it as sure as another."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from expunge.numerics.membership import confidence

Array = NDArray[np.float64]
WIDEST = 100.0
"""Largest factor that is looked for; its inverse is the smallest."""


def sureness(logits: Array) -> Array:
    """Return the log-odds of the likeliest class, log p - log(1 - p), of logits [n, C] with C > 1: [n], in nats."""
    return confidence(logits, logits.argmax(axis=1))


def scale(logits: Array, aim: float) -> float:
    """Return the factor on logits [n, C] with which their mean sureness is ``aim``, in nats.

    What all classes are alike in is taken off first: it has no part in an answer. The mean rises with the factor, so
    that there is one; where none within 1/100 and 100 reaches the aim (all logits are alike, say) the factor is 1.
    """
    centred = logits - logits.max(axis=1, keepdims=True)

    def short(log: float) -> float:
        return float(sureness(np.exp(log) * centred).mean()) - aim

    low, high = -np.log(WIDEST), np.log(WIDEST)
    if not short(low) < 0 < short(high):
        return 1.0
    return float(np.exp(optimize.brentq(short, low, high, xtol=1e-10)))
