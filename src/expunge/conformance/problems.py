"""The problems that methods are tried on: three classes of points, networks with all that goes wrong in public code.

What only makes sense for language models is tried on one of them (``_language``).
"""

from __future__ import annotations

import atexit
import copy
import itertools
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from expunge.conformance import _language
from expunge.core.method import Cost
from expunge.core.problem import Problem
from expunge.data.arrays import ArrayRecords
from expunge.engine.context import Context
from expunge.engine.ensemble import ShardedTrainer
from expunge.engine.loop import LoopConfig
from expunge.engine.recorded import recorded, train
from expunge.engine.references import Retrained
from expunge.engine.runs import Artefact
from expunge.engine.split import split
from expunge.engine.training import Trainer

DIMS, CLASSES = 4, 3
SEED = 3
TRAIN, FORGET = 61, 14
"""Neither 61 records nor the 47 that stay are divided by a batch of 16: a method that drops the rest is seen."""
Build = Callable[[], nn.Module]


class Witness(ArrayRecords):
    """Records that remember which ids were read."""

    def __init__(self, *parts: Any, **more: Any) -> None:
        super().__init__(*parts, **more)
        self.seen: Counter[str] = Counter()

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return the example, and remember it."""
        self.seen[self.ids[index]] += 1
        return super().__getitem__(index)

    def read(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return the batch, and remember its records."""
        self.seen.update(self.ids[i] for i in indices)
        return super().read(indices)

    def held(self) -> list[tuple[Tensor, Tensor]]:
        """Return the tensors of every record: inputs and label."""
        return list(zip(self.x, self.y, strict=True))

    def spoil(self, ids: Sequence[str]) -> None:
        """Change what these records say."""
        self.x[[self.position[name] for name in ids]] += 100


class Noisy(nn.Sequential):
    """Batch statistics in buffers, dropout, and a layer below another: what makes a method forget to restore."""

    def __init__(self) -> None:
        super().__init__(
            nn.Linear(DIMS, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Sequential(nn.Linear(8, CLASSES))
        )


class Renamed(nn.Module):
    """The layers of :class:`Noisy` under names that say something else."""

    def __init__(self) -> None:
        super().__init__()
        self.bn = nn.Linear(DIMS, 8)
        self.fc = nn.BatchNorm1d(8)
        self.downsample = nn.Sequential(nn.Dropout(0.3), nn.Sequential(nn.Linear(8, CLASSES)))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        logits: Tensor = self.downsample(torch.relu(self.fc(self.bn(x))))
        return logits


class Seen(nn.Sequential):
    """The same with convolutions: inputs [B, 4], seen as images [B, 1, 2, 2]."""

    def __init__(self) -> None:
        super().__init__(
            nn.Sequential(nn.Unflatten(1, (1, 2, 2)), nn.Conv2d(1, 8, 2, padding=1)),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.Sequential(nn.Conv2d(8, 4, 2), nn.Flatten(), nn.Linear(16, CLASSES)),
        )


class SeenRenamed(nn.Module):
    """The layers of :class:`Seen` under names that say something else."""

    def __init__(self) -> None:
        super().__init__()
        self.bn, self.fc, self.downsample = nn.Conv2d(1, 8, 2, padding=1), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 2)
        self.norm, self.conv = nn.Dropout(0.3), nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        seen = self.norm(torch.relu(self.fc(self.bn(x.reshape(len(x), 1, 2, 2)))))
        logits: Tensor = self.conv(self.downsample(seen).flatten(1))
        return logits


RENAMED: dict[type[nn.Module], type[nn.Module]] = {Noisy: Renamed, Seen: SeenRenamed}


class Mlp(nn.Sequential):
    """One hidden layer, no buffers."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(DIMS, 16), nn.ReLU(), nn.Linear(16, CLASSES))


class Convolution(nn.Module):
    """A kernel that is not square, two groups, batch statistics; the head is called as nowhere else."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, (1, 3), padding=(0, 1)), nn.BatchNorm2d(4), nn.ReLU())
        self.mix = nn.Conv2d(4, 4, (2, 1), groups=2)
        self.score = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits of inputs [B, 4], seen as images [B, 1, 2, 2]."""
        logits: Tensor = self.score(self.mix(self.body(x.reshape(len(x), 1, 2, 2))).flatten(1))
        return logits


class Headless(nn.Module):
    """No linear layer at all: the classes are channels, averaged over places."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(1, 6, 3, padding=1), nn.GroupNorm(2, 6), nn.GELU(), nn.Conv1d(6, CLASSES, 1)
        )
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        logits: Tensor = self.scale * self.layers(x[:, None]).mean(dim=2)
        return logits


