"""Held-out records and shard members in the place of references: are retrains passed, and originals caught?

Handwritten digits (scikit-learn's 1,797), one label in ten wrong everywhere, held-out ones included; 300 of 1,197
training records are forgotten, drawn at random. A perceptron (64-64-10, 60 epochs), and an ensemble of five such
networks, each trained on a fifth. 40 times each, everything drawn anew: the original, the same retrained without the
records, and fine-tuned on what remains for 5 epochs at a tenth of the rate. Decisions are those of the `quick` policy
at a first attempt. The records are judged as in an audit: two thirds of either side.

    python benchmarks/alone.py [--json] [--save FILE] [--models N]        about 5 minutes on one core
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import torch
from _table import Row, arguments, finish
from alarms import images, perceptron, records
from torch import nn

from expunge.audit import policy as policies
from expunge.audit.judge import judge_one
from expunge.audit.policy import Margin
from expunge.core import registry
from expunge.core.check import Measurement
from expunge.core.verdict import Decision, alpha_of_attempt
from expunge.data.arrays import ArrayRecords
from expunge.engine.evidence import Evidence
from expunge.engine.loop import LoopConfig
from expunge.engine.members import Held
from expunge.engine.runtime import single_thread
from expunge.engine.shards import Shards
from expunge.engine.training import Trainer
from expunge.numerics.membership import confidence

TRAIN, FORGET, SHARDS = 1197, 300, 5
CONFIG = LoopConfig(epochs=60, batch_size=40, lr=1e-2)
TRAINER = Trainer(build=perceptron, config=CONFIG)
TUNER = Trainer(build=perceptron, config=LoopConfig(epochs=5, batch_size=40, lr=1e-3))
POLICY = policies.load("quick")
ALPHA = alpha_of_attempt(1, POLICY.alpha)


class Draw:
    """One division of the images, with wrong labels on both sides; the first 300 training records are forgotten."""

    def __init__(self, seed: int) -> None:
        random = np.random.default_rng([seed, 12])
        x, y = images()
        place = random.permutation(len(y))
        wrong = random.random(len(y)) < 0.1
        y = np.where(wrong, (y + random.integers(1, 10, len(y))) % 10, y)
        self.seed = seed
        self.train = records(x[place[:TRAIN]], y[place[:TRAIN]], "digit-")
        self.held = records(x[place[TRAIN:]], y[place[TRAIN:]], "held-")
        self.forget = list(range(FORGET))
        self.judged = self.forget[: 2 * FORGET // 3]
        self.kept = list(range(FORGET, TRAIN))
        self.beside = range(2 * len(self.held) // 3)

    def some(self, places: list[int]) -> ArrayRecords:
        """Return training records."""
        return self.train.select([self.train.ids[i] for i in places])


def says(model: nn.Module, of: ArrayRecords, places: object) -> np.ndarray:
    """Return logits in float64."""
    with torch.no_grad():
        return model(of.x[list(places)]).double().numpy()


def single(draw: Draw) -> dict[str, Measurement]:
    """Return what held-out records say of one network, retrained, fine-tuned and as it was."""
    original = TRAINER(draw.train, seed=draw.seed)
    models = {
        "original": original,
        "retrained": TRAINER(draw.some(draw.kept), seed=1000 + draw.seed),
        "fine-tuned": TUNER(draw.some(draw.kept), seed=1, start=original),
    }
    arrays = {
        name: {"forget": says(model, draw.train, draw.judged), "holdout": says(model, draw.held, draw.beside)}
        for name, model in models.items()
    }
    targets = {"forget": draw.train.y.numpy()[draw.judged], "holdout": draw.held.y.numpy()[list(draw.beside)]}
    return {name: measured("holdout_calibration", arrays, targets, name) for name in models}


def sharded(draw: Draw) -> dict[str, Measurement]:
    """Return what the members of an ensemble say of one another."""
    shards = Shards(draw.seed, SHARDS)
    holders = np.array([shards.shard(f"id {name}") for name in draw.train.ids])
    found: dict[str, list[nn.Module]] = defaultdict(list)
    for shard in range(SHARDS):
        mine = [i for i in range(TRAIN) if holders[i] == shard]
        rest = [i for i in mine if i >= FORGET]
        seed = shards.member_seed(shard)
        found["original"].append(TRAINER(draw.some(mine), seed=seed))
        found["retrained"].append(TRAINER(draw.some(rest), seed=seed))
        found["fine-tuned"].append(TUNER(draw.some(rest), seed=seed, start=found["original"][-1]))
    labels = draw.train.y.numpy()[draw.judged]
    arrays = {}
    for name, members in found.items():
        said = [says(member, draw.train, draw.judged) for member in members]
        arrays[name] = {"forget": said[0], "members": np.stack([confidence(one, labels) for one in said])}
    held = Held(holders[draw.judged], SHARDS)
    return {name: measured("shard_members", arrays, {"forget": labels}, name, held=held) for name in found}


def measured(check: str, arrays: dict, targets: dict, candidate: str, **more: object) -> Measurement:
    """Return what a check says of one of the models."""
    evidence = Evidence(
        arrays, targets, candidate=candidate, original="original", references=(), alpha=ALPHA, corrections=None, **more
    )
    found = registry.load("checks", check)().measure(evidence)
    assert isinstance(found, Measurement), found
    return found


def rows_of(check: str, title: str, found: list[dict[str, Measurement]]) -> list[Row]:
    """Return the figures of one check."""
    cls, margin = registry.load("checks", check), Margin(margin=POLICY.checks[check].margin, reason="the policy's")
    rows = []

    def row(name: str, value: float, unit: str, target: float | None = None, better: str = "higher") -> None:
        against = "digits, one label in ten wrong"
        rows.append(Row(name=name, value=value, target=target, better=better, unit=unit, against=against, n=len(found)))

    for model in ("original", "retrained", "fine-tuned"):
        every = [one[model] for one in found]
        values = np.array([one.value for one in every])
        decisions = [judge_one(cls, one, margin, alpha=ALPHA, required=3).decision for one in every]
        row(f"{title}, {model}: mean", float(values.mean()), f"{cls.unit}, sd {values.std(ddof=1):.3f}")
        row("  passes", float(np.mean([d is Decision.PASS for d in decisions])), "share")
        fails = float(np.mean([d is Decision.FAIL for d in decisions]))
        if model == "retrained":
            row("  fails", fails, "share", 0.0, "lower")
            error = float(np.sqrt(np.mean([one.yardstick.error**2 for one in every if one.yardstick])))
            row("  sd by chance alone, as stated", error, cls.unit)
            outside = float(np.mean([not one.interval.low <= 0 <= one.interval.high for one in every]))
            row("  outside the 95% interval", outside, "share", 0.15, "lower")
        else:
            row("  fails", fails, "share")
    return rows


def main() -> None:
    """Run and print."""
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--models", type=int, default=40, help="of each kind")
    options = parser.parse_args()
    single_thread()
    draws = [Draw(seed) for seed in range(options.models)]
    rows = rows_of("holdout_calibration", "held-out records", [single(draw) for draw in draws])
    rows += rows_of("shard_members", "shard members", [sharded(draw) for draw in draws])
    finish(rows, options, policy=POLICY.digest)


if __name__ == "__main__":
    main()
