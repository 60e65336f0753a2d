"""Which of many numbers count: the largest of all tensors of a model together, or those that agree in sign."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


def part_of(count: int, share: float) -> int:
    """Return the floor of ``share`` times ``count``; 0.29 of 100 is 29, whatever floats say."""
    return int(share * count + 1e-6)


def largest(values: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """Return which are the largest ``share``, in [0, 1], of all ``values`` together, bool, in their shapes.

    So many as :func:`part_of` says; of equal values the first.
    """
    flat = torch.cat([value.flatten() for value in values.values()])
    chosen = torch.zeros(len(flat), dtype=torch.bool, device=flat.device)
    chosen[torch.argsort(flat, descending=True, stable=True)[: part_of(len(flat), share)]] = True
    parts = chosen.split([value.numel() for value in values.values()])
    return {name: part.reshape(value.shape) for (name, value), part in zip(values.items(), parts, strict=True)}


def shrunk(values: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """Return all ``values`` nearer to 0 by the size of the k-th smallest of them together, none beyond 0.

    k is :func:`part_of` ``share``: so many become 0. As they are where k is 0. The proximal operator of the l1 norm
    (soft thresholding; Fan et al. 2024, arXiv 2310.12508, soft SalUn).
    """
    sizes = torch.cat([value.flatten().abs() for value in values.values()])
    count = part_of(len(sizes), share)
    if not count:
        return dict(values)
    edge = torch.kthvalue(sizes, count).values
    return {name: value.sign() * (value.abs() - edge).clamp(min=0) for name, value in values.items()}


def agreed(values: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return the mean of several sets of tensors where all have one sign, 0 elsewhere.

    Source: Kim et al. 2025 (NegMerge), arXiv 2410.05583.
    """
    found = {}
    for name in values[0]:
        all_of = torch.stack([each[name] for each in values])
        same = (all_of > 0).all(dim=0) | (all_of < 0).all(dim=0)
        found[name] = torch.where(same, all_of.mean(dim=0), torch.zeros_like(all_of[0]))
    return found
