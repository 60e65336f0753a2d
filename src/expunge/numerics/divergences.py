"""Divergences between rows of log-probabilities. Arrays are float64, shape [n, C]."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def log_softmax(logits: Array) -> Array:
    """Return log-probabilities [n, C] of ``logits`` [n, C], stable at logits of 1e4."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    result: Array = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result


def jensen_shannon(logp: Array, logq: Array) -> Array:
    """Return the Jensen-Shannon divergence of each row, in bits, in [0, 1].

    Source: Lin 1991, IEEE Trans. Inf. Theory 37(1), eq. 4.1; base-2 logarithms, so disjoint rows give 1.
    """
    logm = np.logaddexp(logp, logq) - np.log(2.0)
    total = 0.5 * (_relative(logp, logm) + _relative(logq, logm))
    return np.clip(total / np.log(2.0), 0.0, 1.0)


def _relative(logp: Array, logq: Array) -> Array:
    p = np.exp(logp)
    # 0 * log(0 / q) is 0: without the mask -inf times 0 gives NaN.
    safe = np.where(p > 0, logp - np.where(p > 0, logq, 0.0), 0.0)
    result: Array = (p * np.where(p > 0, safe, 0.0)).sum(axis=-1)
    return result
