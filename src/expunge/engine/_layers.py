"""Layers of K models as one: each acts on ``[K * B, ...]``, the B records of model 0 first, then those of model 1.

Whatever has no weights (activations, pooling, dropout, reshaping, attention once projected) works on such a batch as
it is; only layers with weights need to know whose record is whose, and are exchanged for those below.

Two layouts in memory, told by the strides: rows, the numbers of a record side by side; and columns, those of all
records for one channel and place side by side. Convolutions make columns: their windows are copied in runs of B numbers
or more, not of a few, and flattening them for a linear layer copies nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

NARROW = 16
"""Columns of a product below which its transpose is made instead: MKL fills a vector from a row of the result, and
reaches 11 GFLOP/s on [64, 64] x [64, 10], 45 on [10, 64] x [64, 64] (one core with AVX2)."""


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

    From layer to layer everything of one model stays packed and in the cache; of what is between them only the padded
    input of each is kept, and its columns are copied again for the gradients, which costs less than to store them.

    Source: Chellapilla et al. 2006, "High performance convolutional neural networks for document processing".

    Attributes:
        after: convolutions that follow at once; this one does their work, and they hand on what they get.
        within: whether another does the work.
    """

    after: tuple[Convolution, ...] = ()
    within = False

    def forward(self, x: Tensor) -> Tensor:
        """Map [K * B, C, H, W] to [K * B, O, H', W'], as columns: in memory [O, H', W', K * B]."""
        if self.within:
            return x
        stages, tables, sides = [], [], tuple(x.shape[2:])
        for layer in (self, *self.after):
            stages.append(_Stage.of(sides, layer))
            sides = stages[-1].places
            bias = layer.weight.new_zeros(layer.weight.shape[:2]) if layer.bias is None else layer.bias
            tables.append(torch.cat((layer.weight.flatten(2), bias.unsqueeze(2)), dim=2))
        out: Tensor = _Convolve.apply(x, stages, *tables)  # type: ignore[no-untyped-call]
        return out.movedim(-1, 0)  # here, where it may be changed in place: what a Function returns as a view may not


