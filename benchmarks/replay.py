"""Replay of a recorded training on digits: whether the forecast holds, and what deletions cost.

Forecast: the share of steps and of time that replays took, against what the ledger said before. Workload: requests
for one record each, uniform or skewed to recent records, against one run of many epochs, one pass, records that enter
late, and shards; simulated from the timetable, and measured on some in CPU time.

    python benchmarks/replay.py [--json] [--save FILE]        about 5 minutes on one core
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

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

STEPS, EPOCHS = 13, 36
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


def measured(records: Records) -> tuple[list[Row], list[dict[str, Any]]]:
    """Return what requests really cost, of each kind of training: CPU time, and steps, as shares of the training's."""
    ids, draw = list(records.ids), np.random.default_rng(1)
    recent = np.array([2.0 ** group(name) for name in ids])
    kinds = {"uniform": np.full(len(ids), 1 / len(ids)), "recent": recent / recent.sum()}
    one_pass = recorded(digits.DigitsNet, config=replace(CONFIG, epochs=1), steps=468, enters=in_one_pass)
    plans: dict[
        str, tuple[Recorded, int]
    ] = {  # how many requests of each kind; without an order they cost all the same
        "36 epochs": (TRAINER, 1),
        "36 epochs, records enter as they arrive": (replace(TRAINER, enters=by_arrival), 3),
        "one pass, records enter as they arrive": (one_pass, 5),
    }
    rows, points = [], []
    for plan, (trainer, turns) in plans.items():
        with tempfile.TemporaryDirectory() as folder:
            start = time.process_time()
            train(trainer, records, seed=1, ledger=Path(folder) / "ledger")
            whole, ledger = time.process_time() - start, Ledger(Path(folder) / "ledger")
            for kind, count in itertools.product(kinds, (1, 10)):
                took, made = [], []
                for _ in range(turns):
                    gone = [ids[i] for i in draw.choice(len(ids), count, replace=False, p=kinds[kind])]
                    into = Path(folder) / "replay"
                    start = time.process_time()
                    done = replay(trainer, ledger, records.without(gone), gone, into)
                    took.append((time.process_time() - start) / whole)
                    made.append((done.ledger.length - done.forecast.start) / ledger.length)
                    shutil.rmtree(into)
                points.append({"plan": plan, "kind": kind, "records": count, "share": float(np.mean(took))})
                rows.append(
                    Row(
                        name=f"measured: a request for {count} records, {kind}: {plan}".replace(
                            "1 records", "one record"
                        ),
                        value=float(np.mean(took)),
                        target=None,
                        better="lower",
                        unit=f"of the CPU time of the training; {np.mean(made):.3f} of its steps",
                        against="the recorded training",
                        n=turns,
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
    return rows, points


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
    rows = forecasts(records)
    more, curves = workload(records)
    found, points = measured(records)
    finish(rows + more + found, given, workload=curves, measured=points)
    return 0 if all(row.met != "MISSED" for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
