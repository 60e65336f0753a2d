"""A second set of weights that takes back what the model lets go of, so that it lets go of more than the surface."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from expunge.engine import ranks
from expunge.engine.masters import HALF


class Relearner:
    """Weights that stand in for a model's while forgotten records are pushed away, and undo each push for themselves.

    Pushed away where the model stands, a record is hidden there and comes back in a few steps of training. So it is
    pushed away where such training leads: from the model's weights these go one step back after every push, and the
    model gets the gradients that were taken on their way. After ``steps`` steps back they begin anew. A step goes
    against the push by ``rate`` of the norm of all weights that move. It asks for no pass of its own, and for one copy
    of these weights. Running statistics of batch normalisation are the model's own, and move by what is read here.

    Sources: after meta-learned tamper resistance (Tamirisa et al. 2024, arXiv 2408.00761), to first order; gradients
    used twice as by Shafahi et al. 2019, arXiv 1904.12843; steps of a length that gradients do not change as by Foret
    et al. 2021, arXiv 2010.01412, equation 2. The combination is ours.

    Args:
        steps: how many steps back, at least 1.
        rate: share of the norm, above 0.
    """

    def __init__(self, *, steps: int, rate: float) -> None:
        self._steps, self._rate = steps, rate
        self._back = steps
        self._weights: list[Tensor] = []
        self._held: list[Tensor] = []

    @contextmanager
    def instead(self, model: nn.Module) -> Iterator[None]:
        """Let these weights stand in the model's; its gradients, of nothing else yet, are theirs afterwards."""
        own = [p for p in model.parameters() if p.requires_grad]
        if self._back == self._steps:
            self._back, self._weights = 0, []  # let go of the old copy before there is a new one
            # In float32: a step back is as small as one of training.
            self._weights = [p.detach().to(torch.float32 if p.dtype in HALF else p.dtype, copy=True) for p in own]
        else:
            self._back += 1
        self._swap(own)
        try:
            yield
        finally:
            self._swap_back(own)
        known = [(w, g) for w, g in zip(self._weights, ranks.gradients(model, own), strict=True) if g is not None]
        length = ranks.norm(g for _, g in known)
        # Nothing is pushed where there is no gradient, or all of it is nothing.
        share = self._rate * ranks.norm(self._weights) / length if length else 0.0
        for weight, gradient in known:
            weight.add_(gradient, alpha=share)

    @torch.no_grad()
    def _swap(self, own: Sequence[nn.Parameter]) -> None:
        for p, weight in zip(own, self._weights, strict=True):
            held = p.clone()
            p.copy_(weight)
            if p.dtype == weight.dtype:
                weight.copy_(held)
            else:  # what the model holds now is these weights rounded
                self._held.append(held)

    @torch.no_grad()
    def _swap_back(self, own: Sequence[nn.Parameter]) -> None:
        held = iter(self._held)
        for p, weight in zip(own, self._weights, strict=True):
            if p.dtype == weight.dtype:
                before = p.clone()
                p.copy_(weight)
                weight.copy_(before)
            else:
                p.copy_(next(held))
        self._held = []
