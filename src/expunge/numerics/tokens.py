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
from torch import Tensor, nn
from torch.nn import functional as F

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
        return self.shaped(F.linear(hidden, self.weight, self.bias))

    def shaped(self, product: Tensor) -> Tensor:
        """Return logits [n, V] of products [n, V] of weight and hidden states."""
        logits = _wide(product)
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
        """Return ``value`` of all units, [N]; logits of a chunk are made for it, and once more for its gradient.

        What ``others`` say carries no gradient, and nothing else that ``value`` reads.
        """

        def of(here: slice, product: Tensor) -> Tensor:
            with torch.no_grad():
                theirs = [_logits(other, here) for other in others]
            return value(self.head.shaped(product), self.target[here], *theirs)

        made = isinstance(self.head, Made)
        weight, bias = (None, None) if made else (self.head.weight, self.head.bias)
        with torch.set_grad_enabled(self._graded):
            values: Tensor = _PerUnit.apply(self.hidden, weight, bias, of, self.head.rows)  # type: ignore[no-untyped-call]
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
                for here in _slices(len(self.target), self.head.rows)
            ]
        return torch.cat(found) if found else self.hidden.new_zeros(0, 4, dtype=torch.float32)


_lock, _adding = threading.Lock(), 0


@contextmanager
def adding_up() -> Iterator[None]:
    """Add gradients of heads and embeddings to ``.grad`` where they arise, in backward passes that end there.

    Such a gradient is as large as the vocabulary is wide: a network with one matrix for both would hold one of the head
    and one of every call of the body beside their sum. Not for ``torch.autograd.grad``, which hands gradients out.
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

    It comes in parts: in half precision small ones would be lost beside what is there.
    """
    hooked = weight._backward_hooks or weight._post_accumulate_grad_hooks  # type: ignore[attr-defined]
    if not _adding or not weight.is_leaf or hooked or torch.finfo(weight.dtype).bits < 32:
        return None
    if weight.grad is None:
        weight.grad = torch.zeros_like(weight)
    there = weight.grad
    return there if there.layout == torch.strided and there.dtype == weight.dtype else None


@contextmanager
def by_rows(layer: Any) -> Iterator[None]:
    """Let an embedding add the gradients of the rows that were looked up alone, where they lie (:func:`adding_up`).

    Layers that do more than look up are left as they are.
    """
    plain = type(layer) is nn.Embedding and "forward" not in vars(layer)
    if not plain or layer.sparse or layer.scale_grad_by_freq or layer.max_norm is not None:
        yield
        return
    layer.forward = lambda ids: _Lookup.apply(layer.weight, ids, layer.padding_idx)
    try:
        yield
    finally:
        del layer.forward


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


class _Lookup(torch.autograd.Function):
    """Rows of a matrix; the gradient touches these alone, where there is one to add to."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, ids: Tensor, padding: int | None) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(weight, ids)
        ctx.padding = -1 if padding is None else padding
        return F.embedding(ids, weight)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, None, None]:  # type: ignore[override]
        weight, ids = ctx.saved_tensors
        place = _place_for(weight)
        if place is None:
            whole: Tensor = torch.ops.aten.embedding_dense_backward(slope, ids, len(weight), ctx.padding, False)
            return whole, None, None
        read = ids != ctx.padding
        if place.is_cuda:  # the other way adds in another order each time
            place.index_put_((ids[read],), slope[read], accumulate=True)
        else:
            place.index_add_(0, ids[read], slope[read])
        return None, None, None


class _PerUnit(torch.autograd.Function):
    """A value of every unit; chunk by chunk its gradient is led through the logits alone, and from there by products.

    ``of(here, product)`` is the value of the units ``here``, [n], of products [n, V] of weight and hidden states; where
    there is no weight these are the hidden states themselves.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        hidden: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        of: Callable[[slice, Tensor], Tensor],
        rows: int,
    ) -> Tensor:
        ctx.save_for_backward(hidden, weight, bias)
        ctx.of, ctx.rows = of, rows
        found = [of(here, _product(hidden[here], weight, bias)) for here in _slices(len(hidden), rows)]
        return torch.cat(found) if found else hidden.new_zeros(0, dtype=torch.float32)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        hidden, weight, bias = ctx.saved_tensors
        gradient = _Gradient(hidden, weight, bias, ctx.needs_input_grad)
        for here in _slices(len(hidden), ctx.rows):
            product = _product(hidden[here], weight, bias).requires_grad_()
            with torch.enable_grad():
                value = ctx.of(here, product)
            gradient.add(here, torch.autograd.grad(value, product, slope[here])[0])
        return *gradient.found(), None, None


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
        for here in _slices(len(hidden), rows):
            logits = _wide(_product(hidden[here], weight, bias))
            sums[here] = logits.logsumexp(dim=1)
            mine[here] = logits.gather(1, target[here, None])[:, 0]
        ctx.save_for_backward(hidden, weight, bias, target, sums)
        ctx.rows = rows
        return sums - mine

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        hidden, weight, bias, target, sums = ctx.saved_tensors
        gradient = _Gradient(hidden, weight, bias, ctx.needs_input_grad)
        for here in _slices(len(hidden), ctx.rows):
            logits = _wide(_product(hidden[here], weight, bias))
            part = logits.sub_(sums[here, None]).exp_()  # the softmax
            part[torch.arange(len(part), device=part.device), target[here]] -= 1.0
            gradient.add(here, part.mul_(slope[here, None]).to(hidden.dtype))
        return *gradient.found(), None, None


class _Gradient:
    """The gradients of hidden states [N, H], weight [V, H] and bias [V], from those of chunks of their product [n, V].

    ``wanted`` says of each whether it is asked for. Without a weight the product is the hidden states themselves.
    """

    def __init__(self, hidden: Tensor, weight: Tensor | None, bias: Tensor | None, wanted: tuple[bool, ...]) -> None:
        self._hidden, self._weight = hidden, weight
        self._to_hidden = torch.empty_like(hidden) if wanted[0] else None
        self._place = self._to_weight = self._to_bias = None
        if weight is not None and wanted[1]:
            self._place = _place_for(weight)
            self._to_weight = torch.zeros_like(weight) if self._place is None else self._place
        if bias is not None and wanted[2]:
            self._to_bias = torch.zeros_like(bias)

    def add(self, here: slice, part: Tensor) -> None:
        """Add what comes of a chunk."""
        if self._to_hidden is not None and self._weight is None:
            self._to_hidden[here] = part
        elif self._to_hidden is not None:
            torch.mm(part, self._weight, out=self._to_hidden[here])  # type: ignore[arg-type]
        if self._to_weight is not None:
            self._to_weight.addmm_(part.T, self._hidden[here])
        if self._to_bias is not None:
            self._to_bias += part.sum(dim=0)

    def found(self) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Return the gradients; None for one that is not asked for, or lies where it belongs already."""
        return self._to_hidden, self._to_weight if self._place is None else None, self._to_bias


def _product(hidden: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    return hidden.detach() if weight is None else F.linear(hidden, weight, bias)


def _slices(count: int, rows: int) -> Iterator[slice]:
    return (slice(start, start + rows) for start in range(0, count, rows))
