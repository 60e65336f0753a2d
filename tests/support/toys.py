"""Problems that train in milliseconds: three classes of points in four dimensions, and small networks."""

import os
import signal
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from expunge.conformance.problems import CLASSES, DIMS, Mlp, Witness, points
from expunge.conformance.problems import Noisy as Noisy
from expunge.conformance.problems import same as same
from expunge.conformance.problems import state as state
from expunge.core.errors import Diverged, InvalidProblem, Obstacle
from expunge.core.problem import Problem
from expunge.engine.context import Context
from expunge.engine.loop import LoopConfig
from expunge.engine.split import split
from expunge.engine.training import Trainer

ROOT = Path(__file__).parents[2]


class Softmax(nn.Linear):
    """Softmax regression."""

    def __init__(self):
        super().__init__(DIMS, CLASSES)


class Prototypes(nn.Module):
    """No layer that answers: the nearer to a class's prototype, the likelier the class; ``hidden`` layers before."""

    def __init__(self, hidden=True):
        super().__init__()
        self.features = nn.Linear(DIMS, 5) if hidden else nn.Identity()
        self.prototypes = nn.Parameter(torch.randn(CLASSES, 5 if hidden else DIMS))

    def forward(self, x):
        """Return logits."""
        return -torch.cdist(self.features(x), self.prototypes)


class Alone(Prototypes):
    """No linear layer at all."""

    def __init__(self):
        super().__init__(hidden=False)


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
