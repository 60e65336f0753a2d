"""Units of a language model: scored tokens, whose logits over the vocabulary are made some at a time and never kept.

Shapes: N scored tokens, H the width of the model, V the vocabulary, n tokens of one chunk.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from expunge.numerics.units import Scored

CHUNK = 2**22
"""Logits that exist at one time: 16 MiB of float32. Smaller chunks read the head's weights more often."""


class Head:
    """The last layer of a language model, ``logits = weight @ hidden + bias``, and what its class does to them.

    Args:
        weight: [V, H]; bias: [V] or None.
        scale: what logits are multiplied with; cap: ``c`` of ``c * tanh(logits / c)``, None for none.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None = None, *, scale: float = 1.0, cap: float | None = None
    ) -> None:
        self.weight, self.bias, self.scale, self.cap = weight, bias, scale, cap
        self.width = len(weight)

    def __call__(self, hidden: Tensor) -> Tensor:
        """Return logits [n, V] of hidden states [n, H], in float32 at least."""
        logits = _wide(F.linear(hidden, self.weight, self.bias))
        logits = logits * self.scale if self.scale != 1.0 else logits
        return logits if self.cap is None else torch.tanh(logits / self.cap) * self.cap

    @property
    def linear(self) -> bool:
        """Whether logits are the product and nothing else."""
        return self.cap is None and self.scale == 1.0

    @property
    def rows(self) -> int:
        """How many tokens make a chunk."""
        return max(1, CHUNK // self.width)


class Made(Head):
    """The head of a model that has made all ``width`` logits itself: its hidden states are these."""

    linear = False

    def __init__(self, width: int) -> None:
        self.width = width

    def __call__(self, hidden: Tensor) -> Tensor:
        """Return the logits that were given, in float32 at least."""
        return _wide(hidden)


class Tokens(Scored):
    """Units that hold the hidden states [N, H] which predict ``target`` [N], and the :class:`Head` that reads them.

    ``loss`` is the cross entropy, in float32 at least, made when it is asked for.
    """

    def __init__(self, hidden: Tensor, head: Head, target: Tensor, record: Tensor, batch_size: int) -> None:
        # Units are frozen; what is computed later runs as it would have now, with gradients or without.
        graded = torch.is_grad_enabled()
        for name, value in (
            ("hidden", hidden),
            ("head", head),
            ("target", target),
            ("record", record),
            ("batch_size", batch_size),
            ("_graded", graded),
        ):
            object.__setattr__(self, name, value)

    hidden: Tensor
    head: Head
    _graded: bool

    @cached_property
    def loss(self) -> Tensor:  # type: ignore[override]
        """Minus the log-probability of the target, in nats, [N]."""
        with torch.set_grad_enabled(self._graded):
            if self.head.linear:
                losses: Tensor = _CrossEntropy.apply(  # type: ignore[no-untyped-call]
                    self.hidden, self.head.weight, self.head.bias, self.target, self.head.rows
                )
                return losses
            return self.per_unit(lambda logits, target: F.cross_entropy(logits, target, reduction="none"))

    @cached_property
    def logits(self) -> Tensor:  # type: ignore[override]
        """All logits, [N, V]: for small vocabularies, and for what cannot be said of one unit at a time."""
        with torch.set_grad_enabled(self._graded):
            return self.head(self.hidden)

    def per_unit(self, value: Callable[..., Tensor], *others: Scored) -> Tensor:
        """Return ``value`` of all units, [N]; logits of a chunk are made for it, and once more for its gradient."""
        width = self.head.rows

        def part(start: int, hidden: Tensor) -> Tensor:
            here = slice(start, start + width)
            with torch.no_grad():
                theirs = [_logits(other, here) for other in others]
            return value(self.head(hidden), self.target[here], *theirs)

        with torch.set_grad_enabled(self._graded):
            parts = []
            for start in range(0, len(self.target), width):
                hidden = self.hidden[start : start + width]
                if torch.is_grad_enabled():
                    parts.append(checkpoint(part, start, hidden, use_reentrant=False, preserve_rng_state=False))
                else:
                    parts.append(part(start, hidden))
            return torch.cat(parts) if parts else self.hidden.new_zeros(0, dtype=torch.float32)

    def among(self, chosen: Tensor) -> Tokens:
        """Return the units of the records that are ``chosen`` [B], bool, counted anew."""
        mine = chosen[self.record]
        place = chosen.long().cumsum(0) - 1
        return Tokens(self.hidden[mine], self.head, self.target[mine], place[self.record[mine]], int(chosen.sum()))

    @property
    def classes(self) -> int:
        """How many tokens there are to choose from: V."""
        return self.head.width

    @cached_property
    def correct(self) -> Tensor:
        """Whether the target is the most likely token, [N], bool; the lowest number wins a tie."""
        return self.output[:, 1].bool()

    @cached_property
    def output(self) -> Tensor:
        """What the model said of each target, [N, 4] (:func:`said`); without gradients."""
        with torch.no_grad():
            found = [said(self.head(hidden), target) for hidden, target in self._chunks()]
        return torch.cat(found) if found else self.hidden.new_zeros(0, 4, dtype=torch.float32)

    def _chunks(self) -> Iterator[tuple[Tensor, Tensor]]:
        width = self.head.rows
        return (
            (self.hidden[i : i + width].detach(), self.target[i : i + width]) for i in range(0, len(self.target), width)
        )


_lock, _adding = threading.Lock(), 0


@contextmanager
def adding_up() -> Iterator[None]:
    """Add the gradients of heads to those that are there, where they lie, in backward passes that end in ``.grad``.

    Such a gradient is as large as the vocabulary is wide, and a step of several passes would hold one more of them. Not
    for ``torch.autograd.grad``, which hands gradients out.
    """
    global _adding  # backward passes on a GPU run in threads of their own: no context reaches these
    with _lock:
        _adding += 1
    try:
        yield
    finally:
        with _lock:
            _adding -= 1


def _place_for(weight: Tensor) -> Tensor | None:
    """Return what the gradient of a weight is to be added to; None where it is handed on.

    It comes chunk by chunk: in half precision small ones would be lost beside what is there.
    """
    if not _adding or not weight.is_leaf:
        return None
    there = weight.grad
    if there is None or there.layout != torch.strided:
        return None
    hooked = weight._backward_hooks or weight._post_accumulate_grad_hooks  # type: ignore[attr-defined]
    return None if hooked or there.dtype != weight.dtype or torch.finfo(weight.dtype).bits < 32 else there


SAID = ("log-probability of the target", "whether it is the most likely token", "mean", "deviation")
"""The columns of :func:`said`; mean and deviation are those of the log-probability of a token drawn by the model."""


def said(logits: Tensor, target: Tensor) -> Tensor:
    """Return :data:`SAID` of logits [n, V] and targets [n], [n, 4]: what membership attacks and extraction need.

    Mean and deviation are the terms of Min-K%++ (Zhang et al. 2024, arXiv 2404.02936).
    """
    log_probs = F.log_softmax(logits, dim=-1)
    probs = log_probs.exp()
    mean = (probs * log_probs).sum(dim=-1)
    deviation = ((probs * log_probs**2).sum(dim=-1) - mean**2).clamp_min(0).sqrt()
    mine = log_probs.gather(1, target[:, None])[:, 0]
    return torch.stack([mine, (logits.argmax(dim=-1) == target).to(mine.dtype), mean, deviation], dim=1)


def _logits(units: Scored, here: slice) -> Tensor:
    return units.head(units.hidden[here]) if isinstance(units, Tokens) else units.logits[here]


def _wide(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


class _CrossEntropy(torch.autograd.Function):
    """The loss of every unit; the gradient makes each chunk of logits anew and turns it into softmax in place.

    Kept between the two passes: hidden states and one number per token. A chunk is read and written three times
    forward and backward together; the plain way holds logits, log-probabilities and their gradient of all tokens.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, target: Tensor, rows: int
    ) -> Tensor:
        kind = torch.promote_types(hidden.dtype, torch.float32)
        sums = torch.empty(len(hidden), dtype=kind, device=hidden.device)
        mine = torch.empty_like(sums)
        for i in range(0, len(hidden), rows):
            logits = _wide(F.linear(hidden[i : i + rows], weight, bias))
            sums[i : i + rows] = logits.logsumexp(dim=1)
            mine[i : i + rows] = logits.gather(1, target[i : i + rows, None])[:, 0]
        ctx.save_for_backward(hidden, weight, bias, target, sums)
        ctx.rows = rows
        return sums - mine

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        hidden, weight, bias, target, sums = ctx.saved_tensors
        wants_hidden, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        to_hidden = torch.empty_like(hidden) if wants_hidden else None
        place = _place_for(weight) if wants_weight else None
        to_weight = torch.zeros_like(weight) if wants_weight and place is None else place
        to_bias = torch.zeros_like(bias) if wants_bias and bias is not None else None
        for i in range(0, len(hidden), ctx.rows):
            here = slice(i, i + ctx.rows)
            logits = _wide(F.linear(hidden[here], weight, bias))
            part = logits.sub_(sums[here, None]).exp_()  # the softmax
            part[torch.arange(len(part), device=part.device), target[here]] -= 1.0
            part.mul_(slope[here, None])
            part = part.to(hidden.dtype)
            if to_hidden is not None:
                torch.mm(part, weight, out=to_hidden[here])
            if to_weight is not None:
                to_weight.addmm_(part.T, hidden[here])
            if to_bias is not None:
                to_bias += part.sum(dim=0)
        return to_hidden, to_weight if place is None else None, to_bias, None, None
