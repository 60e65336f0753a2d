"""Weights of half precision are trained through copies in float32, or small steps would be rounded away.

A number of bfloat16 has eight binary digits: a step of less than 1/512 of a weight leaves it as it is, however often it
is made. So the optimiser moves a copy in float32, and the weight is that copy, rounded.

Source: Micikevicius et al. 2018, "Mixed precision training", arXiv 1710.03740, section 3.1. Rounding by chance is no
substitute: the same run would come to another model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

HALF = (torch.float16, torch.bfloat16)
_SLOT = "weight"
"""What a copy is called among what the optimiser remembers of a weight, in its state as it is saved."""


class Masters:
    """The copies in float32 of those ``parameters`` that have half precision; all others stand for themselves.

    Attributes:
        trained: what the optimiser is to move, one for each parameter, in order.
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        # A lazy parameter has no numbers yet to copy.
        halves = [not nn.parameter.is_lazy(p) and p.dtype in HALF for p in parameters]
        self.trained = [
            nn.Parameter(p.detach().float()) if half else p for p, half in zip(parameters, halves, strict=True)
        ]
        self._pairs = {
            place: (p, copy)
            for place, (p, copy, half) in enumerate(zip(parameters, self.trained, halves, strict=True))
            if half
        }

    def follow(self, optimiser: torch.optim.Optimizer) -> None:
        """Let every step of ``optimiser``, over what is :attr:`trained`, move the parameters; it saves the copies.

        What changes a parameter between two steps changes its copy, number by number.
        """
        if self._pairs:
            optimiser.register_step_pre_hook(self._before)
            optimiser.register_step_post_hook(self._after)
            optimiser.register_state_dict_post_hook(self._with_copies)
            optimiser.register_load_state_dict_pre_hook(self._without_copies)

    @torch.no_grad()
    def _before(self, optimiser: Any, *given: Any) -> None:
        for p, copy in self._pairs.values():
            copy.copy_(torch.where(copy.to(p.dtype) == p, copy, p.float()))
            copy.grad = None if p.grad is None else p.grad.float()
            p.grad = None  # not both at a time

    @torch.no_grad()
    def _after(self, optimiser: Any, *given: Any) -> None:
        for p, copy in self._pairs.values():
            p.copy_(copy)
            copy.grad = None

    def _with_copies(self, optimiser: Any, state: dict[str, Any]) -> dict[str, Any]:
        copies = {place: {_SLOT: copy.detach()} for place, (_, copy) in self._pairs.items()}
        slots = {
            place: {**state["state"].get(place, {}), **copies.get(place, {})} for place in {*state["state"], *copies}
        }
        return {**state, "state": dict(sorted(slots.items()))}

    @torch.no_grad()
    def _without_copies(self, optimiser: Any, state: dict[str, Any]) -> dict[str, Any]:
        slots = {place: dict(each) for place, each in state["state"].items()}
        for place, (p, copy) in self._pairs.items():
            copy.copy_(slots.get(place, {}).pop(_SLOT, p))
        return {**state, "state": {place: each for place, each in slots.items() if each}}
