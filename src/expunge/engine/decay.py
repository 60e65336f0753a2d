"""What weight decay leaves alone: biases, and what norms scale by."""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Mapping

import torch
from torch import nn

_NORM = re.compile(r"bias|layernorm|rmsnorm|(?:^|\.|_)norm(?:\.|$)")
SPARED = "spared"
"""Of a group of parameters: whether weights in it do not decay."""


def norms(model: nn.Module) -> frozenset[str]:
    """Return the names of biases and of what norms scale by, as transformers tells them.

    Source: transformers 5.23, ``Trainer.get_decay_parameter_names``: all of a ``LayerNorm``, and what the name says.
    """
    of_layers = {
        f"{place}.{name}" if place else name
        for place, layer in model.named_modules()
        if isinstance(layer, nn.LayerNorm)
        for name, _ in layer.named_parameters(recurse=False)
    }
    return frozenset(name for name, _ in model.named_parameters() if name in of_layers or _NORM.search(name.lower()))


def spare(optimiser: torch.optim.Optimizer, named: Mapping[str, nn.Parameter], spared: Collection[str]) -> None:
    """Share the one group of an optimiser out among runs of parameters that decay, and that do not, in their order."""
    (whole,) = optimiser.param_groups
    more = {name: value for name, value in whole.items() if name != "params"}
    pairs = zip(named, whole["params"], strict=True)
    optimiser.param_groups = [
        {**more, "params": [p for _, p in run], SPARED: left_alone, **({"weight_decay": 0.0} if left_alone else {})}
        for left_alone, run in itertools.groupby(pairs, key=lambda pair: pair[0] in spared)
    ]
