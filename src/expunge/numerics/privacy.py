"""How far Gaussian noise hides a shift of the mean: exact curves, their inversions, composition, noisy fine-tuning.

Two laws are mu-GDP apart where telling them apart is no easier than telling N(0, 1) from N(mu, 1). All that is
derived from mu is then exact; what is returned by an inversion errs on the safe side (epsilon up, mu down).

Sources: the curve: Balle and Wang 2018, arXiv 1805.06530, theorem 8; mu-GDP and composition: Dong, Roth and Su 2019,
arXiv 1905.02383, corollaries 2.13 and 3.3. Noisy fine-tuning: Koloskova et al. 2025, arXiv 2506.06985, algorithm 1;
its accounting here by shifted interpolation (Feldman et al. 2018, arXiv 1808.06651; Bok, Su and Altschuler 2024,
arXiv 2403.00278), since the Renyi target of the published accountant is not that of the order at which it is used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from scipy import optimize, special

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(8)
_SAFE = 1e-9
"""Relative step to the safe side, far above the error of the curve and of the root."""


def gaussian_delta(epsilon: float, *, mu: float) -> float:
    """Return the smallest delta, in [0, 1], for which mu-GDP gives (epsilon, delta).

    ``Phi(mu/2 - epsilon/mu) - e^epsilon Phi(-mu/2 - epsilon/mu)``, of which the terms nearly cancel where delta is
    small; there it is the density times a difference of Mills ratios M, for small mu as the integral of
    ``-M'(x) = 1 - x M(x)``.

    Raises:
        ValueError: epsilon or mu is negative or not a number.
    """
    _check(epsilon >= 0, "epsilon", epsilon, "0 or more")
    _check(mu >= 0, "mu", mu, "0 or more")
    if mu == 0 or math.isinf(epsilon):
        return 0.0
    near, far = epsilon / mu - mu / 2, epsilon / mu + mu / 2
    density = math.exp(-near * near / 2) / math.sqrt(2 * math.pi)
    if mu < 0.1:
        x = epsilon / mu + mu / 2 * _NODES
        return density * mu / 2 * float(_WEIGHTS @ (1 - x * _mills(x)))
    if near > 0:
        return density * float(_mills(near) - _mills(far))
    return float(special.ndtr(-near) - math.exp(epsilon + special.log_ndtr(-far)))


def gaussian_mu(epsilon: float, delta: float) -> float:
    """Return the largest mu that gives (epsilon, delta); never more.

    Noise of standard deviation ``shift / mu`` hides a shift of that size (in L2) to (epsilon, delta).

    Raises:
        ValueError: epsilon is negative, or delta outside (0, 1).
    """
    _check(math.isfinite(epsilon) and epsilon >= 0, "epsilon", epsilon, "0 or more")
    _check(0 < delta < 1, "delta", delta, "between 0 and 1")
    return _root(lambda mu: _excess(gaussian_delta(epsilon, mu=mu), delta)) * (1 - _SAFE)


def gaussian_epsilon(mu: float, delta: float) -> float:
    """Return the smallest epsilon for which mu-GDP gives (epsilon, delta); never less.

    Raises:
        ValueError: mu is negative, or delta outside (0, 1).
    """
    _check(math.isfinite(mu) and mu >= 0, "mu", mu, "0 or more")
    _check(0 < delta < 1, "delta", delta, "between 0 and 1")
    if gaussian_delta(0.0, mu=mu) <= delta:
        return 0.0
    return _root(lambda epsilon: -_excess(gaussian_delta(epsilon, mu=mu), delta)) * (1 + _SAFE)


def composed(mus: Iterable[float]) -> float:
    """Return the mu of several releases seen together: the root of the sum of squares.

    It holds too where a later release was chosen with the earlier ones in view.
    """
    return math.sqrt(math.fsum(mu * mu for mu in mus))


def noisy_finetuning_mu(
    *, clip_model: float, clip_gradient: float, lr: float, decay: float, steps: int, sigma: float
) -> float:
    """Return how far two runs of noisy fine-tuning can be apart that start from different models: mu of the last point.

    ``x0 = clip(start, clip_model)``, then ``steps`` times ``x <- x - lr (clip(g, clip_gradient) + decay x) + N(0,
    sigma^2 I)``, both on the same batches; only the last x is released. With ``rho = 1 - lr decay`` the starts lie
    ``2 clip_model`` apart and every step shifts the runs by ``2 lr clip_gradient`` at the most; noise absorbs the sum::

        mu = (rho^T 2 clip_model + 2 lr clip_gradient sum_{j<T} rho^j) / (sigma sqrt(sum_{j<T} rho^(2j)))

    Raises:
        ValueError: a bound, the rate or sigma is not positive, decay is negative, ``lr * decay`` is above 1 (then a
            step would expand), or there is no step.
    """
    _check(math.isfinite(sigma) and sigma > 0, "sigma", sigma, "above 0")
    return _shift(clip_model, clip_gradient, lr, decay, steps) / sigma


def noisy_finetuning_sigma(
    *, clip_model: float, clip_gradient: float, lr: float, decay: float, steps: int, mu: float
) -> float:
    """Return the noise per step and coordinate that keeps the runs of :func:`noisy_finetuning_mu` within ``mu``.

    Raises:
        ValueError: as there, or mu is not positive.
    """
    _check(math.isfinite(mu) and mu > 0, "mu", mu, "above 0")
    return _shift(clip_model, clip_gradient, lr, decay, steps) / mu


def _shift(clip_model: float, clip_gradient: float, lr: float, decay: float, steps: int) -> float:
    for name, value in (("clip_model", clip_model), ("clip_gradient", clip_gradient), ("lr", lr)):
        _check(math.isfinite(value) and value > 0, name, value, "above 0")
    _check(decay >= 0, "decay", decay, "0 or more")
    _check(lr * decay <= 1, "lr * decay", lr * decay, "1 or less")
    _check(steps >= 1, "steps", steps, "1 or more")
    kept = (1 - lr * decay) ** np.arange(steps, dtype=np.float64)
    last = float((1 - lr * decay) ** steps)
    whole = 2 * last * clip_model + 2 * lr * clip_gradient * float(kept.sum())
    return float(whole / np.linalg.norm(kept) * (1 + _SAFE))


def _mills(x: Any) -> Any:
    """Return Phi(-x) / phi(x)."""
    return math.sqrt(math.pi / 2) * special.erfcx(x / math.sqrt(2))


def _excess(found: float, delta: float) -> float:
    """Return by which factor a delta is above another, as a logarithm: both may be far below one another."""
    return math.log(max(found, 1e-307)) - math.log(delta)


def _root(rising: Callable[[float], float]) -> float:
    """Return where a function that rises from below zero crosses it, on the positive axis."""
    high = 1.0
    while rising(high) < 0:
        high *= 2
    while rising(high / 2) > 0:
        high /= 2
    return float(optimize.brentq(rising, high / 2, high, xtol=1e-13 * high, rtol=1e-13))


def _check(holds: bool, name: str, found: float, expected: str) -> None:
    if not holds:
        raise ValueError(f"{name} is {found}; it takes {expected}")
