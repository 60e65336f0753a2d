"""Products with matrices as large as a vocabulary: made chunk by chunk, and gradients added up where they lie.

Shapes: N scored tokens, H the width of the model, V the vocabulary, n tokens of one chunk.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

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

    It comes in parts: in half precision small ones would be lost beside what is there. Hooks want to see it whole.
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
    layer.forward = lambda input: _Lookup.apply(layer.weight, input, layer.padding_idx)
    try:
        yield
    finally:
        del layer.forward


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


class PerUnit(torch.autograd.Function):
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
        found = [of(here, _product(hidden[here], weight, bias)) for here in slices(len(hidden), rows)]
        return torch.cat(found) if found else hidden.new_zeros(0, dtype=torch.float32)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        hidden, weight, bias = ctx.saved_tensors
        if torch.is_grad_enabled():
            return *_plainly(lambda p: ctx.of(slice(None), p), (hidden, weight, bias), slope), None, None
        gradient = _Gradient(hidden, weight, bias, ctx.needs_input_grad)
        for here in slices(len(hidden), ctx.rows):
            product = _product(hidden[here], weight, bias).detach().requires_grad_()
            with torch.enable_grad():
                value = ctx.of(here, product)
            gradient.add(here, torch.autograd.grad(value, product, slope[here])[0])
        return *gradient.found(), None, None


class CrossEntropy(torch.autograd.Function):
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
        for here in slices(len(hidden), rows):
            logits = wide(_product(hidden[here], weight, bias))
            sums[here] = logits.logsumexp(dim=1)
            mine[here] = logits.gather(1, target[here, None])[:, 0]
        ctx.save_for_backward(hidden, weight, bias, target, sums)
        ctx.rows = rows
        return sums - mine

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        hidden, weight, bias, target, sums = ctx.saved_tensors
        if torch.is_grad_enabled():

            def loss(product: Tensor) -> Tensor:
                return F.cross_entropy(wide(product), target, reduction="none")

            return *_plainly(loss, (hidden, weight, bias), slope), None, None
        gradient = _Gradient(hidden, weight, bias, ctx.needs_input_grad)
        for here in slices(len(hidden), ctx.rows):
            logits = wide(_product(hidden[here], weight, bias))
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
        part = part if self._weight is None else part.to(self._weight.dtype)
        if self._to_hidden is not None:
            self._to_hidden[here] = part if self._weight is None else part @ self._weight
        if self._to_weight is not None:
            self._to_weight.addmm_(part.T, self._hidden[here].to(part.dtype))
        if self._to_bias is not None:
            self._to_bias += part.sum(dim=0)

    def found(self) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Return the gradients; None for one that is not asked for, or lies where it belongs already."""
        return self._to_hidden, self._to_weight if self._place is None else None, self._to_bias


def _product(hidden: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    return hidden if weight is None else F.linear(hidden, weight, bias)


def _plainly(
    value: Callable[[Tensor], Tensor], operands: tuple[Tensor | None, ...], slope: Tensor
) -> tuple[Tensor | None, ...]:
    """Return gradients that can be differentiated again: those of PyTorch's own operations, all logits at once."""
    # By other names: hidden states that were made with the same weight would count towards its gradient a second time.
    hidden, weight, bias = (each if each is None else each.view_as(each) for each in operands)
    asked = [each for each in (hidden, weight, bias) if each is not None and each.requires_grad]
    assert hidden is not None
    found = iter(torch.autograd.grad(value(_product(hidden, weight, bias)), asked, slope, create_graph=True))
    return tuple(next(found) if each is not None and each.requires_grad else None for each in (hidden, weight, bias))


def slices(count: int, rows: int) -> Iterator[slice]:
    """Yield chunks of at most ``rows`` of so many units."""
    return (slice(start, start + rows) for start in range(0, count, rows))


def wide(logits: Tensor) -> Tensor:
    """Return logits in float32 at least."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
