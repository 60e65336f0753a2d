"""What it costs to record a training: networks of three sizes on digits, ledgers with ten checkpoints.

CPU time on one thread. A loop of one's own says how long its steps took; what the whole run took beside them is the
order of the records, the seeds, the ledger, the checkpoints and their sync: two parts of one run, so that what else
the machine does touches both. Expunge's own loop is compared with a plain one over shuffled batches with torch's fused
optimiser, interleaved, the least of several runs each: there deterministic kernels and losses by record count as well.

    python benchmarks/recording.py [--json] [--save FILE]        about 3 minutes on one core that does nothing else
"""

from __future__ import annotations

import functools
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from _table import Row, arguments, finish
from torch import nn

from expunge.core.records import Records
from expunge.engine.ledger import Ledger
from expunge.engine.loop import LoopConfig
from expunge.engine.recorded import Recorded, recorded, train
from expunge.engine.recorder import Recorder
from expunge.engine.runtime import single_thread
from expunge.testbeds import digits

STEPS, EPOCHS = 13, 36
"""1,197 records in 13 steps: about 92 a step, as the demo's 96."""
CONFIG = LoopConfig(epochs=EPOCHS, lr=1e-2, schedule="one_cycle", optimiser="adamw")


def perceptron(width: int) -> nn.Module:
    """Return a network of three layers on digits."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(64, width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, 10),
    )


SIZES: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "small perceptron": (functools.partial(perceptron, 64), 6),
    "network of the demo": (digits.DigitsNet, 5),
    "large perceptron": (functools.partial(perceptron, 512), 4),
}
"""Networks from the smallest step to a large one, and how often each way is run: what recording adds to a step is
about fixed."""


def plain(build: Callable[[], nn.Module], config: LoopConfig, records: Records, seed: int) -> nn.Module:
    """Return a model trained by the loop that a user would write: the same batches' size, rate and optimiser."""
    torch.manual_seed(seed)
    model = build()
    optimiser = torch.optim.AdamW(model.parameters(), lr=config.lr, weight_decay=0.0, fused=True)
    x, y = records.read(range(len(records)))
    size, number = -(-len(y) // STEPS), 0
    for _ in range(config.epochs):
        order = torch.randperm(len(y))
        for start in range(0, len(y), size):
            rows = order[start : start + size]
            for part in optimiser.param_groups:
                part["lr"] = config.rate(number, config.epochs * STEPS)
            loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            loss.item()
            number += 1
    return model


class Timed:
    """A plain loop that is recorded, and knows the CPU time of its steps: all that a user's loop does in one."""

    def __init__(self, build: Callable[[], nn.Module], config: LoopConfig) -> None:
        self.build, self.config = build, config

    def __call__(self, recorder: Recorder) -> nn.Module:
        """Make every step."""
        model, STEPPING[:] = self.build(), [0.0]
        optimiser = torch.optim.AdamW(model.parameters(), lr=self.config.lr, weight_decay=0.0, fused=True)
        recorder.track(model, optimiser)
        for step in recorder:
            start = time.process_time()
            x, y = step.batch
            for part in optimiser.param_groups:
                part["lr"] = self.config.rate(step.number, self.config.epochs * STEPS)
            loss = nn.functional.cross_entropy(model(x), y)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            found = loss.item()
            STEPPING[0] += time.process_time() - start
            step.done(found)
        return model


STEPPING = [0.0]
"""CPU seconds in the steps of the last run of :class:`Timed`."""


def cost(name: str, build: Callable[[], nn.Module], repeats: int, records: Records) -> list[Row]:
    """Return what a ledger of one network costs."""
    spent: dict[str, list[float]] = {"plain": [], "recorded": []}
    beside = []
    ours, own = (
        recorded(build, config=CONFIG, steps=STEPS),
        Recorded(loop=Timed(build, CONFIG), epochs=EPOCHS, steps=STEPS),
    )
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(repeats + 1):
            at = Path(folder) / str(turn)
            work: dict[str, Callable[[], object]] = {
                "plain": lambda turn=turn: plain(build, CONFIG, records, turn),
                "recorded": lambda turn=turn, at=at: train(ours, records, seed=turn, ledger=at / "ours"),
                "timed": lambda turn=turn, at=at: train(own, records, seed=turn, ledger=at / "own"),
            }
            for way in np.random.default_rng(turn).permutation(sorted(work)):
                start = time.process_time()
                work[way]()
                took = time.process_time() - start
                if turn and way == "timed":  # the first warms caches up
                    beside.append(took / STEPPING[0] - 1)
                elif turn:
                    spent[way].append(took)
            size = Ledger(at / "ours").bytes
            shutil.rmtree(at)
    # The least, not the middle: what else runs on the machine only ever adds.
    best = {way: min(times) for way, times in spent.items()}
    parameters = sum(p.numel() for p in build().parameters())
    about = f"{parameters:,} parameters, {1e3 * best['plain'] / (EPOCHS * STEPS):.2g} CPU-ms a step"
    return [
        Row(
            name=f"recording, {name}: beside the steps of a loop of one's own",
            value=statistics.median(beside),
            target=0.05,
            better="lower",
            unit=f"of their CPU time; {about}",
            against="the steps of the same run",
            n=repeats,
        ),
        Row(
            name=f"recording, {name}: expunge's own loop, all of it",
            value=best["recorded"] / best["plain"] - 1,
            target=0.05,
            better="lower",
            unit="of the CPU time of a plain loop",
            against="a plain loop over shuffled batches with torch's fused AdamW, not recorded",
            n=repeats,
        ),
        Row(
            name=f"size of the ledger, {name}",
            value=size / 1e6,
            target=None,
            better="lower",
            unit=f"MB, {EPOCHS * STEPS} steps",
            against="nothing",
            n=repeats,
        ),
    ]


def main() -> int:
    """Measure and print; 0 where every target is met."""
    given = arguments(__doc__).parse_args()
    single_thread()
    load = os.getloadavg()[0]
    rows: list[Row] = []
    for name, (build, repeats) in SIZES.items():
        rows += cost(name, build, repeats, digits.records(0)[0])
        for row in rows[-3:]:
            print(f"{row.name}: {row.value:.4g}", file=sys.stderr, flush=True)
    finish(rows, given, load_before=round(load, 2), cores=os.cpu_count())
    return 0 if all(row.met != "MISSED" for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
