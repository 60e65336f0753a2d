"""Layers of K models as one: each acts on ``[K * B, ...]``, the B records of model 0 first, then those of model 1.

Whatever has no weights (activations, pooling, dropout, reshaping, attention once projected) works on such a batch as
it is; only layers with weights need to know whose record is whose, and are exchanged for those below.

Two layouts in memory, told by the strides: rows, the numbers of a record side by side; and columns, those of all
records for one channel and place side by side. Convolutions make columns: their windows are copied in runs of B numbers
or more, not of a few, and flattening them for a linear layer copies nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

NARROW = 16
"""Columns of a product below which its transpose is made instead: MKL fills a vector from a row of the result, and
reaches 11 GFLOP/s on [64, 64] x [64, 10], 45 on [10, 64] x [64, 64] (one core with AVX2)."""

ROOM_BYTES = 3 * 2**20
"""What the windows of one layer of one model may take: beyond that they leave the cache, and a loop is faster."""


class Stacked(nn.Module):
    """K layers of one kind; parameters and buffers carry a leading ``K`` and the names they had.

    Args:
        layers: equal in kind and settings.
        relu: whether what comes out is cut at 0, for those that can do so in passing.
    """

    def __init__(self, layers: Sequence[nn.Module], *, relu: bool = False) -> None:
        super().__init__()
        self.count, self.plan, self.relu = len(layers), layers[0], relu
        for name, one in layers[0]._parameters.items():
            whole = None if one is None else torch.stack([getattr(each, name).detach() for each in layers])
            kept = None if whole is None or one is None else nn.Parameter(whole, requires_grad=one.requires_grad)
            self.register_parameter(name, kept)
        for name, buffer in layers[0]._buffers.items():
            self.register_buffer(
                name, None if buffer is None else torch.stack([getattr(each, name) for each in layers])
            )

    def __setattr__(self, name: str, value: Any) -> None:
        """Keep ``plan`` (the single layer, for its settings) out of the submodules: its weights are nobody's."""
        if name == "plan":
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def fill(self, layer: nn.Module, k: int) -> None:
        """Copy the weights and buffers of model ``k`` into a single layer."""
        for name, target in [*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)]:
            target.data.copy_(getattr(self, name)[k])

    def parts(self, x: Tensor) -> Tensor:
        """Return ``[K * B, ...]`` as ``[K, B, ...]``."""
        return x.unflatten(0, (self.count, -1))


class Linear(Stacked):
    """One batched product, bias and ReLU included."""

    def forward(self, x: Tensor) -> Tensor:
        """Map [K * B, ..., in] to [K * B, ..., out], by rows."""
        if x.dim() == 2 and x.stride(0) == 1 < x.stride(1):
            rows = x.mT.unflatten(1, (self.count, -1)).permute(1, 2, 0)
        else:
            rows = x.reshape(self.count, -1, x.shape[-1])
        out: Tensor = _Affine.apply(rows, self.weight, self.bias, self.relu)  # type: ignore[no-untyped-call]
        return out.view(*x.shape[:-1], -1)


class _Affine(torch.autograd.Function):
    """Rows or columns [K, N, in], weights [K, out, in], bias [K, out] or None: rows [K, N, out]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, relu: bool) -> Tensor:
        out = _product(x, weight.mT, None if bias is None else bias.unsqueeze(1)).contiguous()
        out = out.relu_() if relu else out  # in place, while it is in the cache
        ctx.save_for_backward(x, weight, out if relu else None)
        return out

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, weight, out = ctx.saved_tensors
        if out is not None:
            grad = torch.ops.aten.threshold_backward(grad, out, 0)
        slope = None
        if ctx.needs_input_grad[0] and x.is_contiguous():
            slope = _product(grad, weight)
        elif ctx.needs_input_grad[0]:  # as columns, which only a product of one model writes in their place
            whole = x.new_empty(x.shape[2], len(x), x.shape[1])
            for side, mine, to in zip(grad.mT, weight.mT, whole.unbind(1), strict=True):
                torch.mm(mine, side, out=to)
            slope = whole.permute(1, 2, 0)
        table = _product(grad.mT, x) if ctx.needs_input_grad[1] else None
        return slope, table, grad.sum(dim=1) if ctx.needs_input_grad[2] else None, None


def _product(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return ``a @ b + bias`` of [K, m, k], [K, k, n] and [K, 1, n]."""
    if b.shape[2] < NARROW <= a.shape[1]:
        return _product(b.mT, a.mT, None if bias is None else bias.mT).mT
    return torch.bmm(a, b) if bias is None else torch.baddbmm(bias, a, b)


