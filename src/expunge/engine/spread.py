"""One model over several processes: its weights in shards (FSDP2), records dealt out, their units put together.

Every process holds a part of each weight, of its gradient and of what the optimiser remembers, and computes the units
of its own records alone. What it then sees are the units of the whole batch: so a loss over them is what it would be
in one process, whatever it is, and its gradient through the own units, summed over processes, is the gradient. Nothing
that is written over units knows of it.

Source of the sharding: Zhao et al. 2023, "PyTorch FSDP", arXiv 2304.11277; here its second form, one weight at a time.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from expunge.core.digest import keyed_int, sha256
from expunge.core.errors import Obstacle
from expunge.core.level import Level
from expunge.core.model import ModelSource
from expunge.core.problem import Problem
from expunge.core.task import Task
from expunge.engine import ranks
from expunge.engine.adapters import Adapters
from expunge.engine.returning import Brought, Returning
from expunge.engine.training import Trainer
from expunge.engine.visits import rows
from expunge.numerics.units import Scored
from expunge.tasks.causal_lm import blocks, body_and_head

T = TypeVar("T")


def obstacles(problem: Problem) -> list[Obstacle]:
    """Return why a problem cannot be worked on by several processes that hold one model together."""
    source, trainer = problem.source, problem.trainer
    network = source.open() if source.gradients else None
    mixing = network is not None and any(getattr(part, "running_mean", None) is not None for part in network.modules())
    own = trainer is not None and type(trainer) is not Trainer
    wrong = (
        (network is None, "the model is no network", "nothing to share out", "a network"),
        (
            not problem.meaning.scored,
            f"task {problem.task} is done by one process",
            "units without logits",
            "classes or tokens",
        ),
        (bool(source.rests_on), "a base with adapters is held by one process", "adapters", "a whole model"),
        (mixing, "batch normalisation mixes the records of a batch", "running statistics", "layers that do not"),
        (own, "a trainer of your own runs in one process", "a trainer of your own", "[training] in the job, or none"),
    )
    fix = "start it as one process: expunge erase ..."
    return [Obstacle(what=w, where="several processes", found=f, expected=e, fix=fix) for so, w, f, e in wrong if so]


def spread(problem: Problem) -> Problem:
    """Return the same problem (one without :func:`obstacles`), its models, task and trainer spread over processes."""
    if isinstance(problem, SpreadProblem):
        return problem
    given = {field.name: getattr(problem, field.name) for field in fields(Problem)}
    trainer = problem.trainer
    if isinstance(trainer, Trainer):
        given["trainer"] = SpreadTrainer(**{field.name: getattr(trainer, field.name) for field in fields(Trainer)})
    more = {"train": problem.records, "holdout": problem.held_out, "variants": problem.variant_records}
    return SpreadProblem(**{**given, **more, "model": SpreadSource(problem.source)})


@dataclass(eq=False, kw_only=True)
class SpreadProblem(Problem):
    """A problem whose models every process holds a part of."""

    @cached_property
    def meaning(self) -> Task:
        """The task, by which each process computes the units of its own records."""
        task: Task = dealing(super().meaning)
        return task


@dataclass(frozen=True, kw_only=True)
class SpreadTrainer(Trainer):
    """A trainer whose models are spread from their first step on; initial weights are those of one process."""

    def begin(self, seed: int) -> nn.Module:
        """Return a new model that is not trained."""
        return shard(super().begin(seed))

    def merged(self, model: nn.Module, beside: Adapters, seed: int) -> nn.Module:
        """Return the model with its adapters added to its weights: it is put together for that, and spread again."""
        one, mine = rebuilt(super().begin(seed), model, lambda whole: self.beside(whole, seed))
        mine.merge()
        return shard(one)

    @property
    def meaning(self) -> Any:
        """The task, by which each process computes the units of its own records."""
        return dealing(super().meaning)


class SpreadSource(ModelSource):
    """A source whose models are spread. What is asked of one is asked by all processes; the leader writes."""

    def __init__(self, inner: ModelSource) -> None:
        self._inner, self.name = inner, inner.name

    @property
    def forgets(self) -> Level | None:
        """As of the source behind it."""
        return self._inner.forgets

    @property
    def carries(self) -> tuple[str, ...]:
        """As of the source behind it."""
        return self._inner.carries

    @classmethod
    def adopt(cls, thing: Any) -> SpreadSource:
        """Return a source over that of ``thing``."""
        return cls(thing)

    def open(self) -> Any:
        """Return the original, spread."""
        return shard(self._inner.open())

    def whole(self) -> Any:
        """Return the original, all of it in this process."""
        return self._inner.open()

    def reopen(self, folder: Path) -> Any:
        """Return what the leader has saved, spread; waits until it has."""
        ranks.meet()
        return shard(self._inner.reopen(folder))

    def digest(self, model: Any = None) -> str:
        """Return the model digest."""
        if model is None:
            return self._inner.digest()
        one = self.gathered(model)
        return ranks.told(lambda: self._inner.digest(one))

    def save(self, model: Any, folder: Path) -> None:
        """Write the model, as one, in the form it was handed in; only the leader does."""
        one = self.gathered(model)
        if ranks.leads():
            self._inner.save(one, folder)

    def alike(self, folder: Path, texts: Sequence[str]) -> list[Obstacle]:
        """As of the source behind it."""
        return self._inner.alike(folder, texts)

    def settings(self, folder: Path) -> str:
        """As of the source behind it."""
        return self._inner.settings(folder)

    def unsaved(self, model: Any) -> list[str]:
        """Return names of state that :meth:`save` leaves out."""
        one = self.gathered(model)
        return ranks.told(lambda: self._inner.unsaved(one))

    def examine(self) -> list[Obstacle]:
        """Return what is wrong with the original."""
        return self._inner.examine()

    def gathered(self, model: Any) -> Any:
        """Return a spread model as one on the processor; None in all processes but the leader."""
        if not is_spread(model):
            return model if ranks.leads() else None
        state = {name: ranks.collected(tensor).cpu() for name, tensor in model.state_dict().items()}
        if not ranks.leads():
            return None
        made = self._inner.open()
        made.load_state_dict(state)
        return made


def gathered(problem: Problem, model: Any) -> Any:
    """Return a model of the problem as one; None in followers, where it is spread."""
    source = problem.source
    return source.gathered(model) if isinstance(source, SpreadSource) else model


def rebuilt(one: nn.Module, model: Any, change: Callable[[nn.Module], T]) -> tuple[nn.Module, T]:
    """Return a spread model as ``one``, in every process, and what ``change`` gives: it makes that of its form."""
    state = {name: ranks.whole(tensor).cpu() for name, tensor in model.state_dict().items()}
    changed = change(one)
    one.load_state_dict(state)
    return one, changed


# --- weights ------------------------------------------------------------------------------------------------------


def shard(model: nn.Module) -> nn.Module:
    """Spread the weights of ``model`` over the processes, block by block; in place. Gradients are summed, not averaged.

    Of a language model the body is called, and its head is read: weights that the two share stay one.
    """
    if is_spread(model):
        return model
    parts = body_and_head(model)
    body: nn.Module = model if parts is None else parts[0]
    mesh = ranks.mesh()
    names = {id(p): name for name, p in body.named_parameters()}
    for block in blocks(body):
        fully_shard(block, mesh=mesh)
    # Given back after each call, the outermost weights too: whoever looks at parameters sees the same ones at any time.
    fully_shard(body, mesh=mesh, reshard_after_forward=True)
    inside, now = set(body.modules()), dict(body.named_parameters())
    for module in model.modules():
        if module in inside:
            continue
        tied = {key: now[names[id(p)]] for key, p in module._parameters.items() if p is not None and id(p) in names}
        for key, parameter in tied.items():
            module.register_parameter(key, parameter)  # the body's: the weight they shared was replaced
        if any(p is not None and key not in tied for key, p in module._parameters.items()):
            fully_shard(module, mesh=mesh, ignored_params=set(tied.values()))
    for module in model.modules():
        if isinstance(module, FSDPModule):
            # By sums, since the losses that come down are already means over all processes' units.
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
    # Of what a body returns, nothing here is changed in place.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module")
    return model


def is_spread(model: Any) -> bool:
    """Return whether each process holds a part of this model."""
    return isinstance(model, nn.Module) and any(isinstance(p, DTensor) for p in model.parameters())


# --- units --------------------------------------------------------------------------------------------------------


def dealing(task: Task) -> Any:
    """Return a task of the same class by which each process computes the units of every so many-th record."""
    if isinstance(task, _Dealing):
        return task
    kind = type(f"Dealing{type(task).__name__}", (_Dealing, type(task)), {})
    made = kind.__new__(kind)
    made.__dict__.update(vars(task))
    return made


class _Dealing(Returning):
    """What :func:`dealing` puts before the class of a task."""

    def units(self, model: Any, batch: Any) -> Any:
        """Return the units of all records; those of the own ones were computed here, with gradients if enabled.

        A process that gets no record reads the first one, since all must run the model, and adds nothing.
        """
        if not is_spread(model):
            return super(Returning, self).units(model, batch)  # every process has all of it, and does all
        size = len(batch[1])
        mine = torch.arange(ranks.number(), size, ranks.count())
        spare = not len(mine)
        read = torch.zeros(size, dtype=torch.bool)
        read[mine if not spare else 0] = True
        with _own_chance(model):
            local = super(Returning, self).units(model, rows(batch, read))
        return Gathered(local, mine, size, spare=spare)


class Gathered(Brought):
    """The units of a batch, of which this process has computed the ``local`` ones; all others came from elsewhere.

    They lie on the processor, record after record, as those of one process would.

    Args:
        local: units of the own records.
        mine: which records of the batch these are, ascending.
        size: records in the batch.
        spare: the local units are of no record.
    """

    def __init__(self, local: Scored, mine: Tensor, size: int, *, spare: bool) -> None:
        own = local.record.new_zeros(0) if spare else local.record
        counts = _counts(len(own))
        owner = _all(mine[own.cpu()], counts) if max(counts) else torch.zeros(0, dtype=torch.long)
        order = owner.argsort(stable=True)
        self._set(local=local, batch_size=size, record=owner[order], _graded=torch.is_grad_enabled())
        self._set(_mine=mine, _spare=spare, _counts=counts, _order=order)

    _mine: Tensor
    _spare: bool
    _counts: list[int]
    _order: Tensor

    def _home(self, values: Tensor) -> Tensor:
        found: Tensor = _Together.apply(values, self._spare, self._counts, self._order)  # type: ignore[no-untyped-call]
        return found

    def among(self, chosen: Tensor) -> Gathered:
        """Return the units of the records that are ``chosen`` [B], bool, counted anew."""
        here = chosen[self._mine] if not self._spare else chosen[:1] & False
        place = chosen.long().cumsum(0) - 1
        local = self.local.among(here.to(self.local.record.device))
        return Gathered(
            local, place[self._mine[here]] if not self._spare else self._mine, int(chosen.sum()), spare=self._spare
        )


class _Together(torch.autograd.Function):
    """Values of the own units in, those of all units out, in the order of records; backward, the own ones' slopes.

    Every process puts the same loss over all units, so each has the same slopes: none need be exchanged.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, values: Tensor, spare: bool, counts: list[int], order: Tensor
    ) -> Tensor:
        ctx.like, ctx.spare, ctx.counts, ctx.order = values, spare, counts, order
        return _all(values[:0] if spare else values, counts)[order]

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        if ctx.spare:
            return torch.zeros_like(ctx.like), None, None, None
        unordered = torch.empty_like(slope)
        unordered[ctx.order] = slope
        start = sum(ctx.counts[: ranks.number()])
        own = unordered[start : start + ctx.counts[ranks.number()]]
        return own.to(ctx.like.device, ctx.like.dtype), None, None, None


