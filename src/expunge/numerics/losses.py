"""Objectives of methods, as functions of units. Each returns a scalar to be minimised."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from expunge.numerics.units import Scored, Units


def mean_loss(retain: Units) -> Tensor:
    """Return the mean loss of the retain units: plain fine-tuning."""
    return retain.loss.mean()


def neg_grad_plus(retain: Units, forget: Units, *, alpha: float) -> Tensor:
    """Return ``alpha * mean(retain) - (1 - alpha) * mean(forget)``, alpha in [0, 1].

    Source: Kurmanji et al. 2023, arXiv 2302.09880 (NegGrad+); alpha 1 is fine-tuning, alpha 0 ascent.
    """
    return alpha * retain.loss.mean() - (1.0 - alpha) * forget.loss.mean()


def distillation(student: Scored, teacher: Scored, *, temperature: float = 1.0) -> Tensor:
    """Return ``T^2`` times the mean over units of KL(teacher || student), logits divided by ``T``; in nats, >= 0.

    Source: Hinton et al. 2015, arXiv 1503.02531, section 2; the factor keeps gradients of one size as T grows.
    """
    mine = F.log_softmax(student.logits / temperature, dim=-1)
    theirs = F.log_softmax(teacher.logits / temperature, dim=-1)
    return temperature**2 * F.kl_div(mine, theirs, log_target=True, reduction="batchmean")
