"""Recorded trainings of a second: networks, loops and what they derive from the data, importable by other processes."""

import sys

import numpy as np
import torch
from torch import nn

import expunge
from expunge.engine.recorded import Recorded, recorded
from expunge.engine.recorder import Recorder

N, DIMS, CLASSES = 120, 6, 3


def table(count=N, seed=0):
    """Return inputs and labels."""
    draw = np.random.default_rng(seed)
    y = draw.integers(0, CLASSES, count)
    x = draw.normal(size=(count, DIMS)) + 2 * np.eye(CLASSES, DIMS)[y]
    return torch.tensor(x, dtype=torch.float32), torch.tensor(y)


def records(count=N):
    """Return records r0, r1, ..."""
    return expunge.ArrayRecords(*table(count), ids=[f"r{i}" for i in range(count)])


def dropped():
    """A perceptron with dropout."""
    return nn.Sequential(nn.Linear(DIMS, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, CLASSES))


def normed():
    """A perceptron with batch statistics."""
    return nn.Sequential(nn.Linear(DIMS, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, CLASSES))


def centred(derived):
    """A perceptron that is given the mean of the data."""
    first = nn.Linear(DIMS, 16)
    with torch.no_grad():
        first.bias.copy_(-first.weight @ torch.tensor(derived["mean"]))
    return nn.Sequential(first, nn.ReLU(), nn.Linear(16, CLASSES))


def mean(of):
    """Return the mean of the inputs, as JSON takes it."""
    x, _ = of.read(range(len(of)))
    return {"mean": x.double().mean(0).tolist()}


def classes(of):
    """Return how many classes there are: seldom another number without a record."""
    _, y = of.read(range(len(of)))
    return {"classes": int(y.max()) + 1}


def any_classes(derived):
    """A perceptron with as many outputs as there are classes."""
    return nn.Sequential(nn.Linear(DIMS, 16), nn.ReLU(), nn.Linear(16, derived["classes"]))


def noisy(batch, keys):
    """Return the batch with noise that hangs on each record's key alone."""
    x, y = batch
    rows = [np.random.default_rng(int(key)).normal(0, 0.1, DIMS) for key in keys]
    return x + torch.tensor(np.array(rows).reshape(len(y), DIMS), dtype=torch.float32), y


def late(name):
    """Let the last twenty records enter after two epochs and a half."""
    return 2.5 if int(name[1:]) >= N - 20 else 0.0


def plateau_loop(recorder: Recorder):
    """A loop of one's own: SGD with momentum, a schedule, a rate that falls when the loss does not, an early end."""
    model = dropped()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.1, total_iters=40)
    recorder.track(model, optimiser, schedule)
    model.train()
    for step in recorder:
        x, y = step.batch
        loss = step.mean(nn.functional.cross_entropy(model(x), y, reduction="none"))
        best = min(recorder.history[:-1], default=np.inf)
        if recorder.history and recorder.history[-1] > best:
            loss = loss * 0.5
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        step.done(loss)
        if len(recorder.history) == 3 and recorder.history[-1] < 0.9 * recorder.history[0]:
            recorder.stop("the loss fell by a tenth")
    return model


def constant_loop(recorder: Recorder):
    """A loop of one's own that keeps to the rules."""
    model = dropped()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    recorder.track(model, optimiser)
    for step in recorder:
        x, y = step.batch
        loss = step.mean(nn.functional.cross_entropy(model(x), y, reduction="none"))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        step.done(loss)
    return model


class Counting(nn.Sequential):
    """A network whose answer hangs on how often it was asked."""

    asked = 0

    def forward(self, x):
        self.asked += 1
        return super().forward(x) * (1 + 0.01 * self.asked)


def counting():
    """A network with state that no state_dict holds."""
    return Counting(nn.Linear(DIMS, CLASSES))


def dropping(share):
    """A perceptron with so much dropout."""
    return nn.Sequential(nn.Linear(DIMS, 16), nn.ReLU(), nn.Dropout(share), nn.Linear(16, CLASSES))


def forgetful_loop(recorder: Recorder):
    """A loop with state that no checkpoint holds: a replay of it is another run."""
    model = dropped()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    recorder.track(model, optimiser)
    seen = 0
    for step in recorder:
        x, y = step.batch
        seen += len(y)
        loss = step.mean(nn.functional.cross_entropy(model(x), y, reduction="none")) / (1 + 0.01 * seen)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        step.done(loss)
    return model


def config(**more):
    """Return settings of four short epochs."""
    return expunge.LoopConfig(**{"epochs": 4, "lr": 0.02, **more})


TRAINERS = {
    "adamw, dropout, one cycle": recorded(dropped, config=config(schedule="one_cycle", weight_decay=0.1), steps=8),
    "sgd, momentum, batch statistics": recorded(
        normed, config=config(optimiser="sgd", lr=0.1, schedule="step", decay=(2,)), steps=8
    ),
    "accumulated": recorded(dropped, config=config(), steps=8, micro_batch=5),
    "cut, linear after a warm-up": recorded(
        dropped, config=config(lr=0.1, optimiser="sgd", schedule="linear", warmup=0.2, clip=0.5), steps=8, micro_batch=5
    ),
    "augmented": recorded(dropped, config=config(), steps=8, augment=noisy),
    "mask": recorded(dropped, config=config(optimiser="sgd", lr=0.1), steps=8, rule="mask"),
    "mask, augmented": recorded(dropped, config=config(), steps=8, rule="mask", augment=noisy),
    "late": recorded(dropped, config=config(), steps=8, enters=late),
    "derived, unchanged": recorded(any_classes, config=config(), steps=8, derive=classes),
    "derived, changed": recorded(centred, config=config(), steps=8, derive=mean),
    "a step for hardly two": recorded(normed, config=config(epochs=2), steps=70),
    "a loop of one's own": Recorded(loop=plateau_loop, epochs=4, steps=8),
    "two threads": recorded(dropped, config=config(epochs=2), steps=4, threads=2),
}


def scratch(name, gone, seed):
    """Return the digest of the state of a run that gets neither the ledger nor the forgotten records."""
    trainer, kept = TRAINERS[name], records().without(gone)
    if trainer.rule == "drop":
        return trainer.run(kept, seed=seed).state
    slots, size = trainer.slotted(records().ids, seed=seed)  # the recorded table, from ids alone
    return trainer.run(kept, seed=seed, slots=({i: s for i, s in slots.items() if i not in gone}, size)).state


if __name__ == "__main__":  # in a process of its own: name, seed, ids
    sys.stdout.write(scratch(sys.argv[1], sys.argv[3:], int(sys.argv[2])))