def _counts(mine: int) -> list[int]:
    """Return how many units each process has."""
    found = [torch.zeros(1, dtype=torch.long) for _ in range(ranks.count())]
    dist.all_gather(found, torch.tensor([mine]))
    return [int(each) for each in found]


def _all(values: Tensor, counts: list[int]) -> Tensor:
    """Return the values of all processes, one after the other, on the processor."""
    values, most = values.detach().cpu(), max(counts)
    room = values.new_zeros(most, *values.shape[1:])
    room[: len(values)] = values
    found = [torch.empty_like(room) for _ in counts]
    dist.all_gather(found, room)
    return torch.cat([part[:count] for part, count in zip(found, counts, strict=True)])


@contextmanager
def _own_chance(model: nn.Module) -> Iterator[None]:
    """Let dropout fall otherwise in each process, and move the generator of all of them alike: not where none falls."""
    if not model.training:
        yield
        return
    state = torch.get_rng_state()
    torch.manual_seed(keyed_int(b"expunge chance", sha256(state.numpy().tobytes()), ranks.number()) % 2**31)
    own = torch.get_rng_state()
    try:
        yield
    finally:
        moved = not torch.equal(own, torch.get_rng_state()) or next(model.parameters()).device.type != "cpu"
        torch.set_rng_state(state)
        if moved:
            torch.rand(1)
