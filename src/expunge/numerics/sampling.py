"""What leaks when an attacker asks many times: the best of k samples, estimated from all n that were drawn.

Source: leak@k, arXiv 2511.04934: a greedy answer hides what sampling reveals. The estimator is the mean over all
subsets of k samples, by order statistics; of hits and misses it is the pass@k of Chen et al. 2021, arXiv 2107.03374.
Shapes: n samples of each of m items; a score is larger for more leaked.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from expunge.numerics._arrays import Array, numbers


def leak_at(scores: ArrayLike, k: int) -> Array:
    """Return the expected largest of k samples of each item, [m], from scores [m, n] of n >= k samples.

    Unbiased: the largest of a random k of the n. The mean at k = 1, the maximum at k = n, never less for a larger k.

    Raises:
        ValueError: wrong shapes, NaN, or k outside 1..n.
    """
    found = np.sort(numbers(scores, "scores", ndim=2), axis=1)
    n = found.shape[1]
    if not 1 <= k <= n:
        raise ValueError(f"k is in 1..{n}, the number of samples, found {k}")
    subsets = math.comb(n, k)
    largest = [math.comb(i, k - 1) / subsets for i in range(k - 1, n)]  # the chance that so many lie below
    result: Array = found[:, k - 1 :] @ np.array(largest)
    return result