def points(count: int, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Return inputs [count, 4] and labels [count]."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, CLASSES, count)
    inputs = 2 * np.eye(CLASSES, DIMS)[labels] + draw.normal(size=(count, DIMS))
    return torch.tensor(inputs, dtype=dtype), torch.tensor(labels)


def records(count: int, *, prefix: str = "r", seed: int = 0) -> Witness:
    """Return records ``r0``, ``r1``, ..."""
    return Witness(*points(count, seed=seed), ids=[f"{prefix}{i}" for i in range(count)])


def talk(count: int, *, prefix: str = "r", seed: int = 0) -> _language.Talk:
    """Return records of the language problem, ``r0``, ``r1``, ..."""
    return _language.Talk(count, prefix=prefix, seed=seed)


def others(of: Problem) -> tuple[Build, ...]:
    """Return networks that are made otherwise than that of the problem."""
    return (_language.llama, _language.Recurrent) if of.task == "causal_lm" else (Mlp, Convolution, Headless)


def renamed(of: Problem) -> Build:
    """Return the problem's network with its layers under other names."""
    return _language.renamed if of.task == "causal_lm" else RENAMED.get(type(of.model), Renamed)


@cache
def trainer(build: Build, task: str = "classification") -> Trainer:
    """Return a trainer of three short epochs."""
    return Trainer(build=build, task=task, config=LoopConfig(epochs=3, batch_size=16, lr=0.01))


@cache
def _trained(build: Build, seed: int, language: bool) -> nn.Module:
    made = trainer(build, "causal_lm") if language else trainer(build)
    model: nn.Module = made(talk(TRAIN) if language else records(TRAIN), seed=seed)
    return model


def problem(
    *,
    build: Build | None = None,
    count: int = TRAIN,
    forget: int = FORGET,
    original: int = 1,
    with_trainer: bool = True,
    ledger: bool = False,
    plain: bool = False,
    shards: int = 0,
    whole_class: bool = False,
    language: bool = False,
) -> Problem:
    """Return a problem of its own: new records, a new copy of the original that seed ``original`` trained.

    With ``whole_class`` the forgotten records are all of one class, unless they are none or all. With ``ledger`` the
    original's training was recorded; with ``plain`` that is gradient descent without momentum, and all its states were
    kept. With ``shards`` it is an ensemble of so many members. With ``language`` it is a language model's; none of
    these was recorded, or has classes.
    """
    build = (_language.gpt if language else Noisy) if build is None else build
    make: Callable[..., Witness | _language.Talk] = talk if language else records
    train = make(count)
    if (ledger or shards) and with_trainer and isinstance(train, Witness):
        return _recorded(Mlp if plain else build, train, train.ids[:forget], original, shards, plain)
    model = copy.deepcopy(_trained(build, original, language)).train()
    next(p for p in model.parameters() if p.dim() == 1).requires_grad_(False)
    ids = train.ids[:forget]
    if whole_class and 0 < forget < count and isinstance(train, Witness):
        ids = tuple(name for name, label in zip(train.ids, train.y.tolist(), strict=True) if label == 0)
    return Problem(
        model=model,
        train=train,
        forget=ids,
        holdout=make(24, prefix="h", seed=1),
        task="causal_lm" if language else "classification",
        trainer=(trainer(build, "causal_lm") if language else trainer(build)) if with_trainer else None,
        variants={} if isinstance(train, Witness) else {"alternative": train.alternatives()},
        groups={name: "even" if i % 2 else "odd" for i, name in enumerate(train.ids)},
    )


@cache
def _ledger(build: Build, count: int, seed: int, shards: int, plain: bool) -> tuple[Any, str, nn.Module]:
    """Return a recorded trainer of three short epochs, the ledger of one run, and its model."""
    descent = {"optimiser": "sgd", "momentum": 0.0, "lr": 0.2} if plain else {"lr": 0.01}
    config = LoopConfig(epochs=3, **descent)  # type: ignore[arg-type]
    made: Any = recorded(build, config=config, steps=4, checkpoints=12 if plain else 6)
    made = ShardedTrainer(member=made, shards=shards) if shards else made
    folder = tempfile.mkdtemp(prefix="expunge-conformance-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return made, folder, train(made, records(count), seed=seed, ledger=folder)


def _recorded(build: Build, train: Witness, forget: Sequence[str], seed: int, shards: int, plain: bool) -> Problem:
    made, folder, model = _ledger(build, len(train), seed, shards, plain)
    holdout = records(24, prefix="h", seed=1)
    model = copy.deepcopy(model).train()
    return Problem(model=model, train=train, forget=forget, holdout=holdout, trainer=made, ledger=folder)


def context(of: Problem, *, seed: int = SEED, **more: Any) -> Context:
    """Return what a method is given; its retraining is the trainer's, without a run directory."""

    def retrain(chosen: int) -> tuple[Any, Retrained]:
        assert of.trainer is not None
        model = of.trainer(of.retain_view, seed=chosen)
        work = Cost(trained=of.trainer.passes * len(of.retain_view))  # type: ignore[attr-defined]
        return model, Retrained(Artefact("retrained", of.source.digest(model), {}), chosen, work)

    return Context(
        problem=of,
        seed=seed,
        label="attempt",
        choosing=split(of, 1)[0],
        choosing_models=list,
        retrain=retrain if of.trainer is not None else None,
        folder=Path(_scratch(), str(next(_COUNT))),
        **more,
    )


_COUNT = itertools.count()


@cache
def _scratch() -> str:
    folder = tempfile.mkdtemp(prefix="expunge-conformance-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def state(model: nn.Module) -> tuple[dict[str, Tensor], list[bool], list[bool]]:
    """Return all that a model holds: tensors, training flags, what may move."""
    tensors = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    return tensors, [m.training for m in model.modules()], [p.requires_grad for p in model.parameters()]


def same(one: nn.Module, other: nn.Module) -> bool:
    """Return whether two models hold the same bits."""
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