@dataclass(frozen=True)
class _Stage:
    """One convolution: which windows it sees, by (rows, columns); ``places`` is where they stop at."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    places: tuple[int, int]
    relu: bool

    @classmethod
    def of(cls, sides: tuple[int, ...], layer: Convolution) -> _Stage:
        plan: Any = layer.plan
        measures = zip(sides, plan.kernel_size, plan.stride, plan.padding, strict=True)
        height, width = ((side + 2 * pad - kernel) // stride + 1 for side, kernel, stride, pad in measures)
        return cls(plan.kernel_size, plan.stride, plan.padding, (height, width), layer.relu)

    def framed(self, like: Tensor, *shape: int) -> Tensor:
        """Return memory for [..., H, W, B] with zeros all around: [..., H + 2 * pad, W + 2 * pad, B]."""
        *lead, height, width, each = shape
        down, right = self.padding
        found = like.new_empty(*lead, height + 2 * down, width + 2 * right, each)
        for side, pad in ((-3, down), (-2, right)):
            found.narrow(side, 0, pad).zero_()
            found.narrow(side, found.shape[side] - pad, pad).zero_()
        return found

    def inside(self, framed: Tensor) -> Tensor:
        """Return what the frame is around, as a view."""
        (down, right), (height, width) = self.padding, framed.shape[-3:-1]
        return framed[..., down : height - down, right : width - right, :]

    def seen(self, framed: Tensor) -> Tensor:
        """Return a view [..., h, w, H', W', B] of [..., H, W, B]: what each place of a window sees."""
        rows = framed.unfold(-3, self.kernel[0], self.stride[0])
        return rows.unfold(-3, self.kernel[1], self.stride[1]).movedim((-2, -1), (-5, -4))

    def finish(self, out: Tensor, made: Tensor) -> None:
        """Write what the product ``made`` comes to."""
        if self.relu:
            torch.clamp_min(made, 0, out=out)
        else:
            out.copy_(made)

    def unfinish(self, slope: Tensor, grad: Tensor, out: Tensor) -> None:
        """Write the gradient ``slope`` of the product, given that of ``out``."""
        if self.relu:
            torch.ops.aten.threshold_backward.grad_input(grad, out, 0, grad_input=slope)
        else:
            slope.copy_(grad)


class _Room:
    """Where one stage works on one model after the other: columns [C * h * w + 1, H' * W' * B] and what they make.

    The last row is of ones: its weight is the bias, and the bias's gradient falls out of the same product.
    """

    def __init__(self, stage: _Stage, framed: Tensor, outputs: int) -> None:
        self.each = stage.seen(framed).unbind(0)
        shape = self.each[0].shape
        self.rows = framed.new_ones(shape[:3].numel() + 1, shape[3:].numel())
        self.split = self.rows[:-1].view(shape)
        self.made = framed.new_empty(outputs, self.rows.shape[1])
        self.shaped = self.made.view(outputs, *shape[3:])
        self.total = torch.empty_like(framed[0])
        self.sums = stage.inside(self.total)
        # Places less than a stride apart belong to windows that do not overlap: one addition for all of them.
        (down, right), seen = stage.stride, stage.seen(self.total)
        self.pairs = [
            tuple(whole[:, i : i + down, j : j + right] for whole in (seen, self.split))
            for i in range(0, shape[1], down)
            for j in range(0, shape[2], right)
        ]

    def columns(self, k: int) -> Tensor:
        """Return those of model ``k``, copied in runs of B numbers or more."""
        self.split.copy_(self.each[k])
        return self.rows

    def back(self, table: Tensor) -> None:
        """Add up in ``total`` [C, H, W, B] the gradients of all windows, ``table.T @ made``, where they came from."""
        torch.mm(table[:, :-1].mT, self.made, out=self.rows[:-1])
        self.total.zero_()
        for place, part in self.pairs:
            place.add_(part)


class _Convolve(torch.autograd.Function):
    """Inputs [K * B, C, H, W], a table [K, O, C * h * w + 1] a stage: outputs [O, H', W', K * B] of the last."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, stages: list[_Stage], *tables: Tensor) -> Tensor:
        count, each = len(tables[0]), len(x) // len(tables[0])
        shapes = [x.shape[1:], *((table.shape[1], *stage.places) for stage, table in zip(stages, tables, strict=True))]
        framed = [stage.framed(x, count, *shape, each) for stage, shape in zip(stages, shapes[:-1], strict=True)]
        whole = x.new_empty(*shapes[-1], len(x))
        ins = [stage.inside(kept).unbind(0) for stage, kept in zip(stages, framed, strict=True)]
        work = list(zip(stages, _rooms(stages, framed, tables), tables, [*ins[1:], _last(whole, count)], strict=True))
        for k, given in enumerate(_models(x, count)):
            ins[0][k].copy_(given)
            for stage, room, table, outs in work:
                torch.mm(table[k], room.columns(k), out=room.made)
                stage.finish(outs[k], room.shaped)
        kept = whole if stages[-1].relu else whole.new_empty(0)  # what ReLU let through; else nothing need be kept
        ctx.save_for_backward(*framed, kept, *tables)
        ctx.stages = stages
        return whole

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad: Tensor) -> Any:
        stages: list[_Stage] = ctx.stages
        number, saved = len(stages), ctx.saved_tensors
        framed, whole, tables = saved[:number], saved[number], saved[number + 1 :]
        count, needed = len(tables[0]), ctx.needs_input_grad[0]
        rooms = _rooms(stages, framed, tables)
        ins = [stage.inside(kept).unbind(0) for stage, kept in zip(stages, framed, strict=True)]
        back = grad.new_empty(*rooms[0].sums.shape[:3], grad.shape[-1]).movedim(-1, 0) if needed else None
        backs = _models(back, count) if needed else ()
        slopes = [table.new_empty(count, table.shape[2], table.shape[1]) for table in tables]
        outs = _last(whole, count) if len(whole) else [whole] * count
        for k, (slope, out) in enumerate(zip(_last(grad, count), outs, strict=True)):
            stages[-1].unfinish(rooms[-1].shaped, slope, out)
            for i in reversed(range(number)):
                torch.mm(rooms[i].columns(k), rooms[i].made.mT, out=slopes[i][k])
                if i or needed:
                    rooms[i].back(tables[i][k])
                if i:
                    stages[i - 1].unfinish(rooms[i - 1].shaped, rooms[i].sums, ins[i][k])
                elif needed:
                    backs[k].copy_(rooms[0].sums)
        return back, None, *(slope.mT for slope in slopes)


def _last(whole: Tensor, count: int) -> Sequence[Tensor]:
    """Return each model's part of [..., K * B]."""
    return _models(whole.movedim(-1, 0), count)


def _rooms(stages: list[_Stage], framed: Sequence[Tensor], tables: Sequence[Tensor]) -> list[_Room]:
    return [_Room(stage, kept, table.shape[1]) for stage, kept, table in zip(stages, framed, tables, strict=True)]


def _models(x: Tensor, count: int) -> tuple[Tensor, ...]:
    """Return K views ``[..., B]`` of ``[K * B, ...]``."""
    return x.unflatten(0, (count, -1)).movedim(1, -1).unbind(0)


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
