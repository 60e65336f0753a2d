"""Training many models as one against a loop over them: CPU-seconds on one thread, side by side.

The loop is the fastest plain form of what a user would write: tensors in memory, no DataLoader, torch's fused
optimiser, one model after the other. Plain ``vmap`` is what torch's documentation shows: ``functional_call`` over a
stacked state, one fused optimiser, all models at once. The three take turns; of the ratios of neighbouring runs the
median counts, so that what else the machine does weighs on both sides.

What stacking spares is the fixed cost of a step, so the ratio depends on the machine: where a step of one small model
costs little beside its arithmetic, little can be won. So the most that any form could reach is measured as well: the
loop's time over that of its products alone, at the rate of a large product on this machine.

    python benchmarks/stacked.py [--json] [--save FILE] [--repeats N]        about 8 minutes
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from statistics import median
from typing import Any

import torch
from _table import Row, arguments, finish
from torch import nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

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
    rows: list[Row] = []
    for case in CASES:
        rows += measure(case, given.repeats)
        print(f"{rows[-5].name}: {rows[-5].value:.3g}", file=sys.stderr, flush=True)
    note = "other work shared the machine" if load > 0.5 else "nothing else ran"
    finish(
        rows,
        given,
        load_before=round(load, 2),
        cores=os.cpu_count(),
        repeats=given.repeats,
        note=note,
        gigaflops=round(rate() / 1e9, 1),
    )
    return 0 if all(row.met != "MISSED" for row in rows) else 1


def measure(case: Case, repeats: int) -> list[Row]:
    """Return the ratio of one case, the time it took, and how far the models are from those of the loop."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(case.records, *case.shape, generator=draw)
    y = torch.randint(0, case.classes, (case.records,), generator=draw)
    records, trainer = ArrayRecords(x, y), Trainer(build=case.build, config=case.config)
    form, size = stacked.form_of(trainer, records)
    stacked.train(trainer, records, seeds=range(2))
    together, alone, plain = [], [], []
    for _ in range(repeats):
        alone.append(seconds(lambda: [loop(case, x, y, seed) for seed in range(case.looped)]) / case.looped)
        together.append(seconds(lambda: stacked.train(trainer, records, seeds=range(case.models))) / case.models)
        plain.append(seconds(lambda: mapped(case, x, y)) / case.models)
    ratio = median(one / other for one, other in zip(alone, together, strict=True))
    over = median(one / other for one, other in zip(alone, plain, strict=True))
    distance = apart(trainer, records)
    how = f"{form.__name__.lower()}, {size} to a group" if form else "one by one"

    def row(name: str, value: float, target: float | None, unit: str, better: str = "higher") -> Row:
        against = "a loop over single models"
        return Row(name=name, value=value, target=target, better=better, unit=unit, against=against, n=case.models)

    return [
        row(f"{case.name} ({how})", ratio, case.target, "times as fast"),
        row("  plain vmap over all of them", over, None, "times as fast"),
        row("  its products alone would be", median(alone) * rate() / operations(case, x, y), None, "times as fast"),
        row("  each model", 1000 * median(together), None, "CPU-ms", "lower"),
        row("  farthest weight from the single model's, of the largest", distance, 1e-3, "share", "lower"),
    ]


def loop(case: Case, x: torch.Tensor, y: torch.Tensor, seed: int) -> nn.Module:
    """Train one model in the plainest way."""
    torch.manual_seed(seed)
    model, config = case.build(), case.config
    optimiser = optimise(model.parameters(), config)
    for _ in range(config.epochs):
        order = torch.randperm(len(x))
        for start in range(0, len(x), config.batch_size):
            rows = order[start : start + config.batch_size]
            loss = functional.cross_entropy(model(x[rows]), y[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return model


def mapped(case: Case, x: torch.Tensor, y: torch.Tensor) -> dict[str, torch.Tensor]:
    """Train all models as torch's documentation of ``vmap`` does."""
    models, config = [case.build() for _ in range(case.models)], case.config
    state, _ = stack_module_state(models)
    single = models[0]
    optimiser = optimise(state.values(), config)
    for _ in range(config.epochs):
        order = torch.stack([torch.randperm(len(x)) for _ in models])
        for start in range(0, len(x), config.batch_size):
            rows = order[:, start : start + config.batch_size]
            logits = vmap(lambda weights, given: functional_call(single, weights, (given,)))(state, x[rows])
            loss = functional.cross_entropy(logits.flatten(0, 1), y[rows].flatten(), reduction="sum") / rows.shape[1]
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return state


def operations(case: Case, x: torch.Tensor, y: torch.Tensor) -> int:
    """Return how many floating-point operations the products of one model's training take."""
    with FlopCounterMode(display=False) as counted:
        loop(replace(case, config=replace(case.config, epochs=1)), x, y, 0)
    return int(counted.get_total_flops()) * case.config.epochs


@cache
def rate() -> float:
    """Return the floating-point operations per CPU-second of a large product, the best of a few."""
    side = torch.randn(1024, 1024)
    return float(2 * len(side) ** 3 / min(seconds(lambda: side @ side) for _ in range(20)))


def optimise(parameters: Any, config: LoopConfig) -> Any:
    """Return torch's fused optimiser."""
    if config.optimiser == "sgd":
        return torch.optim.SGD(parameters, config.lr, momentum=config.momentum, fused=True)
    return torch.optim.AdamW(parameters, config.lr, weight_decay=0.0, fused=True)


def apart(trainer: Trainer, records: ArrayRecords) -> float:
    """Return the largest difference of a weight after one epoch, as a share of the largest weight."""
    once = Trainer(build=trainer.build, config=replace(trainer.config, epochs=1))
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
