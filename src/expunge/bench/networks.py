"""The networks of the benchmark, plain torch: inputs [B, ...] to logits [B, classes].

Each is a function of (shape of one input, number of classes). Batch statistics stay inside the network, inputs are
numbers in [0, 1] (SalUn's protocol: normalisation is no part of the data).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from expunge.core.errors import UsageError

Shape = tuple[int, ...]


def mlp(shape: Shape, classes: int) -> nn.Module:
    """Return a perceptron with two hidden layers of 128, for tables and for anything that can be flattened."""
    width = math.prod(shape)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(width, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, classes)
    )


def cnn(shape: Shape, classes: int) -> nn.Module:
    """Return two convolutions and two linear layers without batch statistics; inputs [B, C, H, W]."""
    channels, height, width = shape
    flat = 32 * -(-height // 2) * -(-width // 2)
    return nn.Sequential(
        nn.Conv2d(channels, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(flat, 64),
        nn.ReLU(),
        nn.Linear(64, classes),
    )


class _Block(nn.Module):
    """Two 3x3 convolutions with batch normalisation beside a shortcut (He et al. 2016, figure 2).

    The shortcut across a change of shape is a strided 1x1 convolution with ``project`` (option B of the paper), else
    every second pixel with zeros in the new channels (option A).
    """

    def __init__(self, inside: int, outside: int, stride: int, *, project: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outside)
        self.stride, self.more = stride, outside - inside
        self.shortcut: nn.Module | None = None
        if project and (stride > 1 or self.more):
            self.shortcut = nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, outside, H / stride, W / stride]."""
        inner = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        if self.shortcut is not None:
            return functional.relu(inner + self.shortcut(x))
        beside = x[:, :, :: self.stride, :: self.stride]
        return functional.relu(inner + functional.pad(beside, (0, 0, 0, 0, self.more // 2, self.more - self.more // 2)))


class ResNet(nn.Module):
    """A residual network for small images: a 3x3 stem without pooling, stages that halve the image, a linear head.

    Args:
        shape: of one image, [C, H, W].
        classes: of the head.
        widths: channels of the stages; each but the first halves height and width.
        blocks: residual blocks of each stage.
        project: shortcuts across a change of shape are convolutions.
    """

    def __init__(self, shape: Shape, classes: int, *, widths: Shape, blocks: int, project: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(shape[0], widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        stages, inside = [], widths[0]
        for place, width in enumerate(widths):
            for block in range(blocks):
                stages.append(_Block(inside, width, 2 if place and not block else 1, project=project))
                inside = width
        self.blocks = nn.Sequential(*stages)
        self.fc = nn.Linear(inside, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        inner: Tensor = self.blocks(functional.relu(self.bn1(self.conv1(x))))
        logits: Tensor = self.fc(inner.mean(dim=(2, 3)))
        return logits


def resnet20(shape: Shape, classes: int) -> nn.Module:
    """Return ResNet-20 of He et al. 2016, section 4.2, with shortcuts that have no parameters (option A).

    269,722 parameters for [3, 32, 32] and 10 classes; implementations with convolutions in the shortcuts (option B)
    have 272,474.
    """
    return ResNet(shape, classes, widths=(16, 32, 64), blocks=3, project=False)


def resnet18(shape: Shape, classes: int) -> nn.Module:
    """Return ResNet-18 with the stem for small images: 11,173,962 parameters for [3, 32, 32] and 10 classes."""
    return ResNet(shape, classes, widths=(64, 128, 256, 512), blocks=2, project=True)


class _Layer(nn.TransformerEncoderLayer):
    """A transformer layer with the normalisation first (Xiong et al. 2020) and no dropout, over [B, L, 64]."""

    def __init__(self) -> None:
        super().__init__(64, 4, 128, dropout=0.0, activation="gelu", batch_first=True, norm_first=True)

    def reset_parameters(self) -> None:
        """Draw the weights anew; biases and norms are as the parts of the layer draw them."""
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)


class _Encoder(nn.Module):
    """Transformer layers over [B, L, 64], and a norm."""

    def __init__(self, *, layers: int) -> None:
        super().__init__()
        self.layers = nn.TransformerEncoder(_Layer(), layers, norm=nn.LayerNorm(64), enable_nested_tensor=False)
        for layer in self.layers.layers:  # copies of one layer start as one: each gets weights of its own
            layer.reset_parameters()

    def forward(self, x: Tensor, padding: Tensor | None = None) -> Tensor:
        """Return [B, L, 64]; ``padding`` [B, L] marks places that nothing may look at."""
        found: Tensor = self.layers(x, src_key_padding_mask=padding)
        return found


class SmallViT(nn.Module):
    """A vision transformer of four layers and 64 channels (Dosovitskiy et al. 2021), mean over patches, no class token.

    Patches are an eighth of the image wide, so that there are 64, or 16 of images below 16 pixels.
    """

    def __init__(self, shape: Shape, classes: int) -> None:
        super().__init__()
        channels, height, width = shape
        side = max(2, height // 8)
        self.patches = nn.Conv2d(channels, 64, side, stride=side)
        self.place = nn.Parameter(torch.empty(1, (height // side) * (width // side), 64))
        self.reset_parameters()
        self.encoder = _Encoder(layers=4)
        self.head = nn.Linear(64, classes)

    def reset_parameters(self) -> None:
        """Draw the places of patches anew."""
        nn.init.normal_(self.place, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        rows = self.patches(x).flatten(2).transpose(1, 2) + self.place
        logits: Tensor = self.head(self.encoder(rows).mean(dim=1))
        return logits


def vit(shape: Shape, classes: int) -> nn.Module:
    """Return a small vision transformer."""
    return SmallViT(shape, classes)


WORDS = 8192
"""Tokens that the text transformer knows; 0 is padding."""


class TextTransformer(nn.Module):
    """A transformer of two layers over token numbers [B, L] in [0, 8192), 0 padding; mean over the tokens there are."""

    def __init__(self, shape: Shape, classes: int) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, 64)
        self.place = nn.Parameter(torch.empty(1, shape[0], 64))
        self.reset_parameters()
        self.encoder = _Encoder(layers=2)
        self.head = nn.Linear(64, classes)

    def reset_parameters(self) -> None:
        """Draw the places of tokens anew."""
        nn.init.normal_(self.place, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        there = x != 0
        there[:, 0] |= ~there.any(dim=1)  # a text without a token is one empty token
        rows = self.encoder(self.words(x) + self.place[:, : x.shape[1]], ~there)
        weight = there.to(rows.dtype)[:, :, None]
        logits: Tensor = self.head((rows * weight).sum(dim=1) / weight.sum(dim=1))
        return logits


def transformer(shape: Shape, classes: int) -> nn.Module:
    """Return a tiny transformer for texts."""
    return TextTransformer(shape, classes)


NETWORKS: dict[str, Callable[[Shape, int], nn.Module]] = {
    "cnn": cnn,
    "mlp": mlp,
    "resnet18": resnet18,
    "resnet20": resnet20,
    "transformer": transformer,
    "vit": vit,
}


@dataclass(frozen=True)
class Build:
    """Makes a new network of this name, shape and number of classes; other processes can make it again."""

    network: str
    shape: Shape
    classes: int

    def __post_init__(self) -> None:
        """Refuse an unknown name, and name what is built as a function would be."""
        if self.network not in NETWORKS:
            raise UsageError(
                f"no network called {self.network!r}",
                where="network",
                found=repr(self.network),
                expected=f"one of {', '.join(sorted(NETWORKS))}",
                fix="name one of these, or bring a Problem of your own: --data package.module:function",
            )
        # A trainer describes itself by the name of what it builds.
        object.__setattr__(self, "__qualname__", f"{self.network}({'x'.join(map(str, self.shape))}, {self.classes})")

    def __call__(self) -> nn.Module:
        """Return a new network with random weights."""
        return NETWORKS[self.network](self.shape, self.classes)
