"""Watch a method at work: which models saw which records, in which mode, and what became of the gradients.

Everything is seen from outside, where torch calls modules and steps: nothing is asked of the method.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import optimizer as optimisers


class Holding(Protocol):
    """Records that show what they hold."""

    ids: tuple[str, ...]

    def held(self) -> list[tuple[Tensor, Tensor]]:
        """Return the tensors of every record, what goes into a model first."""
        ...


@dataclass(frozen=True)
class Visit:
    """One call of a model.

    Attributes:
        model: which one, in the order of first calls.
        training: whether it was in training mode.
        torn: modules that were in the other mode than their model and have parameters that may move.
        graded: whether gradients were recorded.
        ids: the records that went in; None for inputs that are no record's.
        unused: gradients that had gathered since the last step, and were thrown away before this call.
        step: optimiser steps taken before it.
    """

    model: int
    training: bool
    torn: tuple[str, ...]
    graded: bool
    ids: tuple[str | None, ...]
    unused: bool
    step: int


@dataclass
class Watch:
    """What was seen.

    Attributes:
        models: every model that was called, kept alive so that no address is used twice.
        places: addresses of its parameters and buffers at the first call, one set per model.
        visits: every call.
        moved: parameters that an optimiser stepped on, by identity.
        seeds: how often each generator was given each seed.
    """

    models: list[nn.Module] = field(default_factory=list)
    places: list[set[int]] = field(default_factory=list)
    visits: list[Visit] = field(default_factory=list)
    moved: dict[int, Tensor] = field(default_factory=dict)
    seeds: Counter[tuple[str, int]] = field(default_factory=Counter)
    steps: int = 0
    _depth: int = 0
    _gathered: dict[int, Tensor] = field(default_factory=dict)

    def training_ids(self) -> list[tuple[str | None, ...]]:
        """Return the records of every call that trained, one tuple per call; a call repeated at once counts once.

        Inputs that are no record's cannot be told apart: each call of them counts.
        """
        rows: list[tuple[str | None, ...]] = []
        for visit in self.visits:
            if visit.graded and (not rows or rows[-1] != visit.ids or None in visit.ids):
                rows.append(visit.ids)
        return rows

    def trained_in_evaluation_mode(self) -> int:
        """Return how many steps rest on calls in evaluation mode alone, of models with dropout or batch statistics."""
        graded: dict[int, list[Visit]] = {}
        for visit in self.visits:
            if visit.graded and visit.step < self.steps:
                graded.setdefault(visit.step, []).append(visit)
        noisy = {place for place, model in enumerate(self.models) if _noisy(model)}
        return sum(
            not any(visit.training for visit in visits) and any(visit.model in noisy for visit in visits)
            for visits in graded.values()
        )

    def sharing(self) -> list[tuple[nn.Module, nn.Module]]:
        """Return pairs of called models that hold some of the same memory.

        A part may be called beside its model, but what is wrapped around a model that trains must train with it:
        a wrapper that only answers is a teacher that is its own student.
        """
        pairs = []
        graded = {visit.model for visit in self.visits if visit.graded}
        for i, one in enumerate(self.models):
            for j, other in enumerate(self.models[:i]):
                part = one in set(other.modules()) or other in set(one.modules())
                wrapper, inner = (i, j) if other in set(one.modules()) else (j, i)
                answers = inner in graded and wrapper not in graded
                if self.places[i] & self.places[j] and (answers or not part):
                    pairs.append((other, one))
        return pairs

    def entered(self, names: dict[bytes, str], model: nn.Module, inputs: Any) -> None:
        """Note the call of a model; its layers, which are called within, are not noted."""
        self._depth += 1
        if self._depth > 1 or next(model.parameters(), None) is None:
            return
        if not any(model is known for known in self.models):
            self.models.append(model)
            self.places.append({t.data_ptr() for t in [*model.parameters(), *model.buffers()]})
        rows = next((part for part in inputs if isinstance(part, Tensor)), torch.empty(0))
        self.visits.append(
            Visit(
                model=next(i for i, known in enumerate(self.models) if known is model),
                training=model.training,
                torn=tuple(_torn(model)),
                graded=torch.is_grad_enabled(),
                ids=tuple(names.get(_bytes(row)) for row in rows),
                unused=self._thrown_away(model),
                step=self.steps,
            )
        )
        for parameter in model.parameters():
            if id(parameter) not in self._gathered and parameter.requires_grad:
                self._gathered[id(parameter)] = parameter
                parameter.register_post_accumulate_grad_hook(self._accumulated)

    _dirty: set[int] = field(default_factory=set)

    def _accumulated(self, parameter: Tensor) -> None:
        self._dirty.add(id(parameter))

    def _thrown_away(self, model: nn.Module) -> bool:
        gathered = [p for p in model.parameters() if id(p) in self._dirty]
        return bool(gathered) and all(p.grad is None or not bool(p.grad.any()) for p in gathered)

    def left(self) -> None:
        """Note that a module has returned, or failed."""
        self._depth -= 1

    def stepped(self, optimiser: torch.optim.Optimizer) -> None:
        """Note a step of a model's parameters: its gradients were used. One on inputs alone trains nothing."""
        parameters = [p for group in optimiser.param_groups for p in group["params"]]
        self.steps += any(id(p) in self._gathered for p in parameters)
        for parameter in parameters:
            self.moved[id(parameter)] = parameter
            self._dirty.discard(id(parameter))


