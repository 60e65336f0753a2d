"""Many small models trained as one: their weights lie in one tensor per parameter, each step is one batched product.

A small network trains at the speed of Python's overhead and of the memory's, not of the processor's arithmetic.
Stacked, K models share the first, and convolutions that do one model after the other spare part of the second. Layers
with weights are exchanged for stacked ones (``engine/_layers``) and the model's own ``forward`` runs on all records at
once; a model with other layers is mapped over its weights by ``torch.func.vmap``; one that fits neither is trained
alone. Before anything is trained, gradients of both forms are compared with those of single models.

Source: model ensembling by ``vmap``, PyTorch documentation of ``torch.func``.
Shapes: K models, B records of each in a batch.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_leaves, tree_map

from expunge.core.digest import keyed_int
from expunge.core.records import Records
from expunge.engine import _layers
from expunge.engine.batches import bounds, fingerprints, places
from expunge.engine.checkpoint import Checkpoints
from expunge.engine.loop import Steps, run_loop
from expunge.engine.memory import sparing_again
from expunge.engine.training import Trainer

GROUP_BYTES = 128 * 2**20
"""What a group of models may take for weights, optimiser and what a step keeps. Many share the fixed cost of a step,
which for convolutions outweighs that they do not stay in the cache from one to the next."""
MODEL_BYTES = 6 * 2**20
"""What one of them may take: a larger one keeps a core busy alone, and nothing is won."""
_TOLERANCE = 1e-3
"""Of the comparison with single models, relative to the largest gradient: rounding gives about 1e-6."""


class Stack(nn.Module):
    """K models of one architecture as one module.

    Takes a batch in which the B records of model 0 come first, then those of model 1, and so on; gives its
    outputs in the same order. So a task, a loss or an attack sees one model with a batch of ``K * B`` records.

    Args:
        models: equal in architecture, each with weights of its own; copied.
    """

    def __init__(self, models: Sequence[nn.Module]) -> None:
        super().__init__()
        self.count = len(models)
        self.body = copy.deepcopy(models[0])
        absorbed = _layers.absorb(self.body)
        for name, _ in list(_layers.weighted(models[0])):
            layers = [model.get_submodule(name) for model in models]
            kind = _layers.rule(layers[0])
            assert kind is not None, name
            whole = kind(layers, relu=name in absorbed)
            parent, _, leaf = name.rpartition(".")
            if name:
                setattr(self.body.get_submodule(parent), leaf, whole)
            else:
                self.body = whole
        _layers.join(self.body)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return the outputs ``[K * B, ...]`` of inputs ``[K * B, ...]``."""
        return self.body(*args, **kwargs)

    def unstack(self, models: Sequence[nn.Module]) -> None:
        """Copy the weights and buffers of each model into one of ``models``, of the same architecture."""
        layers = [layer for _, layer in _layers.weighted(self.body)]
        for k, model in enumerate(models):
            for (_, single), layer in zip(_layers.weighted(model), layers, strict=True):
                layer.fill(single, k)


