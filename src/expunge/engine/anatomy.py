"""The parts of a network, known by what they are and not by their names: blocks in order, the head, what can be reset.

A block is a layer with its parameters, or a container of layers that belong together (a residual block); blocks come
in the order in which a model registers them, which is the order of the forward pass in every network of this field
that we know of. What normalises a block's output belongs to it.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from expunge.core.errors import InvalidProblem, Obstacle
from expunge.core.problem import Problem
from expunge.engine.loop import evaluating
from expunge.numerics.units import Scored

NORMALISERS = (
    nn.modules.batchnorm._NormBase,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.LocalResponseNorm,
    nn.RMSNorm,
)
"""Layers that rescale what the layer before them gives."""

MIXERS = (nn.modules.batchnorm._BatchNorm,)
"""Layers whose answer on one record depends on the others of the batch."""

_LISTS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def drawing(model: nn.Module) -> list[nn.Module]:
    """Return the layers of ``model`` that draw at random in training: dropout, of a rate above 0.

    Also what drops by a rate of its own, as recurrent layers and attention do: a number called after that.
    """
    return [layer for layer in model.modules() if any(rate > 0 for rate in _rates(layer))]


def _rates(layer: nn.Module) -> list[float]:
    if isinstance(layer, nn.modules.dropout._DropoutNd):
        return [layer.p]
    return [value for name, value in vars(layer).items() if "drop" in name and isinstance(value, float)]


def deciding(model: nn.Module) -> list[nn.Module]:
    """Return the modules whose own mode decides whether ``model`` draws at random: those of :func:`drawing`, and more.

    Attention asks itself whether it trains, and then drops by the rate of a layer inside it: so what holds such a layer
    counts, unless it holds another one that does; modes of a whole model decide more than that. Recurrent layers do not
    count: on a device they give no gradients in evaluation mode.
    """
    drawn = {layer for layer in drawing(model) if not isinstance(layer, nn.RNNBase)}
    parts = [part for part in model.modules() if part is not model and not isinstance(part, _LISTS)]
    holding = {part for part in parts if not drawn.isdisjoint(part.children())}
    return [*drawn, *(part for part in holding if holding.isdisjoint(list(part.modules())[1:]))]


def blocks(model: nn.Module) -> list[list[nn.Module]]:
    """Return the blocks of ``model``, first to last; each a list of modules, which share no parameter with another.

    Containers that only order others (Sequential, ModuleList) are opened, as are the model itself and what holds a
    stack of like modules (a transformer's encoder); any other module with children is one block. Parameters that a
    module holds beside its children are in no block: they stand for themselves and belong to the model. Statistics
    without parameters that come before all else belong to the first block.
    """
    found: list[list[nn.Module]] = []
    ahead: list[nn.Module] = []
    for part in _opened(model):
        bare = next(part.parameters(), None) is None
        if found and (bare or _rescales(part)):
            found[-1].append(part)
        elif bare:
            ahead.append(part)
        else:
            found.append([part, *ahead])  # a block goes by its first module, which is hooked and named
            ahead = []
    return found


def _rescales(part: nn.Module) -> bool:
    """Return whether a layer rescales: those of torch, and foreign ones that have nothing but numbers per feature."""
    alone = next(part.children(), None) is None
    return isinstance(part, NORMALISERS) or (alone and all(p.dim() == 1 for p in part.parameters(recurse=False)))


def _opened(module: nn.Module, *, outermost: bool = True) -> list[nn.Module]:
    children = [child for child in module.children() if _holds(child)]
    if not children:
        return [module] if _holds(module) else []
    inside = [child for child in children if next(child.parameters(), None) is not None]
    if not inside and next(module.parameters(), None) is not None:
        return [module]
    wrapper = len(inside) == 1 and not list(module.parameters(recurse=False))
    if outermost or wrapper or isinstance(module, _LISTS) or _holds_a_stack(module):
        return [part for child in children for part in _opened(child, outermost=wrapper and outermost)]
    return [module]


def _holds(module: nn.Module) -> bool:
    """Return whether something of a module is learnt: parameters, or batch statistics alone."""
    counts = (getattr(part, "running_mean", None) is not None for part in module.modules())
    return next(module.parameters(), None) is not None or any(counts)


def _holds_a_stack(module: nn.Module) -> bool:
    """Return whether a container somewhere inside lists two or more modules of one class that have children."""
    for part in module.modules():
        if isinstance(part, _LISTS):
            kinds = [type(child) for child in part.children() if next(child.children(), None) is not None]
            if len(kinds) > len(set(kinds)):
                return True
    return False


def head(model: nn.Module, problem: Problem) -> nn.Module | None:
    """Return the layer whose output the task scores: the linear layer or convolution that ran last; None without one.

    Found by running two records through the model, in evaluation mode; nothing of it changes.
    """
    ran: list[nn.Module] = []
    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    hooks = [m.register_forward_hook(lambda m, *_: ran.append(m)) for m in model.modules() if isinstance(m, kinds)]
    try:
        with evaluating(model), torch.no_grad():
            view = problem.retain_view if len(problem.retain_view) else problem.forget_view
            problem.meaning.units(model, view.read(range(min(2, len(view)))))
    finally:
        for hook in hooks:
            hook.remove()
    return ran[-1] if ran else None


def no_head(what: str) -> Obstacle:
    """Return the obstacle ``what`` of a method that changes the head of a network in which :func:`head` finds none."""
    return Obstacle(
        what=what,
        where="the model",
        found="no linear layer or convolution that runs",
        expected="one that gives the answers",
        fix="choose a method that asks for none: `expunge plan` lists them",
    )


def stem(model: nn.Module) -> nn.Module | None:
    """Return the convolution or linear layer that comes first, before all others; None without one.

    First is what a model registers first; a table of tokens is not looked at.
    """
    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    return next((module for module in model.modules() if isinstance(module, kinds)), None)


def reset(model: nn.Module, modules: Sequence[nn.Module] | None = None) -> None:
    """Draw all parameters of ``modules`` and of what is inside them anew, and set their buffers back.

    What may not move stays: parameters, and the buffers of layers all of whose parameters are frozen. What a module
    says of its layers comes after what they say, as when it was made.

    Layers inside a model of transformers are drawn as this draws them for a new one.

    Args:
        model: the network, which says how its layers are drawn.
        modules: parts of it; None: all of it.

    Raises:
        InvalidProblem: a module has parameters of its own and no ``reset_parameters``.
    """
    modules = [model] if modules is None else modules
    stubborn = [type(m).__name__ for m in unresettable(model, modules)]
    if stubborn:
        raise InvalidProblem([cannot_reset(stubborn)])
    kept = [(p, p.detach().clone()) for module in modules for p in module.parameters() if not p.requires_grad]
    owner = _owners(model)
    for module in modules:
        for part in _inside_out(module):
            own = list(part.parameters(recurse=False))
            renew: Any = getattr(part, "reset_parameters", getattr(part, "_reset_parameters", None))
            if renew is not None and (not own or any(p.requires_grad for p in own)):
                renew()
        for part in reversed(list(module.modules())):  # what a block says of its layers comes after what they say
            own = list(part.parameters(recurse=False))
            if part in owner and (not own or any(p.requires_grad for p in own)):
                _drawn(owner[part], part)
    with torch.no_grad():
        for p, value in kept:
            p.copy_(value)


def _inside_out(module: nn.Module) -> list[nn.Module]:
    """Return every part once, each after those inside it; layers without parts in the order of ``modules()``."""
    found: dict[nn.Module, None] = {}

    def add(part: nn.Module) -> None:
        for child in part.children():
            if child not in found:
                add(child)
        found.setdefault(part)

    add(module)
    return list(found)


def unresettable(model: nn.Module, modules: Sequence[nn.Module] | None = None) -> list[nn.Module]:
    """Return the parts of ``modules`` (None: of all of ``model``) that hold parameters and cannot draw them anew."""
    parts = [part for module in ([model] if modules is None else modules) for part in module.modules()]
    own = [part for part in parts if list(part.parameters(recurse=False))]
    # A layer inside one that resets it (attention's output projection) needs none of its own; that is not assumed.
    silent = [part for part in own if not hasattr(part, "reset_parameters") and not hasattr(part, "_reset_parameters")]
    owner = _owners(model)
    return [part for part in silent if part not in owner or not _draws(owner[part], part)]


def _owners(model: nn.Module) -> dict[nn.Module, Any]:
    """Return, for every part that lies in a model of transformers, the innermost such model."""
    found: dict[nn.Module, Any] = {}
    for outer in model.modules():
        if hasattr(outer, "_init_weights"):
            found.update(dict.fromkeys(outer.modules(), outer))
    return found


def _drawn(owner: Any, part: nn.Module) -> None:
    for p in part.parameters():
        if getattr(p, "_is_hf_initialized", False):  # read from a file: it would be left as it is
            p._is_hf_initialized = False  # type: ignore[attr-defined]
    owner._init_weights(part)


def _draws(owner: Any, part: nn.Module) -> bool:
    """Return whether a model draws all parameters of a part, tried on a copy of the part."""
    twin = copy.deepcopy(part)
    with torch.no_grad():
        for p in twin.parameters(recurse=False):
            p.fill_(torch.nan)
    _drawn(owner, twin)
    return not any(bool(p.isnan().any()) for p in twin.parameters(recurse=False))


def cannot_reset(kinds: Sequence[str]) -> Obstacle:
    """Return the obstacle that these kinds of layers cannot be drawn anew."""
    return Obstacle(
        what="layers cannot be initialised anew",
        where="the model",
        found=f"{', '.join(sorted(set(kinds)))} without reset_parameters()",
        expected="layers that say how they are initialised",
        fix="give the class a method reset_parameters(self), as torch's own layers have",
    )


def freeze_all_but(model: nn.Module, modules: Sequence[nn.Module]) -> None:
    """Let only the parameters of ``modules`` move, of those that could."""
    free = {id(p) for module in modules for p in module.parameters()}
    for p in model.parameters():
        p.requires_grad_(p.requires_grad and id(p) in free)


def last(model: nn.Module, count: int) -> list[nn.Module]:
    """Return the last block and ``count`` blocks before it; the whole model where it has no more than these."""
    found = blocks(model)
    return [part for block in found[-count - 1 :] for part in block] if count + 1 < len(found) else [model]


def classes_of(model: nn.Module, problem: Problem) -> int:
    """Return the number of classes that ``model`` answers one record with.

    Raises:
        InvalidProblem: it answers with no classes.
    """
    view = problem.retain_view if len(problem.retain_view) else problem.forget_view
    with evaluating(model), torch.no_grad():
        units = problem.meaning.units(model, view.read([0]))
    if isinstance(units, Scored):
        return units.classes
    raise InvalidProblem(
        [
            Obstacle(
                what="the model answers with no classes",
                where="task",
                found=problem.task,
                expected="logits",
                fix="choose a method that asks for none: `expunge plan` lists them",
            )
        ]
    )


def head_of(model: nn.Module, problem: Problem, classes: int) -> nn.Module:
    """Return the head, as :func:`head` finds it, with one row of weights for each of ``classes``.

    Raises:
        InvalidProblem: there is none.
    """
    found = head(model, problem)
    if found is not None and len(found.weight) == classes:  # type: ignore[arg-type]
        return found
    what = "no layer" if found is None else f"a last layer with {len(found.weight)} rows"  # type: ignore[arg-type]
    raise InvalidProblem(
        [
            Obstacle(
                what="the network has no head whose rows are the classes",
                where="the model",
                found=what,
                expected=f"a linear layer or convolution that runs last, with {classes} rows",
                fix="choose a method that asks for none: `expunge plan` lists them",
            )
        ]
    )


@torch.no_grad()
def widen(layer: nn.Module) -> None:
    """Give a linear layer or convolution one more output; its parameters stay the same objects, old rows bit for bit.

    The new row is drawn as torch draws those of a new layer: uniform within 1 / sqrt(inputs of an output).
    """
    bound = layer.weight[0].numel() ** -0.5  # type: ignore[index, operator]
    for p in layer.parameters():
        row = torch.empty_like(p.data[:1], device="cpu").uniform_(-bound, bound)  # the same draw on every device
        p.data = torch.cat([p.data, row.to(p.device)])
    _count(layer, 1)


def narrow(layer: nn.Module) -> None:
    """Take the last output off again."""
    for p in layer.parameters():
        p.data = p.data[:-1].clone()
    _count(layer, -1)


def _count(layer: nn.Module, more: int) -> None:
    name = "out_features" if isinstance(layer, nn.Linear) else "out_channels"
    setattr(layer, name, getattr(layer, name) + more)
