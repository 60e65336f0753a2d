"""Training many models as one against a loop over them: CPU-seconds on one thread, side by side.

The loop is the fastest plain form of what a user would write: tensors in memory, no DataLoader, torch's fused
optimiser, one model after the other. Of each form the best of several runs counts.

    python benchmarks/stacked.py [--json] [--save FILE]        about 4 minutes
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from _table import Row, arguments, finish
from torch import nn
from torch.nn import functional

from expunge.data.arrays import ArrayRecords
from expunge.engine import stacked
from expunge.engine.loop import LoopConfig
from expunge.engine.runtime import hold_memory, single_thread
from expunge.engine.training import Trainer
from expunge.testbeds.digits import DigitsNet


@dataclass(frozen=True)
class Case:
    """K models of one architecture on n records; the loop is timed over ``looped`` of them."""

    name: str
    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    classes: int
    models: int
    records: int
    config: LoopConfig
    target: float | None
    looped: int = 8


def mlp(*widths: int) -> Callable[[], nn.Module]:
    """Return a builder of a network of linear layers with ReLU between."""

    def build() -> nn.Module:
        layers: list[nn.Module] = []
        for width, following in pairwise(widths):
            layers += [nn.Linear(width, following), nn.ReLU()]
        return nn.Sequential(*layers[:-1])

    return build


def sgd(epochs: int, batch: int) -> LoopConfig:
    """Return SGD with momentum."""
    return LoopConfig(epochs=epochs, batch_size=batch, lr=0.1, optimiser="sgd")


CASES = (
    Case("MLP 30-16-2", mlp(30, 16, 2), (30,), 2, 256, 512, sgd(20, 64), 20.0),
    Case("MLP 64-64-10", mlp(64, 64, 10), (64,), 10, 128, 1200, sgd(10, 64), 9.0),
    Case("MLP 446-64-30", mlp(446, 64, 30), (446,), 30, 80, 2000, sgd(4, 64), None),
    Case("MLP 600-128-100", mlp(600, 128, 100), (600,), 100, 64, 1280, sgd(2, 128), 1.0),
    Case("MLP 784-128-10", mlp(784, 128, 10), (784,), 10, 64, 1280, sgd(2, 128), 1.0),
    Case("digits CNN", DigitsNet, (1, 8, 8), 10, 64, 960, LoopConfig(epochs=2, batch_size=96, lr=0.01), 2.5),
)


def main() -> int:
    """Measure, print; 0 where every target is met."""
    parser = arguments(__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    single_thread()
    hold_memory()
    load = os.getloadavg()[0]
    rows = [row for case in CASES for row in measure(case, given.repeats)]
    note = "other work shared the machine" if load > 0.5 else "nothing else ran"
    finish(rows, given, load_before=round(load, 2), cores=os.cpu_count(), repeats=given.repeats, note=note)
    return 0 if all(row.met != "MISSED" for row in rows) else 1


def measure(case: Case, repeats: int) -> list[Row]:
    """Return the ratio of one case, the time it took, and how far the models are from those of the loop."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(case.records, *case.shape, generator=draw)
    y = torch.randint(0, case.classes, (case.records,), generator=draw)
    records, trainer = ArrayRecords(x, y), Trainer(build=case.build, config=case.config)
    form, size = stacked.form_of(trainer, records)
    stacked.train(trainer, records, seeds=range(2))
    together, alone = [], []
    for _ in range(repeats):
        together.append(seconds(lambda: stacked.train(trainer, records, seeds=range(case.models))))
        alone.append(seconds(lambda: [loop(case, x, y, seed) for seed in range(case.looped)]))
    ratio = min(alone) / case.looped * case.models / min(together)
    distance = apart(trainer, records)
    how = f"{form.__name__.lower()}, {size} to a group" if form else "one by one"

    def row(name: str, value: float, target: float | None, unit: str, better: str = "higher") -> Row:
        against = "a loop over single models"
        return Row(name=name, value=value, target=target, better=better, unit=unit, against=against, n=case.models)

    return [
        row(f"{case.name} ({how})", ratio, case.target, "times as fast"),
        row("  each model", 1000 * min(together) / case.models, None, "CPU-ms", "lower"),
        row("  farthest weight from the single model's, of the largest", distance, 1e-3, "share", "lower"),
    ]


def loop(case: Case, x: torch.Tensor, y: torch.Tensor, seed: int) -> nn.Module:
    """Train one model in the plainest way."""
    torch.manual_seed(seed)
    model, config = case.build(), case.config
    optimiser: Any = torch.optim.AdamW(model.parameters(), config.lr, weight_decay=0.0, fused=True)
    if config.optimiser == "sgd":
        optimiser = torch.optim.SGD(model.parameters(), config.lr, momentum=config.momentum, fused=True)
    for _ in range(config.epochs):
        order = torch.randperm(len(x))
        for start in range(0, len(x), config.batch_size):
            rows = order[start : start + config.batch_size]
            loss = functional.cross_entropy(model(x[rows]), y[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return model


def apart(trainer: Trainer, records: ArrayRecords) -> float:
    """Return the largest difference of a weight after one epoch, as a share of the largest weight."""
    once = Trainer(build=trainer.build, config=LoopConfig(**{**vars(trainer.config), "epochs": 1}))
    alone, among = once(records, seed=3), stacked.train(once, records, seeds=range(5))[3]
    pairs = list(zip(alone.parameters(), among.parameters(), strict=True))
    largest = max(float(one.detach().abs().max()) for one, _ in pairs)
    return max(float((one - other).detach().abs().max()) for one, other in pairs) / largest


def seconds(work: Callable[[], object]) -> float:
    """Return the CPU time of a call."""
    start = time.process_time()
    work()
    return time.process_time() - start


if __name__ == "__main__":
    raise SystemExit(main())
