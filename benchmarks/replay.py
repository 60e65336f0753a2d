"""Recorded training and replay on digits: what recording costs, whether the forecast holds, what deletions cost.

Recording: the digits demo's network, one thread, CPU time of one and the same program with and without a ledger of
ten checkpoints, and of a plain loop over shuffled batches with torch's own fused optimiser, interleaved, medians.
Forecast: the share of steps and of time that replays took, against what the ledger said before. Workload: requests
for one record each, uniform or skewed to recent records, against one run of many epochs, one pass, records that enter
late, and shards; simulated from the timetable, and measured on some.

    python benchmarks/replay.py [--json] [--save FILE]        about 5 minutes on one core
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from _table import Row, arguments, finish

from expunge.core.records import Records
from expunge.engine.batches import fingerprints
from expunge.engine.ensemble import ShardedTrainer
from expunge.engine.ledger import Ledger
from expunge.engine.loop import LoopConfig
from expunge.engine.recorded import Recorded, recorded, train
from expunge.engine.recorder import Timetable
from expunge.engine.replay import forecast, replay
from expunge.engine.runtime import single_thread
from expunge.engine.shards import Shards
from expunge.testbeds import digits

STEPS, EPOCHS, REPEATS = 13, 36, 5
"""1,197 records in 13 steps: about 92 a step, as the demo's 96."""
CONFIG = LoopConfig(epochs=EPOCHS, lr=1e-2, schedule="one_cycle", optimiser="adamw")
TRAINER = recorded(digits.DigitsNet, config=CONFIG, steps=STEPS)
GROUPS = 10


def group(name: str) -> int:
    """Return when a record arrived, 0 (first) to 9 (last); the number of a digit stands for its date."""
    return int(name.removeprefix("digit-")) * GROUPS // 1797


def by_arrival(name: str) -> float:
    """Let each tenth of the records enter after another tenth of the epochs."""
    return group(name) * EPOCHS / GROUPS


def in_one_pass(name: str) -> float:
    """Let each tenth of the records enter after another tenth of the one pass."""
    return group(name) / GROUPS


