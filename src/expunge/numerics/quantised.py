"""Weights in few bits, as runtimes hold them, and whether an update is large enough to survive it.

Sources: that 4 bits bring back what was unlearned: Zhang et al. 2025, arXiv 2410.16454; that an update survives where
it crosses from one bucket to the next: arXiv 2601.15538. NF4: Dettmers et al. 2023, arXiv 2305.14314, blocks as in
bitsandbytes. Rounding to nearest is the plainest scheme; those that fit the rounding to data (GPTQ, AWQ) are not here.

Shapes: a weight is [outputs, inputs]. Everything is computed in float32 or wider, and written back in the weight's own
type: what is imitated is the loss of precision, not the saving of memory.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

NF4_LEVELS = (
    -1.0, -0.69619280, -0.52507305, -0.39491749, -0.28444138, -0.18477343, -0.09105004, 0.0,
    0.07958030, 0.16093020, 0.24611230, 0.33791524, 0.44070983, 0.56261700, 0.72295684, 1.0,
)  # fmt: skip
"""Quantiles of the normal law, 0 and both ends among them."""
NF4_BLOCK = 64
_WIDTHS = range(2, 17)


def buckets(weight: Tensor, bits: int, group: int | None = None) -> tuple[Tensor, Tensor]:
    """Return the whole numbers [outputs, inputs] that stand for a weight, and the step [outputs, inputs] between them.

    The step is the largest size of a row, or of each ``group`` of its inputs (the last may be smaller), over
    ``2^(bits-1) - 1``; the whole numbers are the nearest, ties to even. Of nothing but zeros both are 0.

    Raises:
        ValueError: no matrix, numbers that are not finite, bits outside 2..16, or a group below 1.
    """
    wide = _wide(weight)
    if bits not in _WIDTHS or (group is not None and group < 1):
        raise ValueError(f"bits are from 2 to 16 and a group is of 1 input or more, found {bits} and {group}")
    inputs = wide.shape[1]
    size = min(group or inputs, inputs)
    sizes = torch.stack([part.abs().amax(dim=1) for part in wide.split(size, dim=1)], dim=1)
    most = 2 ** (bits - 1) - 1
    step = (sizes / most).repeat_interleave(size, dim=1)[:, :inputs]
    return (wide / torch.where(step > 0, step, 1.0)).round().clamp(-most - 1, most), step


def round_to_nearest(weight: Tensor, bits: int, group: int | None = None) -> Tensor:
    """Return a weight [outputs, inputs] as ``bits`` bits a number would hold it, in its own type.

    Off by at most half a step of :func:`buckets`; a second time changes nothing beyond rounding.

    Raises:
        ValueError: as :func:`buckets`.
    """
    whole, step = buckets(weight, bits, group)
    return (whole * step).to(weight.dtype)


def nf4(weight: Tensor) -> Tensor:
    """Return a weight [outputs, inputs] as NF4 would hold it, in its own type: the nearest of 16 levels.

    Blocks of 64 numbers in the order of memory, rows one after the other, each over its largest size.

    Raises:
        ValueError: no matrix, or numbers that are not finite.
    """
    flat = _wide(weight).flatten()
    blocks = nn.functional.pad(flat, (0, -len(flat) % NF4_BLOCK)).view(-1, NF4_BLOCK)
    size = blocks.abs().amax(dim=1, keepdim=True)
    levels = torch.tensor(NF4_LEVELS, dtype=flat.dtype, device=flat.device)
    nearest = torch.bucketize(blocks / torch.where(size > 0, size, 1.0), (levels[1:] + levels[:-1]) / 2)
    return (levels[nearest] * size).flatten()[: len(flat)].view(weight.shape).to(weight.dtype)


@dataclass(frozen=True)
class Quantised:
    """Which weights were rounded, by name; which linear ones were left; and how much of the model that is.

    Attributes:
        rounded: names of weights, each once.
        left: names of linear weights that are the output head, or one tensor with it or with something not linear.
        tied: names by which one tensor goes, for every tensor that goes by several.
        share: rounded numbers as a share of all parameters of the model, in (0, 1].
    """

    rounded: tuple[str, ...]
    left: tuple[str, ...]
    tied: tuple[tuple[str, ...], ...]
    share: float


def quantise(model: nn.Module, bits: int, *, group: int | None = None, head: nn.Module | None = None) -> Quantised:
    """Round the linear weights of ``model`` in place, as :func:`round_to_nearest` does; give it a copy.

    Linear layers are torch's and transformers' ``Conv1D``, whose weight is [inputs, outputs]. Embeddings, norms,
    biases, convolutions and the output head stay, as in common runtimes. Merge an adapter (LoRA) before: its two
    matrices would be rounded each by itself.

    Args:
        model: the network.
        bits: from 2 to 16.
        group: inputs that share a step; None for whole rows.
        head: the output head; None asks the model (``get_output_embeddings`` of transformers), and one that does not
            say has none.

    Raises:
        ValueError: as :func:`buckets`, or there is no linear weight to round.
    """
    return _each(model, lambda weight: round_to_nearest(weight, bits, group), head)


def quantise_nf4(model: nn.Module, *, head: nn.Module | None = None) -> Quantised:
    """Round the linear weights of ``model`` in place, as :func:`nf4` does; else as :func:`quantise`.

    Raises:
        ValueError: numbers that are not finite, or there is no linear weight to round.
    """
    return _each(model, nf4, head)


def bucket_overlap(
    model: nn.Module, other: nn.Module, bits: int, *, group: int | None = None, head: nn.Module | None = None
) -> float:
    """Return the share of linear weights that fall into the same bucket in both models, in [0, 1].

    Of the weights that :func:`quantise` rounds, each model with its own steps. Near 1, what tells the models apart is
    gone after rounding: an update of size d changes a share of about d over the step of the buckets. ``head`` is that
    of ``model``.

    Raises:
        ValueError: as :func:`quantise`, or the models do not have the same weights.
    """
    mine, theirs = _rounded(model, head), _linear(other)
    same = 0
    for name, weight in mine.items():
        twin = theirs.get(name)
        if twin is None or twin.shape != weight.shape:
            raise ValueError(f"the models differ: {name} is not in both, in one shape")
        one, another = (buckets(each, bits, group)[0] for each in (weight, twin.to(weight.device)))
        same += int((one == another).sum())
    return same / sum(weight.numel() for weight in mine.values())


def _each(model: nn.Module, rounding: Callable[[Tensor], Tensor], head: nn.Module | None) -> Quantised:
    chosen = _rounded(model, head)
    with torch.no_grad():
        for weight in chosen.values():
            weight.copy_(rounding(weight))
    return Quantised(
        rounded=tuple(chosen),
        left=tuple(name for name in _linear(model) if name not in chosen),
        tied=tuple(tuple(names) for names in _names(model).values() if len(names) > 1),
        share=sum(weight.numel() for weight in chosen.values()) / sum(p.numel() for p in model.parameters()),
    )


def _rounded(model: nn.Module, head: nn.Module | None) -> dict[str, Tensor]:
    """Return the weights to round, [outputs, inputs] each, by the first of their names; ValueError without one."""
    linear, names, heads = _linear(model), _names(model), {id(p) for p in _head(model, head).parameters()}
    kinds = _linear_kinds()

    def stays(name: str) -> bool:
        key = id(model.get_parameter(name))
        owners = (model.get_submodule(each.rpartition(".")[0]) for each in names[key])
        return key in heads or not all(isinstance(owner, kinds) for owner in owners)

    chosen = {name: weight for name, weight in linear.items() if not stays(name)}
    if not chosen:
        raise ValueError(f"nothing to round: the model has {len(linear)} linear weights, all of them its output head")
    return chosen


def _linear(model: nn.Module) -> dict[str, Tensor]:
    """Return all linear weights as [outputs, inputs], views of the parameters, each by the first of its names."""
    found: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, module in model.named_modules():
        weight = module._parameters.get("weight")  # none where it is computed from others (a parametrisation)
        if isinstance(module, _linear_kinds()) and weight is not None and id(weight) not in seen:
            seen.add(id(weight))
            found[f"{name}.weight" if name else "weight"] = (
                weight.detach() if isinstance(module, nn.Linear) else weight.detach().t()
            )
    return found


def _linear_kinds() -> tuple[type[nn.Module], ...]:
    # A model that holds a Conv1D has loaded transformers; to import it for every other network would be dear.
    loaded = sys.modules.get("transformers.pytorch_utils")
    return (nn.Linear, loaded.Conv1D) if loaded else (nn.Linear,)


def _names(model: nn.Module) -> dict[int, list[str]]:
    """Return all names of every parameter, by its identity."""
    found: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        found.setdefault(id(parameter), []).append(name)
    return found


def _head(model: nn.Module, given: nn.Module | None) -> nn.Module:
    if given is not None:
        return given
    told = (getattr(module, "get_output_embeddings", lambda: None)() for module in model.modules())
    return nn.ModuleList(module for module in told if isinstance(module, nn.Module))


def _wide(weight: Tensor) -> Tensor:
    if weight.ndim != 2 or not weight.numel():
        raise ValueError(f"a weight is [outputs, inputs], none of them 0, found {list(weight.shape)}")
    wide = weight.detach().to(torch.promote_types(weight.dtype, torch.float32))
    if not bool(torch.isfinite(wide).all()):
        raise ValueError("a weight holds numbers that are not finite: they have no nearest bucket")
    return wide
