"""Units of a language model: scored tokens, whose logits over the vocabulary are made some at a time and never kept.

Shapes: N scored tokens, H the width of the model, V the vocabulary, n tokens of one chunk.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from expunge.numerics.units import Scored
from expunge.numerics.vocabulary import CrossEntropy, PerUnit, slices, wide

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
        return self.shaped(F.linear(hidden, self.weight, self.bias))

    def shaped(self, product: Tensor) -> Tensor:
        """Return logits [n, V] of products [n, V] of weight and hidden states."""
        logits = wide(product)
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
        self.width, self.scale, self.cap = width, 1.0, None

    def __call__(self, hidden: Tensor) -> Tensor:
        """Return the logits that were given, in float32 at least."""
        return self.shaped(hidden)


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
                losses: Tensor = CrossEntropy.apply(  # type: ignore[no-untyped-call]
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
        """Return ``value`` of all units, [N]; logits of a chunk are made for it, and once more for its gradient.

        What ``others`` say carries no gradient, and nothing else that ``value`` reads.
        """
        head, goal = self.head, self.target  # what outlives this call must not hold these units, which hold the graph

        def of(here: slice, product: Tensor) -> Tensor:
            with torch.no_grad():
                theirs = [_logits(other, here) for other in others]
            return value(head.shaped(product), goal[here], *theirs)

        weight, bias = (None, None) if isinstance(head, Made) else (head.weight, head.bias)
        with torch.set_grad_enabled(self._graded):
            values: Tensor = PerUnit.apply(self.hidden, weight, bias, of, self.head.rows)  # type: ignore[no-untyped-call]
            return values

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
            found = [
                said(self.head(self.hidden[here]), self.target[here])
                for here in slices(len(self.target), self.head.rows)
            ]
        return torch.cat(found) if found else self.hidden.new_zeros(0, 4, dtype=torch.float32)


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