@contextmanager
def watching(*records: Holding) -> Iterator[Watch]:
    """Watch all models, optimisers and generators of this process; rows of ``records`` are known by their id."""
    watch = Watch()
    names = {_bytes(row): name for part in records for (row, _), name in zip(part.held(), part.ids, strict=True)}
    call = nn.Module.__call__

    def called(module: nn.Module, *inputs: Any, **more: Any) -> Any:
        watch.entered(names, module, (*inputs, *more.values()))  # torch's own hooks for all modules see no names
        try:
            return call(module, *inputs, **more)
        finally:
            watch.left()

    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(nn.Module, "__call__", called))
        stack.callback(
            optimisers.register_optimizer_step_post_hook(lambda optimiser, *_: watch.stepped(optimiser)).remove
        )
        for patch in _spies(watch.seeds):
            stack.enter_context(patch)
        yield watch


def _noisy(model: nn.Module) -> bool:
    """Return whether training mode does anything in a part of the model that may move."""
    kinds = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)
    parts = [part for part in model.modules() if isinstance(part, kinds)]
    return any(all(p.requires_grad for p in part.parameters(recurse=False)) for part in parts)


def _torn(model: nn.Module) -> Iterator[str]:
    for name, part in model.named_modules():
        if part.training != model.training and any(p.requires_grad for p in part.parameters(recurse=False)):
            yield name


def _bytes(row: Tensor) -> bytes:
    """Return what a row is known by: its numbers; of tokens those before the padding, which is 0."""
    if not row.is_floating_point():
        row = row[: int(row.nonzero().max()) + 1] if bool(row.any()) else row[:0]
    return row.detach().to(torch.float32).contiguous().numpy().tobytes()


def _spies(seeds: Counter[tuple[str, int]]) -> Iterator[Any]:
    def spy(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def seeded(*arguments: Any, **more: Any) -> Any:
            if arguments and isinstance(arguments[0], int):
                seeds[name, arguments[0]] += 1
            return function(*arguments, **more)

        return seeded

    class Generator(torch.Generator):
        def manual_seed(self, seed: int) -> torch.Generator:
            seeds["torch.Generator", seed] += 1
            return super().manual_seed(seed)

    yield mock.patch.object(torch, "Generator", Generator)
    yield mock.patch.object(torch, "manual_seed", spy("torch.manual_seed", torch.manual_seed))
    yield mock.patch.object(np.random, "seed", spy("numpy.random.seed", np.random.seed))
    yield mock.patch.object(np.random, "default_rng", spy("numpy.random.default_rng", np.random.default_rng))
    yield mock.patch.object(random, "seed", spy("random.seed", random.seed))
