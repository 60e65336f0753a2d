"""Layers of K models as one: each acts on ``[K * B, ...]``, the B records of model 0 first, then those of model 1.

Whatever has no weights (activations, pooling, dropout, reshaping, attention once projected) works on such a batch as
it is; only layers with weights need to know whose record is whose, and are exchanged for those below.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Stacked(nn.Module):
    """K layers of one kind; parameters and buffers carry a leading ``K`` and the names they had.

    Args:
        layers: equal in kind and settings.
    """

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.count, self.plan = len(layers), layers[0]
        for name, one in layers[0]._parameters.items():
            whole = None if one is None else torch.stack([self.kept(getattr(each, name).detach()) for each in layers])
            kept = None if whole is None or one is None else nn.Parameter(whole, requires_grad=one.requires_grad)
            self.register_parameter(name, kept)
        for name, buffer in layers[0]._buffers.items():
            self.register_buffer(
                name, None if buffer is None else torch.stack([getattr(each, name) for each in layers])
            )

    @staticmethod
    def kept(weight: Tensor) -> Tensor:
        """Return a weight in the layout it is kept in; :meth:`given` turns it back."""
        return weight

    @staticmethod
    def given(weight: Tensor, like: Tensor) -> Tensor:
        """Return a kept weight as the single layer has it."""
        return weight

    def __setattr__(self, name: str, value: Any) -> None:
        """Keep ``plan`` (the single layer, for its settings) out of the submodules: its weights are nobody's."""
        if name == "plan":
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def fill(self, layer: nn.Module, k: int) -> None:
        """Copy the weights and buffers of model ``k`` into a single layer."""
        for name, target in [*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)]:
            target.data.copy_(self.given(getattr(self, name)[k], target))

    def parts(self, x: Tensor) -> Tensor:
        """Return ``[K * B, ...]`` as ``[K, B, ...]``."""
        return x.unflatten(0, (self.count, -1))


class Linear(Stacked):
    """One batched product, bias included."""

    @staticmethod
    def kept(weight: Tensor) -> Tensor:
        """Return a weight as [in, out]: a product with it reads memory in order."""
        return weight.t().contiguous() if weight.dim() == 2 else weight

    @staticmethod
    def given(weight: Tensor, like: Tensor) -> Tensor:
        """Return it as [out, in]."""
        return weight.t() if like.dim() == 2 else weight

    def forward(self, x: Tensor) -> Tensor:
        """Map [K * B, ..., in] to [K * B, ..., out]."""
        rows = x.reshape(self.count, -1, x.shape[-1])
        out = torch.bmm(rows, self.weight) if self.bias is None else _affine(self.bias, rows, self.weight)
        return out.reshape(*x.shape[:-1], -1)


class Convolution(Stacked):
    """One batched product on columns of windows, channels last, so that no output is ever transposed.

    Source: Chellapilla et al. 2006, "High performance convolutional neural networks for document processing".
    """

    @staticmethod
    def kept(weight: Tensor) -> Tensor:
        """Return a weight [out, in, h, w] as [h * w * in, out]."""
        return weight.permute(2, 3, 1, 0).flatten(0, 2).contiguous() if weight.dim() == 4 else weight

    @staticmethod
    def given(weight: Tensor, like: Tensor) -> Tensor:
        """Return it as [out, in, h, w]."""
        if like.dim() != 4:
            return weight
        out, channels, height, width = like.shape
        return weight.view(height, width, channels, out).permute(3, 2, 0, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map [K * B, C, H, W] to [K * B, O, H', W'], the latter channels last in memory."""
        layer: Any = self.plan
        windows = _Windows.of(x, layer)
        rows = _Columns.apply(x, self.count, windows)  # type: ignore[no-untyped-call]
        out = torch.bmm(rows, self.weight) if self.bias is None else _affine(self.bias, rows, self.weight)
        return out.view(len(x), *windows.places, -1).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class _Windows:
    """Which windows a convolution sees, by (rows, columns); ``places`` is where it stops at."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    places: tuple[int, int]

    @classmethod
    def of(cls, x: Tensor, layer: Any) -> _Windows:
        sides = zip(x.shape[-2:], layer.kernel_size, layer.stride, layer.padding, strict=True)
        height, width = ((side + 2 * pad - kernel) // stride + 1 for side, kernel, stride, pad in sides)
        return cls(layer.kernel_size, layer.stride, layer.padding, (height, width))


class _Columns(torch.autograd.Function):
    """The windows of ``x`` [K * B, C, H, W] as rows [K, B * H' * W', h * w * C], and their sums back.

    A window is copied in runs along the fastest axis of the copy: over the channels, or where these are few over
    places, the rows being the transpose of what is copied.
    """

    FEW = 8

    @staticmethod
    def forward(ctx: Any, x: Tensor, count: int, windows: _Windows) -> Tensor:
        (kh, kw), (sy, sx), (dy, dx), (height, width) = astuple(windows)
        padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, dx, dx, dy, dy)).contiguous()
        n, h, w, c = padded.shape
        ctx.sizes = (padded.shape, windows)
        if c >= _Columns.FEW:
            strides = (h * w * c, sy * w * c, sx * c, w * c, 1)
            return padded.as_strided((n, height, width, kh, kw * c), strides).reshape(count, -1, kh * kw * c)
        each = n // count
        shape = (count, kh, kw, c, each, height, width)
        columns = padded.as_strided(shape, (each * h * w * c, w * c, c, 1, h * w * c, sy * w * c, sx * c))
        return columns.reshape(count, kh * kw * c, -1).transpose(1, 2)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        if not ctx.needs_input_grad[0]:
            return None, None, None
        (n, h, w, c), windows = ctx.sizes
        (kh, kw), (sy, sx), (dy, dx), (height, width) = astuple(windows)
        parts = grads[0].reshape(n, height, width, kh, kw, c)
        total = parts.new_zeros(n, h, w, c)
        for i in range(kh):
            for j in range(kw):
                total[:, i : i + sy * height : sy, j : j + sx * width : sx][:, :height, :width] += parts[:, :, :, i, j]
        return total[:, dy : h - dy, dx : w - dx].permute(0, 3, 1, 2), None, None


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


def _affine(bias: Tensor, rows: Tensor, weight: Tensor) -> Tensor:
    return torch.baddbmm(bias.unsqueeze(1), rows, weight)


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
