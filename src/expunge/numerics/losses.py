"""Objectives of methods, as functions of units. Each returns a scalar to be minimised."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
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

    def apart(logits: Tensor, target: Tensor, taught: Tensor) -> Tensor:
        mine, theirs = (F.log_softmax(each / temperature, dim=-1) for each in (logits, taught))
        return F.kl_div(mine, theirs, log_target=True, reduction="none").sum(dim=-1)

    return temperature**2 * student.per_unit(apart, teacher).mean()


def relabelled(units: Scored, labels: Tensor) -> Tensor:
    """Return the cross entropy of each unit, [N], against ``labels`` [N] in the place of its target."""
    return F.cross_entropy(units.logits, labels, reduction="none")


def drawn_labels(units: Scored, *, other: bool) -> Tensor:
    """Return a label for every unit, [N], from torch's global generator: of all C classes, or the ``other`` C - 1.

    Source: Fan et al. 2024 (SalUn), arXiv 2310.12508, random labels: all classes, the true one with chance 1/C; Graves
    et al. 2021, arXiv 2010.10981 (amnesiac): never the true one.
    """
    target, count = units.target, units.logits.shape[1]
    if not other:
        return torch.randint(count, target.shape, device=target.device)
    return (target + torch.randint(1, count, target.shape, device=target.device)) % count


def soft_cross_entropy(student: Scored, teacher: Scored, *, temperature: float = 1.0) -> Tensor:
    """Return the mean over units of the cross entropy of the student against the teacher, logits divided by ``T``."""

    def crossed(logits: Tensor, target: Tensor, taught: Tensor) -> Tensor:
        theirs = F.softmax(taught / temperature, dim=-1)
        return -(theirs * F.log_softmax(logits / temperature, dim=-1)).sum(dim=-1)

    return student.per_unit(crossed, teacher).mean()


def from_uniform(units: Scored) -> Tensor:
    """Return the mean over units of KL(uniform || model), in nats, >= 0."""
    said = units.per_unit(lambda logits, target: logits.log_softmax(dim=-1).mean(dim=-1))
    return -said.mean() - math.log(units.classes)


def contrast(units: Scored, others: Scored, *, temperature: float) -> Tensor:
    """Return ``-mean log_softmax(Z V^T / T)`` over logits Z [N, C] of ``units`` and V [M, C] of ``others``; >= log M.

    Smallest where the units are equally far from all others; V gets no gradient.
    Source: NeurIPS 2023 unlearning competition, first place (reference for FCS).
    """
    return -F.log_softmax(units.logits @ others.logits.detach().T / temperature, dim=-1).mean()


def entropy(units: Scored) -> Tensor:
    """Return the entropy of each unit's answer, [N], in nats, between 0 and log C."""
    return units.per_unit(lambda logits, target: entropy_of(logits.log_softmax(dim=-1)))


def entropy_of(log_probs: Tensor) -> Tensor:
    """Return the entropy, in nats, of log probabilities [..., C], of which some may be minus infinity, [...]."""
    # What is impossible adds nothing; left as it is, its product with 0, and its gradient, would be no numbers.
    return -(log_probs.exp() * log_probs.masked_fill(log_probs.isneginf(), 0.0)).sum(dim=-1)


def weighted_loss(units: Units, weights: Sequence[float]) -> Tensor:
    """Return the mean over units of ``weight * loss``; ``weights`` [B] are those of the records."""
    return (torch.tensor(weights, dtype=units.loss.dtype, device=units.loss.device)[units.record] * units.loss).mean()


def away_from(units: Scored, shares: Tensor) -> Tensor:
    """Return the mean over units of KL(shares || model), in nats, >= 0; ``shares`` [N, C] are probabilities."""
    return F.kl_div(units.log_probs, shares, reduction="batchmean")


def misdirection(hidden: Tensor, aim: Tensor, record: Tensor, batch_size: int) -> Tensor:
    """Return ``mean ‖hidden - aim‖^2 / H`` of hidden states [N, H], over the units of each record, then over records.

    ``aim`` is [H] or [N, H]; ``record`` [N] is the place of each unit's record among ``batch_size``.
    Source: Li et al. 2024 (RMU), arXiv 2403.03218, section 4; squares are means over H, as in the authors' code.
    """
    apart = (hidden.float() - aim.float()).square().mean(dim=-1)
    return Units(apart, record, batch_size).by_record(apart).mean()