class Mapped(nn.Module):
    """The same for any layers whose ``forward`` torch can map: ``vmap`` over stacked weights and buffers."""

    def __init__(self, models: Sequence[nn.Module]) -> None:
        super().__init__()
        self.count = len(models)
        self._single = [copy.deepcopy(models[0])]
        self._names = {name: name.replace(".", "/") for name, _ in _state(models[0])}
        states = [dict(_state(model)) for model in models]
        for name, first in _state(models[0]):
            whole = torch.stack([state[name].detach() for state in states])
            if isinstance(first, nn.Parameter):
                self.register_parameter(self._names[name], nn.Parameter(whole, requires_grad=first.requires_grad))
            else:
                self.register_buffer(self._names[name], whole)

    def train(self, mode: bool = True) -> Mapped:
        """Put all models in training mode, or out of it."""
        self._single[0].train(mode)
        return super().train(mode)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return the outputs ``[K * B, ...]`` of inputs ``[K * B, ...]``."""
        split = tree_map(lambda x: x.unflatten(0, (self.count, -1)), (args, kwargs))
        state = {name: getattr(self, mine) for name, mine in self._names.items()}

        def one(state: dict[str, Tensor], given: Any) -> Any:
            return functional_call(self._single[0], state, given[0], given[1])

        with sdpa_kernel(SDPBackend.MATH):  # the fused kernels cannot be mapped: they would run model by model
            found = vmap(one, randomness="different")(state, split)
        return tree_map(lambda x: x.flatten(0, 1), found)

    def unstack(self, models: Sequence[nn.Module]) -> None:
        """Copy the weights and buffers of each model into one of ``models``, of the same architecture."""
        for k, model in enumerate(models):
            for name, target in _state(model):
                target.data.copy_(getattr(self, self._names[name])[k])


def _state(model: nn.Module) -> list[tuple[str, Tensor]]:
    return [*model.named_parameters(), *model.named_buffers()]


def train(
    trainer: Trainer,
    records: Records,
    parts: Sequence[Sequence[int]] | None = None,
    *,
    seeds: Sequence[int],
    start: Sequence[nn.Module] | None = None,
    checkpoints: Checkpoints | None = None,
) -> list[nn.Module]:
    """Return one model per seed, each as ``trainer(its records, seed=its seed)`` would give it, to rounding.

    Where a model draws at random while it trains (dropout) it draws other numbers than alone, of the same law. A weight
    whose gradient is zero but for rounding (a bias before batch normalisation) is moved by adamw as far as any other:
    there the models differ by more, as the same training would on another machine.

    Args:
        trainer: builds the models and says how they are trained.
        records: of all models; read once and held in memory.
        parts: per model the indices of its records, equal in number; all records where none are given.
        seeds: per model.
        start: models to go on from, which stay as they are; new ones where none are given.
        checkpoints: of the loop, where all fit one group.

    Raises:
        ValueError: parts that differ in size, or not one per seed, or checkpoints for several groups.
        Diverged: a model became NaN or infinite.
    """
    rows = [range(len(records))] * len(seeds) if parts is None else parts
    if len(rows) != len(seeds) or len({len(part) for part in rows}) != 1:
        sizes = sorted({len(part) for part in rows})
        raise ValueError(f"{len(rows)} parts of {sizes} records for {len(seeds)} seeds: a part a seed, of one size")
    chosen = np.asarray(rows, dtype=np.int64)
    form, size = form_of(trainer, records)
    if form is None or len(seeds) == 1:
        views = [records.select([records.ids[i] for i in part]) for part in chosen]
        each = zip(views, seeds, start or [None] * len(seeds), strict=True)
        return [trainer(view, seed=seed, start=origin) for view, seed, origin in each]
    together = groups(len(seeds), size)
    if checkpoints is not None and len(together) > 1:
        raise ValueError(f"checkpoints of one loop for {len(together)} groups of at most {size} models")
    whole = records.read(range(len(records)))
    found: list[nn.Module] = []
    for group in together:
        models = [trainer.begin(seed) for seed in seeds[group]] if start is None else copy.deepcopy(list(start[group]))
        _train(trainer, form, models, whole, fingerprints(records.ids), chosen[group], seeds[group], checkpoints)
        found += models
    return found


def balanced(records: int, models: int, *, seed: int) -> NDArray[np.bool_]:
    """Return which model is trained on which record, [models, records]: every record in half of them.

    Models come in pairs that share out the records, so each is trained on half of them, too (even numbers of both).
    """
    if records % 2 or models % 2:
        raise ValueError(f"{records} records and {models} models cannot be halved: give even numbers")
    draw = np.random.default_rng([keyed_int(b"expunge balanced", seed)])
    keep = np.zeros((models, records), dtype=bool)
    for pair in range(0, models, 2):
        keep[pair, draw.permutation(records)[: records // 2]] = True
    keep[1::2] = ~keep[::2]
    return keep


def groups(count: int, size: int) -> list[slice]:
    """Return slices of at most ``size`` of ``count``, as equal as can be."""
    number = -(-count // size)
    edges = [round(count * i / number) for i in range(number + 1)]
    return [slice(start, stop) for start, stop in pairwise(edges)]


def _train(
    trainer: Trainer,
    form: type[Stack] | type[Mapped],
    models: list[nn.Module],
    whole: Any,
    words: NDArray[np.uint64],
    parts: NDArray[np.int64],
    seeds: Sequence[int],
    checkpoints: Checkpoints | None,
) -> None:
    """Train ``models`` in place."""
    count, config, task = len(seeds), trainer.config, trainer.meaning
    stack = form(models)
    cuts = bounds(parts.shape[1], config.batch_size)

    def batches(epoch: int) -> Iterator[Any]:
        drawn = np.argsort(places(words[parts], seeds=seeds, epoch=epoch), axis=1)
        rows = torch.from_numpy(np.take_along_axis(parts, drawn, axis=1))
        return (gather(whole, rows[:, start:stop].flatten()) for start, stop in cuts)

    steps = Steps(
        count=lambda epoch: len(cuts),
        batches=batches,
        objective=lambda batch: mean_losses(task.units(stack, batch), count).sum(),
    )
    with sparing_again(stack, config):
        run_loop(stack, steps, config, seed=keyed_int(b"expunge stack", *seeds) % 2**31, checkpoints=checkpoints)
    stack.unstack(models)
    for model in models:
        model.eval()


def mean_losses(units: Any, count: int) -> Tensor:
    """Return the mean loss of each of ``count`` models' own units, [K]: no model is in another's gradient."""
    if torch.equal(units.record, torch.arange(units.batch_size)):  # one unit per record: nothing to sort out
        each: Tensor = units.loss.view(count, -1).mean(dim=1)
        return each
    owner = units.record // (units.batch_size // count)
    total: Tensor = units.loss.new_zeros(count).index_add(0, owner, units.loss)
    return total / torch.bincount(owner, minlength=count)


def gather(batch: Any, rows: Tensor) -> Any:
    """Return the records at ``rows`` of a batch of tensors, whatever holds these."""
    return tree_map(lambda tensor: tensor.index_select(0, rows), batch)


def form_of(trainer: Trainer, records: Records) -> tuple[type[Stack] | type[Mapped] | None, int]:
    """Return in which form its models can be stacked, None for none, and how many to a group (1 for none).

    A function of the trainer and the records alone: the same on every machine.
    """
    count = len(records)
    if trainer.config.clip or trainer.micro_batch or trainer.lora:
        return None, 1  # gradients of all models would be cut as one; parts of a step, and adapters, are of one model
    # Batches as they will be: a forward may depend on their size.
    some = records.read(range(2 * min(count // 2, trainer.config.batch_size)))
    if count < 4 or not all(isinstance(leaf, Tensor) for leaf in tree_leaves(some)):
        return None, 1
    models = [trainer.begin(seed) for seed in (0, 1)]
    if any(nn.parameter.is_lazy(tensor) for _, tensor in _state(models[0])):
        return None, 1  # shapes that the first batch decides
    parameters = sum(p.numel() for p in models[0].parameters())
    if 16 * parameters > MODEL_BYTES or _tied(models[0]):
        return None, 1
    ruled = all(_layers.rule(layer) for _, layer in _layers.weighted(models[0]))
    for form in (Stack, Mapped) if ruled else (Mapped,):
        kept = _agrees(trainer, form, models, some)
        if kept is not None:
            each = kept * min(trainer.config.batch_size, count) + 16 * parameters
            return (form, int(GROUP_BYTES // each)) if each <= MODEL_BYTES else (None, 1)
    return None, 1


def _tied(model: nn.Module) -> bool:
    return len(list(model.parameters())) != len(list(model.named_parameters(remove_duplicate=False)))


def _agrees(
    trainer: Trainer, form: type[Stack] | type[Mapped], models: Sequence[nn.Module], batch: Any
) -> float | None:
    """Return the bytes that a step keeps per record, or None where stacked models differ from single ones."""
    task = trainer.meaning
    models = [_sure(copy.deepcopy(model).train()) for model in models]
    kept = 0

    def count(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += tensor.numel() * tensor.element_size()
        return tensor

    try:
        stack = form(models)
        _sure(stack.train())
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            losses = mean_losses(task.units(stack, batch), 2)
        losses.sum().backward()  # type: ignore[no-untyped-call]
        moved, slopes = copy.deepcopy(models), copy.deepcopy(models)
        stack.unstack(moved)
        _slopes(stack).unstack(slopes)
    except Exception:  # noqa: BLE001  # somebody's forward may do anything; what cannot be stacked is trained alone
        return None
    # Each has records of its own: a model that mixes the records of a batch would otherwise go unnoticed.
    half = len(tree_leaves(batch)[0]) // 2
    for k, model in enumerate(models):
        loss = task.units(model, gather(batch, torch.arange(k * half, (k + 1) * half))).loss.mean()
        loss.backward()
        if not torch.allclose(losses[k], loss, rtol=_TOLERANCE) or not _near(model, moved[k], slopes[k]):
            return None
    return kept / 2 / half


def _near(model: nn.Module, moved: nn.Module, slopes: nn.Module) -> bool:
    """Return whether a single model has the gradients of its part of the stack, and the same running statistics."""
    grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in model.parameters()]
    largest = max(float(grad.abs().max()) for grad in grads)  # of all: what feeds a normalisation has slopes of 0
    for grad, theirs in zip(grads, slopes.parameters(), strict=True):
        if float((grad - theirs.detach()).abs().max()) > _TOLERANCE * largest:
            return False
    return all(
        torch.allclose(mine, theirs, rtol=_TOLERANCE, equal_nan=True)
        for mine, theirs in zip(model.buffers(), moved.buffers(), strict=True)
    )


def _slopes(stack: Stack | Mapped) -> Stack | Mapped:
    """Put the gradients of the stack in the place of its weights."""
    with torch.no_grad():
        for parameter in stack.parameters():
            parameter.copy_(torch.zeros_like(parameter) if parameter.grad is None else parameter.grad)
    return stack


def _sure(model: nn.Module) -> nn.Module:
    """Switch dropout off: draws cannot be compared."""
    for layer in model.modules():
        if isinstance(layer, nn.modules.dropout._DropoutNd):
            layer.eval()
    return model
