"""Adapters (LoRA): terms of low rank beside frozen linear layers, by peft; merged into the weights at the end."""

from __future__ import annotations

import importlib.util
import re
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from torch import nn

from expunge.core import registry
from expunge.core.config import setting
from expunge.core.digest import keyed_int
from expunge.core.errors import Obstacle, UsageError
from expunge.engine.checkpoint import Moving
from expunge.engine.loop import LoopConfig
from expunge.engine.masters import HALF
from expunge.engine.runtime import seed_everything


@dataclass(frozen=True, kw_only=True)
class AdaptersConfig(LoopConfig):
    """Settings of a loop that may train adapters."""

    lora: int = setting(
        0,
        "rank of the adapters (LoRA) that move in the place of the weights, and are merged into them at the end; "
        "0: the weights themselves move",
        low=0,
    )
    lora_alpha: float = setting(16.0, "adapters are added so many times, divided by their rank", above=0)
    lora_layers: tuple[str, ...] = setting(
        (), "linear layers with adapters, by name or its last part, e.g. `q_proj`; none named: all but the head"
    )


class Adapters(Moving):
    """Adapters in a model, whose class and whose own layers stay what they are; nothing else of it may move.

    A layer ``W x`` becomes ``W x + (alpha / rank) B A x`` with A [rank, inputs] drawn and B [outputs, rank] zero, so
    that the model says at first what it said without. Adapters are held in float32 at least.
    Source: Hu et al. 2021, arXiv 2106.09685, section 4.1.

    Args:
        model: changed in place; randomness is seeded by the caller.
        layers: names of its layers, as :func:`layers` gives them.

    Raises:
        MissingExtra: peft is not installed.
    """

    def __init__(self, model: nn.Module, layers: Sequence[str], *, rank: int, alpha: float) -> None:
        try:
            from peft import LoraConfig, LoraModel
        except ModuleNotFoundError as error:
            raise registry.missing_extra(error) from error
        config = LoraConfig(r=rank, lora_alpha=alpha, target_modules="|".join(map(re.escape, layers)))  # type: ignore[arg-type]
        self._movable = [p.requires_grad for p in model.parameters()]
        with warnings.catch_warnings():
            # Transformers' Conv1D keeps its weight transposed: peft sees so, layer by layer, and says that it did.
            warnings.filterwarnings("ignore", message="fan_in_fan_out is set to")
            self._tuner: Any = LoraModel(model, config, "expunge")
        super().__init__(model)
        self._layers = list(layers)
        for p in model.parameters():
            if p.requires_grad and p.dtype in HALF:
                p.data = p.data.float()

    @contextmanager
    def off(self) -> Iterator[None]:
        """Let the model answer without its adapters: as the one that they were put into."""
        self._tuner.disable_adapter_layers()
        try:
            yield
        finally:
            self._tuner.enable_adapter_layers()

    def parts(self, count: int) -> list[dict[str, nn.Parameter]]:
        """Return the adapters by name in so many parts of the layers, those nearest the output first.

        Raises:
            UsageError: there are fewer layers.
        """
        if count > len(self._layers):
            raise UsageError(
                "more parts than layers with adapters",
                where="adapters",
                found=f"{count} parts of {len(self._layers)} layers",
                expected="a layer for each part",
                fix="take fewer slices, or name more lora_layers",
            )
        edges = [len(self._layers) * part // count for part in range(count + 1)]
        own = {name: p for name, p in self._model.named_parameters() if p.requires_grad}
        return [
            {name: p for name, p in own.items() if name.startswith(tuple(f"{each}." for each in self._layers[a:b]))}
            for a, b in reversed(list(pairwise(edges)))
        ]

    def merge(self) -> None:
        """Add the adapters to the weights and take them out of the model; what moved before may move again."""
        self._tuner.merge_and_unload()
        for p, may in zip(self._model.parameters(), self._movable, strict=True):
            p.requires_grad_(may)


def drawn(model: nn.Module, *, rank: int, alpha: float, names: Sequence[str], seed: int) -> Adapters:
    """Put new adapters into those layers of ``model`` that are called ``names``; into all it can have, where none is.

    Raises:
        UsageError: there are none (:func:`obstacles`).
    """
    for wrong in obstacles(model, names):
        raise UsageError(wrong.what, where=wrong.where, found=wrong.found, expected=wrong.expected, fix=wrong.fix)
    # Whatever made the model did with the generators: a base may be read once and then copied.
    seed_everything(keyed_int(b"expunge adapters", seed) % 2**31)
    return Adapters(model, layers(model, names), rank=rank, alpha=alpha)


def merged(model: Any) -> Any:
    """Return ``model`` with the adapters that came with it added to its weights, all of which may move; changes it.

    So does whoever rounds the weights or trains them without asking what is base and what is adapter. A model without
    adapters stays as it is.
    """
    beside = _with_adapters(model)
    for name, layer in beside.items():
        layer.merge()
        model.set_submodule(name, layer.get_base_layer())
    return model.requires_grad_(True) if beside else model


def _with_adapters(model: Any) -> dict[str, Any]:
    """Return the layers of ``model`` that peft has put adapters to, by name."""
    if "peft" not in sys.modules or not isinstance(model, nn.Module):  # who has such layers has loaded it
        return {}
    from peft.tuners.tuners_utils import BaseTunerLayer

    return {name: layer for name, layer in model.named_modules() if isinstance(layer, BaseTunerLayer)}


def layers(model: nn.Module, names: Sequence[str] = ()) -> list[str]:
    """Return the names of the linear layers of ``model`` that can have adapters; of these, those called ``names``.

    A name is a whole one, or the last part of it (``q_proj``). Left out are layers that may not move, the head over a
    vocabulary, weights that two layers share, adapters that came with the model, and layers of torch's attention and
    encoder, which read their weights past them.
    """
    holders = Counter(id(p) for _, p in model.named_parameters(remove_duplicate=False))
    find = getattr(model, "get_output_embeddings", None)
    bound = {id(find())} if find is not None else set()
    for module in model.modules():
        if isinstance(module, (nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)):
            bound |= {id(part) for part in module.modules()}
    bound |= {id(part) for layer in _with_adapters(model).values() for part in layer.modules()}
    found = []
    for name, module in model.named_modules():
        # By its exact class: what is derived from a linear layer may compute something else.
        if not name or id(module) in bound or f"{type(module).__module__}.{type(module).__qualname__}" not in _LINEAR:
            continue
        weight: Any = module.weight
        wanted = not names or name in names or name.rpartition(".")[2] in names
        if wanted and weight.requires_grad and holders[id(weight)] == 1:
            found.append(name)
    return found


_LINEAR = ("torch.nn.modules.linear.Linear", "transformers.pytorch_utils.Conv1D")
"""By name: a model of transformers' need not be installed to tell that there is none."""


def obstacles(model: nn.Module, names: Sequence[str]) -> list[Obstacle]:
    """Return that ``model`` has no layers for adapters, or none of one of the ``names``; or that peft is missing."""
    found = []
    if importlib.util.find_spec("peft") is None:
        found.append(Obstacle(what="adapters need peft", found="not installed", fix="pip install 'expunge[language]'"))
    strange = [name for name in names if not layers(model, [name])]
    if _with_adapters(model):
        found.append(
            Obstacle(
                what="the model came with adapters, which move as they are",
                where="lora",
                found="adapters for adapters",
                expected="those that there are",
                fix="set lora = 0: the base stays, and the adapters that came move",
            )
        )
    elif strange or not layers(model):
        found.append(
            Obstacle(
                what="no linear layers that could have adapters",
                where=f"lora_layers, {strange[0]!r}" if strange else "the model",
                found="none of this name that may move" if strange else type(model).__name__,
                expected=f"names such as {', '.join(_last_parts(model)) or 'those of linear layers'}",
                fix="name others" if _last_parts(model) else "set lora = 0: all weights move",
            )
        )
    return found


def _last_parts(model: nn.Module) -> list[str]:
    return sorted({name.rpartition(".")[2] for name in layers(model)})[:8]