class Convolution(Stacked):
    """Products with columns of windows, model by model, for this layer and those ``after`` it.

    From layer to layer everything of one model stays packed and in the cache; of what is between them only the input of
    each is kept, and its columns are copied again for the gradients, which costs less than to store them.

    Source: Chellapilla et al. 2006, "High performance convolutional neural networks for document processing".

    Attributes:
        after: convolutions that follow at once; this one does their work, and they hand on what they get.
        within: whether another does the work.
    """

    after: tuple[Convolution, ...] = ()
    within = False
    _rooms: tuple[Any, list[_Room]] = (None, [])

    def forward(self, x: Tensor) -> Tensor:
        """Map [K * B, C, H, W] to [K * B, O, H', W'], as columns: in memory [O, H', W', K * B]."""
        if self.within:
            return x
        tables = []
        for layer in (self, *self.after):
            bias = layer.weight.new_zeros(layer.weight.shape[:2]) if layer.bias is None else layer.bias
            tables.append(torch.cat((layer.weight.flatten(2), bias.unsqueeze(2)), dim=2))
        out: Tensor = _Convolve.apply(x.movedim(0, -1), self._prepared(x), *tables)  # type: ignore[no-untyped-call]
        return out.movedim(-1, 0)  # here, where it may be changed in place: what a Function returns as a view may not

    def _prepared(self, x: Tensor) -> list[_Room]:
        """Return a room for each layer; those of the last call where they fit, still in the cache."""
        # Memory made in inference mode may be written in that mode alone.
        key = (x.shape, x.dtype, x.device, torch.is_inference_mode_enabled())
        if self._rooms[0] != key:
            found: list[_Room] = []
            for layer in (self, *self.after):
                sides = found[-1].shaped.shape if found else (*x.shape[1:], len(x) // self.count)
                found.append(_Room(layer, sides, x))
            self._rooms = key, found
        return self._rooms[1]


class _Room:
    """Where one convolution works on one model after the other, so that all of it stays in the cache.

    What is in it means nothing between two calls.

    Attributes:
        given: [C, H, W, B], what the layer gets; in memory there are the zeros of the padding around it.
        rows: [C * h * w + 1, H' * W' * B], the windows as columns; and a row of ones, whose weight is the bias, so that
            the bias's gradient falls out of the same product.
        made: [O, H' * W' * B], their product with a table of weights; the same as ``shaped``: [O, H', W', B].

    Raises:
        ValueError: windows that take more than ``ROOM_BYTES``.
    """

    def __init__(self, layer: Convolution, shape: Sequence[int], like: Tensor) -> None:
        plan: Any = layer.plan
        self.relu, self.kernel, self.stride, self.padding = layer.relu, plan.kernel_size, plan.stride, plan.padding
        framed, self.given = self._framed(shape, like)
        self.seen = self._windows(framed)
        lengths = self.seen.shape
        if lengths.numel() * like.element_size() > ROOM_BYTES:
            raise ValueError(f"windows {list(lengths)} take more than {ROOM_BYTES} bytes: too large to be stacked")
        self.rows = like.new_ones(lengths[:3].numel() + 1, lengths[3:].numel())
        self.windows = self.rows[:-1]
        self.split = self.windows.view(lengths)
        self.made = like.new_empty(plan.out_channels, self.rows.shape[1])
        self.shaped = self.made.view(-1, *lengths[3:])

    def _framed(self, shape: Sequence[int], like: Tensor) -> tuple[Tensor, Tensor]:
        """Return zeros [C, H, W, B] with the padding around, and what is inside of it."""
        (channels, height, width, each), (down, right) = shape, self.padding
        framed = like.new_zeros(channels, height + 2 * down, width + 2 * right, each)
        return framed, framed[:, down : down + height, right : right + width]

    def _windows(self, framed: Tensor) -> Tensor:
        """Return a view [C, h, w, H', W', B] of [C, H, W, B]: what each place of a window sees."""
        rows = framed.unfold(1, self.kernel[0], self.stride[0])
        return rows.unfold(2, self.kernel[1], self.stride[1]).movedim((-2, -1), (1, 2))

    @cached_property
    def _sums(self) -> tuple[Tensor, Tensor, list[tuple[Tensor, Tensor]]]:
        """Memory for sums over windows, framed and what is inside; and which of its places are summed from which rows.

        Places less than a stride apart belong to windows that do not overlap: one addition for all of them.
        """
        framed, inside = self._framed(self.given.shape, self.given)
        (down, right), seen = self.stride, self._windows(framed)
        pairs = [
            (seen[:, i : i + down, j : j + right], self.split[:, i : i + down, j : j + right])
            for i in range(0, self.kernel[0], down)
            for j in range(0, self.kernel[1], right)
        ]
        return framed, inside, pairs

    def look(self) -> Tensor:
        """Return ``rows``, copied from what is given in runs of B numbers or more."""
        self.split.copy_(self.seen)
        return self.rows

    def make(self, table: Tensor, out: Tensor) -> None:
        """Write to ``out`` [O, H', W', B] what the layer makes of what is given."""
        torch.mm(table, self.look(), out=self.made)
        if self.relu:
            torch.clamp_min(self.shaped, 0, out=out)
        else:
            out.copy_(self.shaped)

    def unmake(self, grad: Tensor, out: Tensor) -> None:
        """Write to ``made`` the gradient of the product, given that of ``out``."""
        if self.relu:
            torch.ops.aten.threshold_backward.grad_input(grad, out, 0, grad_input=self.shaped)
        else:
            self.shaped.copy_(grad)

    def back(self, turned: Tensor) -> Tensor:
        """Return the gradient [C, H, W, B] of what is given, from that in ``made``; the rows are lost.

        Args:
            turned: the table without biases, [C * h * w, O].
        """
        torch.mm(turned, self.made, out=self.windows)
        framed, inside, pairs = self._sums
        framed.zero_()
        for places, parts in pairs:
            places.add_(parts)
        return inside


class _Convolve(torch.autograd.Function):
    """Inputs [C, H, W, K * B], a table [K, O, C * h * w + 1] a room: outputs [O, H', W', K * B] of the last."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rooms: list[_Room], *tables: Tensor) -> Tensor:
        count, x = len(tables[0]), _packed(x)
        whole = x.new_empty(*rooms[-1].shaped.shape[:-1], x.shape[-1])
        kept = [x.new_empty(count, *room.given.shape) for room in rooms[1:]]
        work = (_models(x, count), _models(whole, count), _each(tables, count), _each(kept, count))
        for given, out, mine, keeps in zip(*work, strict=True):
            rooms[0].given.copy_(given)
            for (room, following), table, keep in zip(pairwise(rooms), mine, keeps, strict=False):
                room.make(table, following.given)
                keep.copy_(following.given)
            rooms[-1].make(mine[-1], out)
        ctx.save_for_backward(x, whole if rooms[-1].relu else None, *kept, *tables)  # of the outputs only their signs
        ctx.rooms = rooms
        return whole

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad: Tensor) -> Any:
        rooms: list[_Room] = ctx.rooms
        x, whole, *saved = ctx.saved_tensors
        kept, tables = saved[: len(rooms) - 1], saved[len(rooms) - 1 :]
        count, needed = len(tables[0]), ctx.needs_input_grad[0]
        if whole is not None:
            grad = torch.ops.aten.threshold_backward(grad, whole, 0)  # of all models: theirs lie far apart
        back = torch.empty_like(x) if needed else None
        slopes = [table.new_empty(count, table.shape[2], table.shape[1]) for table in tables]
        turned = [table[:, :, :-1].mT for table in tables]
        backs = _models(back, count) if needed else (None,) * count
        ends = zip(_models(x, count), _models(grad, count), backs, strict=True)
        parts = (_each(every, count) for every in (turned, slopes, kept))
        for (given, slope, to), turns, found, keeps in zip(ends, *parts, strict=True):
            for room, was in zip(rooms, (given, *keeps), strict=True):
                room.given.copy_(was)
                room.look()
            rooms[-1].shaped.copy_(slope)
            for i in reversed(range(len(rooms))):
                room = rooms[i]
                torch.mm(room.rows, room.made.mT, out=found[i])
                if i:
                    rooms[i - 1].unmake(room.back(turns[i]), room.given)
                elif to is not None:
                    to.copy_(room.back(turns[i]))
        return back, None, *(slope.mT for slope in slopes)


def _packed(x: Tensor) -> Tensor:
    """Return [..., N] contiguous."""
    return x.reshape(-1, x.shape[-1]).contiguous().view(x.shape)  # by way of two dimensions, which torch is quick at


def _each(wholes: Sequence[Tensor], count: int) -> list[tuple[Tensor, ...]]:
    """Return for each model its part of all ``wholes`` [K, ...]."""
    return list(zip(*(whole.unbind(0) for whole in wholes), strict=True)) or [()] * count


def _models(whole: Tensor, count: int) -> tuple[Tensor, ...]:
    """Return K views ``[..., B]`` of ``[..., K * B]``."""
    return whole.unflatten(-1, (count, -1)).unbind(-2)


class Norm(Stacked):
    """Layer and group normalisation: by record, then each model's own scale and shift."""

    def forward(self, x: Tensor) -> Tensor:
        """Map [K * B, ...] to the same shape."""
        layer: Any = self.plan
        if isinstance(layer, nn.LayerNorm):
            out = self.parts(F.layer_norm(x, layer.normalized_shape, eps=layer.eps))
            shape = (self.count, *(1,) * (out.dim() - 1 - len(layer.normalized_shape)), *layer.normalized_shape)
        else:
            out = self.parts(F.group_norm(x, layer.num_groups, eps=layer.eps))
            shape = (self.count, 1, -1, *(1,) * (out.dim() - 3))
        if self.weight is not None:
            out = out * self.weight.view(shape)
        return (out if self.bias is None else out + self.bias.view(shape)).flatten(0, 1)


class BatchNorm(Stacked):
    """Batch normalisation with the statistics of each model's own records."""

    def forward(self, x: Tensor) -> Tensor:
        """Map [K * B, C, ...] to the same shape; in training the running statistics move as each alone would."""
        layer: Any = self.plan
        side = self.parts(x).transpose(0, 1).flatten(1, 2)  # [B, K * C, ...]: channels of their own
        kept = self.running_mean is not None
        if self.training and kept:
            self.num_batches_tracked += 1
        out = F.batch_norm(
            side,
            self.running_mean.view(-1) if kept else None,
            self.running_var.view(-1) if kept else None,
            None if self.weight is None else self.weight.view(-1),
            None if self.bias is None else self.bias.view(-1),
            training=self.training or not kept,
            momentum=layer.momentum,
            eps=layer.eps,
        )
        return out.unflatten(1, (self.count, -1)).transpose(0, 1).flatten(0, 1)


class Embedding(Stacked):
    """One table of K vocabularies."""

    def forward(self, x: Tensor) -> Tensor:
        """Map token numbers [K * B, ...] to [K * B, ..., D]."""
        size = self.weight.shape[1]
        shift = torch.arange(self.count, device=x.device).view(-1, *(1,) * x.dim()) * size
        return F.embedding((self.parts(x) + shift).flatten(0, 1), self.weight.flatten(0, 1))


def _plain_convolution(layer: Any) -> bool:
    zeros = layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
    return zeros and layer.groups == 1 and layer.dilation == (1, 1)


def _plain_embedding(layer: Any) -> bool:
    return layer.padding_idx is None and layer.max_norm is None and not (layer.scale_grad_by_freq or layer.sparse)


def _always(layer: Any) -> bool:
    return True


_RULES: dict[type[nn.Module], tuple[type[Stacked], Callable[[Any], bool]]] = {
    nn.Linear: (Linear, _always),
    nn.Conv2d: (Convolution, _plain_convolution),
    nn.LayerNorm: (Norm, _always),
    nn.GroupNorm: (Norm, _always),
    nn.BatchNorm1d: (BatchNorm, lambda layer: layer.momentum is not None),
    nn.BatchNorm2d: (BatchNorm, lambda layer: layer.momentum is not None),
    nn.Embedding: (Embedding, _plain_embedding),
}


def rule(layer: nn.Module) -> type[Stacked] | None:
    """Return what stands for K such layers; None where there is nothing."""
    kind, fits = _RULES.get(type(layer), (None, _always))
    return kind if fits(layer) else None


def weighted(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield (name, layer) of the layers that hold parameters or buffers themselves."""
    for name, layer in model.named_modules():
        own = [*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)]
        if own:
            yield name, layer


def absorb(body: nn.Module) -> set[str]:
    """Take every ReLU out of ``body`` that a layer can do in passing; return the names of these layers."""
    found = set()
    for name, layer in body.named_modules():
        if type(layer) is nn.Sequential:
            for (before, first), (after, second) in pairwise(list(layer.named_children())):
                if type(first) in (nn.Linear, nn.Conv2d) and type(second) is nn.ReLU:
                    setattr(layer, after, nn.Identity())
                    found.add(f"{name}.{before}" if name else before)
    return found


def join(body: nn.Module) -> None:
    """Let convolutions of ``body`` that follow each other be done by the first of them."""
    for layer in body.modules():
        if type(layer) is nn.Sequential:
            run: list[Convolution] = []
            for child in layer:
                if isinstance(child, Convolution):
                    run.append(child)
                elif not isinstance(child, nn.Identity):
                    _join(run)
                    run = []
            _join(run)


def _join(run: list[Convolution]) -> None:
    if run:
        run[0].after = tuple(run[1:])
    for follower in run[1:]:
        follower.within = True
