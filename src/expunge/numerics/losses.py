"""Objectives of methods, as functions of units. Each returns a scalar to be minimised."""

from __future__ import annotations

from torch import Tensor

from expunge.numerics.units import Units


def mean_loss(retain: Units) -> Tensor:
    """Return the mean loss of the retain units: plain fine-tuning."""
    return retain.loss.mean()


def neg_grad_plus(retain: Units, forget: Units, *, alpha: float) -> Tensor:
    """Return ``alpha * mean(retain) - (1 - alpha) * mean(forget)``, alpha in [0, 1].

    Source: Kurmanji et al. 2023, arXiv 2302.09880 (NegGrad+); alpha 1 is fine-tuning, alpha 0 ascent.
    """
    return alpha * retain.loss.mean() - (1.0 - alpha) * forget.loss.mean()
