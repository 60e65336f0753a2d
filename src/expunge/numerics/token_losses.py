"""Losses of unlearning token by token: ascent with weights, and other aims than the token that was learnt.

Each returns the mean over units, a scalar to be minimised. Logits over a vocabulary are never made for more than a few
units at a time (:meth:`~expunge.numerics.units.Scored.per_unit`). Weights and aims carry no gradient.
Shapes: N units, V classes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from expunge.numerics.units import Scored, Units


def weighted_ascent(units: Units, *, beta: float) -> Tensor:
    """Return ``-mean p^beta * loss``, p the probability of the target: what is forgotten already weighs less.

    beta 0 is plain ascent. Source: Wang et al. 2025 (WGA), arXiv 2502.19301.
    """
    return -((-beta * units.loss.detach()).exp() * units.loss).mean()


def saturated_ascent(units: Units, *, known: float, unsure: float) -> Tensor:
    """Return ``-mean p^known * (1 - p)^unsure * loss``; the weight is largest at p = known / (known + unsure).

    Both 0 are plain ascent. Source: Yang et al. 2025 (SatImp), arXiv 2505.11953.
    """
    loss = units.loss.detach()
    weight = (-known * loss).exp() * (-torch.expm1(-loss)).clamp_min(0) ** unsure
    return -(weight * units.loss).mean()


def lowered(units: Scored, teacher: Scored, *, beta: float) -> Tensor:
    """Return the mean cross entropy against the teacher's answer with the logit of the target lowered by ``beta``.

    Never below the mean entropy of these aims. Source: Dong et al. 2024 (UNDIAL), arXiv 2402.10052.
    """

    def value(logits: Tensor, target: Tensor, theirs: Tensor) -> Tensor:
        return _crossed(logits, theirs.scatter_add(1, target[:, None], theirs.new_full((len(target), 1), -beta)))

    return units.per_unit(value, teacher).mean()


def without(units: Scored, chosen: Tensor) -> Tensor:
    """Return the mean, over the units that are ``chosen`` [N], bool, of the cross entropy against the rest of itself.

    The aim is the model's own answer with the target left out. The slope in the target's logit is its probability over
    the number of chosen units: it vanishes as the target is forgotten.
    Source: CE-U, 2025, arXiv 2503.01224.
    """
    here = units.per_unit(
        lambda logits, target: _crossed(logits, logits.detach().scatter(1, target[:, None], -math.inf))
    )
    return here[chosen].mean()


def place(units: Units) -> Tensor:
    """Return the place of every unit in its record, [N], from 0; units of a record stand together, in their order."""
    count = torch.bincount(units.record, minlength=units.batch_size)
    return torch.arange(len(units.record), device=units.record.device) - (count.cumsum(0) - count)[units.record]


def generic(units: Scored, teacher: Scored, second: Scored, *, strength: float) -> Tensor:
    """Return the mean cross entropy against the teacher's logits less ``strength * relu(second - teacher)``.

    What the second model, which knows the records even better, prefers more than the teacher is lowered; no logit is
    ever raised, and with strength 0 the aim is the teacher's answer.
    Source: Eldan and Russinovich 2023 (WHP), arXiv 2310.02238, equation 1.
    """

    def value(logits: Tensor, target: Tensor, theirs: Tensor, other: Tensor) -> Tensor:
        return _crossed(logits, theirs - strength * F.relu(other - theirs))

    return units.per_unit(value, teacher, second).mean()


def flatness(units: Scored) -> Tensor:
    """Return the mean of ``(max - mean)^2`` over the logits of each unit; 0 where all are equal.

    Source: Entesari et al. 2025 (PDU), arXiv 2506.05314.
    """
    return units.per_unit(lambda logits, target: (logits.amax(dim=-1) - logits.mean(dim=-1)).square()).mean()


def _crossed(logits: Tensor, aim: Tensor) -> Tensor:
    """Return the cross entropy of ``logits`` [n, V] against softmax(``aim``) [n, V], [n]; of aims -inf is allowed."""
    shares = F.softmax(aim.detach(), dim=-1)
    return logits.logsumexp(dim=-1) - (shares * logits).sum(dim=-1)
