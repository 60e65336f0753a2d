"""Problems that train in milliseconds: three classes of points in four dimensions, and small networks."""

import os
import signal
import time
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from torch import nn

from expunge.core.errors import Diverged, InvalidProblem, Obstacle
from expunge.core.problem import Problem
from expunge.data.arrays import ArrayRecords
from expunge.engine.context import Context
from expunge.engine.loop import LoopConfig
from expunge.engine.split import split
from expunge.engine.training import Trainer

ROOT = Path(__file__).parents[2]
DIMS, CLASSES = 4, 3


class Softmax(nn.Linear):
    """Softmax regression."""

    def __init__(self):
        super().__init__(DIMS, CLASSES)


class Mlp(nn.Sequential):
    """One hidden layer."""

    def __init__(self):
        super().__init__(nn.Linear(DIMS, 16), nn.ReLU(), nn.Linear(16, CLASSES))


class Noisy(nn.Sequential):
    """Batch statistics in buffers, and dropout: what makes a method forget to restore something."""

    def __init__(self):
        super().__init__(
            nn.Linear(DIMS, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Sequential(nn.Linear(8, CLASSES))
        )


def points(count, *, seed=0, dtype=torch.float32):
    """Return inputs [count, 4] and labels [count]."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, CLASSES, count)
    inputs = 2 * np.eye(CLASSES, DIMS)[labels] + draw.normal(size=(count, DIMS))
    return torch.tensor(inputs, dtype=dtype), torch.tensor(labels)


class Witness(ArrayRecords):
    """Records that remember which ids were read."""

    def __init__(self, *parts, **more):
        super().__init__(*parts, **more)
        self.seen = Counter()

    def __getitem__(self, index):
        self.seen[self.ids[index]] += 1
        return super().__getitem__(index)

    def read(self, indices):
        self.seen.update(self.ids[i] for i in indices)
        return super().read(indices)


def records(count, *, prefix="r", seed=0, dtype=torch.float32, kind=Witness):
    """Return records ``r0``, ``r1``, ..."""
    return kind(*points(count, seed=seed, dtype=dtype), ids=[f"{prefix}{i}" for i in range(count)])


class Mixed:
    """A dataset of all that has a content: text, numbers, arrays, nested."""

    def __len__(self):
        return 2

    def __getitem__(self, index):
        words = {"text": f"word {index}", "mask": np.array([True, False]), "more": [None, b"bytes", {"x": 1.5}]}
        return words, index


def network(build=Mlp, *, seed=0, dtype=torch.float32):
    """Return a network with weights of its own."""
    torch.manual_seed(seed)
    return build().to(dtype)


TRAINER = Trainer(build=Mlp, config=LoopConfig(epochs=4, batch_size=16, lr=0.02))


def problem(*, count=60, forget=12, holdout=24, build=Mlp, dtype=torch.float32, trainer=TRAINER, train=None, **more):
    """Return a problem whose first ``forget`` records must go; its model is not trained."""
    train = records(count, dtype=dtype) if train is None else train
    return Problem(
        model=more.pop("model", None) or network(build, dtype=dtype),
        train=train,
        forget=train.ids[:forget],
        holdout=records(holdout, prefix="h", seed=1, dtype=dtype) if holdout else None,
        trainer=trainer,
        **more,
    )


def context(of, *, seed=3, models=(), **more):
    """Return what a method is given."""
    choosing = more.pop("choosing", None) or split(of, 1)[0]
    return Context(
        problem=of, seed=seed, label="attempt", choosing=choosing, choosing_models=lambda: list(models), **more
    )


def state(model):
    """Return all that a model holds: tensors, training flags and what may move."""
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    flags = [module.training for module in model.modules()]
    return tensors, flags, [p.requires_grad for p in model.parameters()]


def same(one, other):
    """Return whether two models hold the same bits."""
    one, other = one.state_dict(), other.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# --- work for processes; the first argument is the problem ----------------------------------------------------


def add(of, left, right):
    """Return a sum and the process it was made in."""
    return left + right, os.getpid()


def who(of):
    """Return the process, its threads, and the digest of the problem's model."""
    return os.getpid(), torch.get_num_threads(), of.source.digest()


def diverge(of):
    """Fail with parts that must survive the way back."""
    raise Diverged("training diverged", where="epoch 3", found="NaN", fix="lower the rate")


def refuse(of):
    """Fail with several obstacles."""
    raise InvalidProblem([Obstacle(what="first", fatal=False), Obstacle(what="second", found="2")])


def stumble(of):
    """Fail as user code does."""
    raise ZeroDivisionError("one by zero")


def die(of):
    """Be killed."""
    os.kill(os.getpid(), signal.SIGKILL)


def dawdle(of, path):
    """Say which process this is, and go on for ever."""
    with open(path, "w") as file:
        file.write(str(os.getpid()))
    while True:
        time.sleep(0.1)