def plain(records: Records, seed: int) -> torch.nn.Module:
    """Return a model trained by the loop that a user would write: the same batches' size, rate and optimiser."""
    torch.manual_seed(seed)
    model = digits.DigitsNet()
    optimiser = torch.optim.AdamW(model.parameters(), lr=CONFIG.lr, weight_decay=0.0, fused=True)
    x, y = records.read(range(len(records)))
    size, number = -(-len(y) // STEPS), 0
    for _ in range(EPOCHS):
        order = torch.randperm(len(y))
        for start in range(0, len(y), size):
            rows = order[start : start + size]
            for part in optimiser.param_groups:
                part["lr"] = CONFIG.rate(number, EPOCHS * STEPS)
            loss = torch.nn.functional.cross_entropy(model(x[rows]), y[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            loss.item()
            number += 1
    return model


def recording(records: Records) -> list[Row]:
    """Return what a ledger costs."""
    spent: dict[str, list[float]] = {"plain": [], "without": [], "with": []}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(REPEATS + 1):
            work: dict[str, Callable[[], object]] = {
                "plain": lambda turn=turn: plain(records, turn),
                "without": lambda turn=turn: TRAINER(records, seed=turn),
                "with": lambda turn=turn: train(TRAINER, records, seed=turn, ledger=Path(folder) / str(turn)),
            }
            for name in sorted(work, key=lambda name, turn=turn: hash((turn, name)) % 7):
                start = time.process_time()
                work[name]()
                if turn:  # the first warms caches up
                    spent[name].append(time.process_time() - start)
        size = Ledger(Path(folder) / "1").bytes
    middle = {name: statistics.median(times) for name, times in spent.items()}
    common = {"better": "lower", "n": REPEATS}
    return [
        Row(
            name="recording: ledger and 10 checkpoints",
            value=middle["with"] / middle["without"] - 1,
            target=0.05,
            unit="of the CPU time",
            against="the same program without a ledger",
            **common,
        ),
        Row(
            name="recording, against a plain loop",
            value=middle["with"] / middle["plain"] - 1,
            target=0.05,
            unit="of the CPU time",
            against="shuffled batches and torch's fused AdamW",
            **common,
        ),
        Row(
            name="size of the ledger",
            value=size / 1e6,
            target=None,
            unit="MB, 38,282 parameters, 468 steps",
            against="nothing",
            **common,
        ),
    ]


def forecasts(records: Records) -> list[Row]:
    """Return how far replays were from what the ledger said."""
    draw, rows = np.random.default_rng(0), []
    kinds: dict[str, tuple[Recorded, int]] = {
        "one record of a run of 36 epochs": (TRAINER, 1),
        "ten records of a run of 36 epochs": (TRAINER, 10),
        "one record of one pass": (recorded(digits.DigitsNet, config=replace(CONFIG, epochs=1), steps=468), 1),
        "one recent record, where records enter as they arrive": (replace(TRAINER, enters=by_arrival), 1),
    }
    for name, (trainer, count) in kinds.items():
        off, said, took, whole = [], [], [], []
        with tempfile.TemporaryDirectory() as folder:
            start = time.process_time()
            train(trainer, records, seed=1, ledger=Path(folder) / "ledger")
            whole.append(time.process_time() - start)
            ledger = Ledger(Path(folder) / "ledger")
            pool = [i for i in records.ids if group(i) == GROUPS - 1] if "recent" in name else list(records.ids)
            for turn in range(5):
                gone = [pool[i] for i in draw.choice(len(pool), count, replace=False)]
                ahead = forecast(ledger, gone)
                start = time.process_time()
                done = replay(trainer, ledger, records.without(gone), gone, Path(folder) / f"replay-{turn}")
                took.append((time.process_time() - start) / whole[0])
                made = done.ledger.length - done.forecast.start
                off.append(abs(made / ledger.length / ahead.share - 1))
                said.append(ahead.share)
        rows.append(
            Row(
                name=f"forecast of steps: {name}",
                value=max(off),
                target=0.1,
                better="lower",
                unit=f"off at most; planned {np.mean(said):.3f} of the steps, took {np.mean(took):.3f} of the time",
                against="the steps that the replay made",
                n=5,
            )
        )
    return rows


def workload(records: Records) -> tuple[list[Row], dict[str, list[dict[str, float]]]]:
    """Return the mean cost of a request for one record as a share of a whole training, by plan and kind of request."""
    ids, draw = list(records.ids), np.random.default_rng(0)
    recent = np.array([2.0 ** group(name) for name in ids])
    kinds = {"uniform": np.full(len(ids), 1 / len(ids)), "recent": recent / recent.sum()}
    plans: dict[str, Callable[[np.ndarray], float]] = {
        "36 epochs": _timetable(ids, EPOCHS, STEPS, lambda name: 0.0),
        "36 epochs, records enter as they arrive": _timetable(ids, EPOCHS, STEPS, by_arrival),
        "one pass": _timetable(ids, 1, 468, lambda name: 0.0),
        "one pass, records enter as they arrive": _timetable(ids, 1, 468, in_one_pass),
        "36 epochs, 10 shards": _sharded(ids, 10),
    }
    rows, curves = [], {}
    for plan, cost in plans.items():
        for kind, chance in kinds.items():
            curve = []
            for count in (1, 3, 10, 30):
                asked = [draw.choice(len(ids), count, replace=False, p=chance) for _ in range(200)]
                shares = [cost(one) for one in asked]
                curve.append({"records": count, "share": float(np.mean(shares))})
            curves[f"{plan}; {kind}"] = curve
            rows.append(
                Row(
                    name=f"a request for one record, {kind}: {plan}",
                    value=curve[0]["share"],
                    target=None,
                    better="lower",
                    unit="of a whole training, on average",
                    against="retraining",
                    n=200,
                )
            )
    return rows, curves


def measured(records: Records) -> list[Row]:
    """Return what single requests really cost, of each kind of training, in visits of records."""
    draw, rows = np.random.default_rng(1), []
    for name, trainer in (("36 epochs", TRAINER), ("as they arrive", replace(TRAINER, enters=by_arrival))):
        with tempfile.TemporaryDirectory() as folder:
            train(trainer, records, seed=1, ledger=Path(folder) / "ledger")
            ledger, shares = Ledger(Path(folder) / "ledger"), []
            weight = np.array([2.0 ** group(one) for one in records.ids])
            for turn in range(8):
                gone = [records.ids[int(draw.choice(len(records), p=weight / weight.sum()))]]
                done = replay(trainer, ledger, records.without(gone), gone, Path(folder) / f"replay-{turn}")
                shares.append(done.trained.recorder.visits / done.forecast.whole)
        rows.append(
            Row(
                name=f"measured: a request for one recent record, {name}",
                value=float(np.mean(shares)),
                target=None,
                better="lower",
                unit="of the visits of a retraining",
                against="retraining",
                n=8,
            )
        )
    sharded = ShardedTrainer(member=replace(TRAINER, checkpoints=4), shards=10)
    with tempfile.TemporaryDirectory() as folder:
        train(sharded, records, seed=1, ledger=folder)
        model = sharded(records, seed=1)
        x, y = records.read(range(len(records)))
        alone = TRAINER(records, seed=1)
        with torch.no_grad():
            right = [float((each(x).argmax(1) == y).float().mean()) for each in (alone, model)]
    rows.append(
        Row(
            name="accuracy on the training labels, 10 shards against one network",
            value=right[1] - right[0],
            target=None,
            better="higher",
            unit="difference",
            against=f"{right[0]:.3f} of one network",
            n=1,
        )
    )
    return rows


def _timetable(
    ids: list[str], epochs: int, steps: int, enters: Callable[[str], float]
) -> Callable[[np.ndarray], float]:
    table = Timetable("drop", 1, steps, fingerprints(tuple(ids)), np.array([enters(name) for name in ids]))
    total = epochs * steps
    return lambda asked: (total - table.first_use(asked, epochs)) / total


def _sharded(ids: list[str], count: int) -> Callable[[np.ndarray], float]:
    shards = Shards(1, count)
    where = np.array([shards.shard(f"id {name}") for name in ids])

    def cost(asked: np.ndarray) -> float:
        share = 0.0
        for shard in np.unique(where[asked]):
            mine = np.flatnonzero(where == shard)
            table = Timetable("drop", shards.member_seed(int(shard)), STEPS, fingerprints(tuple(ids[i] for i in mine)),
                              np.zeros(len(mine)))  # fmt: skip
            first = table.first_use(np.searchsorted(mine, asked[where[asked] == shard]), EPOCHS)
            share += len(mine) / len(ids) * (1 - first / (EPOCHS * STEPS))
        return share

    return cost


def main() -> int:
    """Measure and print; 0 where every target is met."""
    given = arguments(__doc__).parse_args()
    single_thread()
    records = digits.records(0)[0]
    rows = recording(records) + forecasts(records)
    more, curves = workload(records)
    rows += more + measured(records)
    finish(rows, given, workload=curves)
    return 0 if all(row.met != "MISSED" for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
