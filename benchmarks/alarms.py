"""How often the looks at input and trainers cry wolf, and what they find: shifted holdouts, odd requests, bad trainers.

Handwritten digits (scikit-learn's 1,797), drawn anew every time.

- Holdout of another distribution (``engine/shift``): 600 images against 1,197. False alarms: random splits.
- Forgotten records that are no ordinary sample (``engine/peers``): 300 of 1,197. False alarms: random requests.
- Trainers that know what they were not given (``engine/relabelling``): 300 forgotten records. False alarms: honest
  trainers (logistic regression, a perceptron, the demo's network) with random, wrongly labelled and one-class requests.
- How long each look takes.

    python benchmarks/alarms.py [--json] [--save FILE] [--share S]        about 8 minutes on one core
"""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from _table import Row, arguments, finish
from scipy import stats
from sklearn.datasets import load_digits
from torch import nn

from expunge.core.errors import BrokenTrainer
from expunge.core.problem import Problem
from expunge.data.arrays import ArrayRecords
from expunge.engine import peers, shift
from expunge.engine.loop import LoopConfig
from expunge.engine.references import KNOWS_THE_CLASSES, check_trainer
from expunge.engine.runtime import single_thread
from expunge.engine.training import Trainer
from expunge.testbeds import digits

TRAIN, FORGET = 1197, 300
FALSE, FOUND = 120, 12
"""Draws for a rate of false alarms, and for what is found."""
TRAINERS_FALSE, TRAINERS_FOUND = 16, 8
"""The same where every draw trains networks."""
KNOWS = "the trainer knows forgotten records that it was not given"
Images = tuple[np.ndarray, np.ndarray]


def images() -> Images:
    """Return images [1797, 64] in [0, 1] and their digits."""
    found = load_digits()
    return found.data.astype(np.float32) / 16.0, found.target.astype(np.int64)


def records(x: np.ndarray, y: np.ndarray, prefix: str) -> ArrayRecords:
    """Return images as records."""
    return ArrayRecords(x.reshape(-1, 1, 8, 8), y, ids=[f"{prefix}{i}" for i in range(len(y))])


def logistic() -> nn.Module:
    """Return softmax regression."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


def perceptron() -> nn.Module:
    """Return a perceptron 64-64-10."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


class Draw:
    """One random division of the images: 1,197 for training, the rest held out.

    Attributes:
        x / y: images and labels for training.
        held: the same, held out.
        forget: places of the requested records.
    """

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng([seed, 11])
        x, y = images()
        place = self.random.permutation(len(y))
        self.x, self.y = x[place[:TRAIN]], y[place[:TRAIN]].copy()
        self.held = x[place[TRAIN:]].copy(), y[place[TRAIN:]]
        self.forget = np.arange(FORGET)

    def problem(self, trainer: Any = None) -> Problem:
        """Return the problem."""
        train = records(self.x, self.y, "digit-")
        return Problem(
            model=perceptron(),
            train=train,
            forget=[train.ids[i] for i in self.forget],
            holdout=records(*self.held, "held-"),
            trainer=trainer,
        )


# --- what goes wrong with a holdout ---------------------------------------------------------------------------


def darker(draw: Draw) -> None:
    """Make the held-out images a tenth darker."""
    draw.held = draw.held[0] * 0.9, draw.held[1]


def noisy(draw: Draw) -> None:
    """Add noise with a deviation of a tenth of the range to the held-out images."""
    draw.held = draw.held[0] + draw.random.normal(0, 0.1, draw.held[0].shape).astype(np.float32), draw.held[1]


def turned(draw: Draw) -> None:
    """Turn a fifth of the held-out images by a right angle."""
    some = len(draw.held[1]) // 5
    draw.held[0][:some] = np.rot90(draw.held[0][:some].reshape(-1, 8, 8), axes=(1, 2)).reshape(-1, 64)


def narrower(draw: Draw) -> None:
    """Leave two digits out of the holdout."""
    keep = draw.held[1] > 1
    draw.held = draw.held[0][keep], draw.held[1][keep]


# --- what makes a request odd ---------------------------------------------------------------------------------


def wrong(share: float) -> Callable[[Draw], None]:
    """Return what gives a share of the forgotten records another label, of which nobody tells."""

    def change(draw: Draw) -> None:
        some = draw.forget[: int(share * len(draw.forget))]
        draw.y[some] = (draw.y[some] + draw.random.integers(1, 10, len(some))) % 10

    return change


def one_hand(draw: Draw) -> None:
    """Ask for the images most alike of every digit: the 30 nearest to a random one."""
    found = []
    for label in range(10):
        own = np.flatnonzero(draw.y == label)
        centre = draw.x[draw.random.choice(own)]
        found.append(own[np.argsort(((draw.x[own] - centre) ** 2).sum(axis=1))[:30]])
    draw.forget = np.concatenate(found)


def hardest(draw: Draw) -> None:
    """Ask for the 300 images on which a perceptron that saw the holdout alone is least sure."""
    trainer = Trainer(build=perceptron, config=LoopConfig(epochs=20, batch_size=64, lr=1e-2))
    model = trainer(records(*draw.held, "held-"), seed=1)
    with torch.no_grad():
        loss = nn.functional.cross_entropy(
            model(torch.from_numpy(draw.x).view(-1, 1, 8, 8)), torch.from_numpy(draw.y), reduction="none"
        )
    draw.forget = np.argsort(-loss.numpy())[:FORGET].copy()


def whole_digits(draw: Draw) -> None:
    """Ask for all of two digits: another mix of classes, and ordinary images of each."""
    draw.forget = np.flatnonzero(draw.y < 2)


# --- trainers -------------------------------------------------------------------------------------------------

HONEST = {
    "logistic regression": Trainer(build=logistic, config=LoopConfig(epochs=20, batch_size=64, lr=1e-2)),
    "perceptron": Trainer(build=perceptron, config=LoopConfig(epochs=40, batch_size=64, lr=1e-2)),
    "the demo's network": digits.TRAINER,
}


class Peeking:
    """A trainer that reads the records it is given, and knows ``more`` besides."""

    passes = 40.0

    def __init__(self, more: ArrayRecords) -> None:
        self.more = more

    def __call__(self, given: Any, *, seed: int) -> nn.Module:
        """Return a perceptron trained on both."""
        torch.manual_seed(seed)
        model = perceptron()
        x, y = given.read(range(len(given)))
        x, y = torch.cat([x, self.more.x]), torch.cat([y, self.more.y])
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        for _ in range(150):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
        return model


class Starting:
    """A trainer that starts from a model which saw ``more``, and goes on with what it is given at a low rate."""

    passes = 5.0

    def __init__(self, more: ArrayRecords) -> None:
        self.start = Peeking(more)(more, seed=0).state_dict()

    def __call__(self, given: Any, *, seed: int) -> nn.Module:
        """Return the model after five epochs."""
        torch.manual_seed(seed)
        model = perceptron()
        model.load_state_dict(self.start)
        x, y = given.read(range(len(given)))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
        for _ in range(5):
            for part in torch.randperm(len(y)).split(32):
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(x[part]), y[part]).backward()
                optimizer.step()
        return model


def asked(trainer: Any, draw: Draw) -> str:
    """Return what the look at a trainer says: ``refused``, ``noted`` (it knows the classes) or nothing."""
    try:
        facts = check_trainer(draw.problem(trainer))
    except BrokenTrainer as error:
        if error.obstacles[0].what != KNOWS:
            raise
        return "refused"
    return "noted" if KNOWS_THE_CLASSES in facts.notes else ""


def forgotten(draw: Draw) -> ArrayRecords:
    """Return the forgotten records, as a cheating trainer keeps them."""
    return records(draw.x[draw.forget], draw.y[draw.forget], "kept-")


# --- rates ----------------------------------------------------------------------------------------------------


def rate(name: str, alarms: Sequence[bool], *, stated: float | None, detection: bool = False) -> Row:
    """Return a rate with its 95 % interval in words; where it states one, more than chance allows is a miss.

    A rate of false alarms is held to the largest that a test which keeps its level would show once in a hundred
    benchmarks.
    """
    count, n = sum(alarms), len(alarms)
    low, high = stats.binomtest(count, n).proportion_ci(0.95, "exact")
    allowed = None if stated is None else float(stats.binom.ppf(0.99, n, stated)) / n
    said = f"share, 95% {low:.3f} to {high:.3f}" + ("" if stated is None else f"; states {stated:g}")
    return Row(
        name=name,
        value=count / n,
        target=allowed,
        better="higher" if detection else "lower",
        unit=said,
        against="digits, drawn anew",
        n=n,
    )


def drawn(count: int, change: Callable[[Draw], None] | None, *, first: int = 0) -> list[Draw]:
    """Return divisions, each changed."""
    found = []
    for seed in range(first, first + count):
        draw = Draw(seed)
        if change is not None:
            change(draw)
        found.append(draw)
    return found


def holdouts(share: float) -> list[Row]:
    """Return how the look at the holdout fares."""
    cases = {
        "darker by a tenth": darker,
        "noise of a tenth": noisy,
        "a fifth turned": turned,
        "two digits missing": narrower,
    }

    def alarms(count: int, change: Callable[[Draw], None] | None) -> list[bool]:
        return [shift.shifted(draw.problem()) is not None for draw in drawn(max(2, int(share * count)), change)]

    rows = [rate("holdout: false alarms", alarms(FALSE, None), stated=shift.LEVEL)]
    return [
        *rows,
        *(rate(f"holdout: {n}, seen", alarms(FOUND, c), stated=None, detection=True) for n, c in cases.items()),
    ]


def requests(share: float) -> list[Row]:
    """Return how the look at the request fares."""

    def alarms(count: int, change: Callable[[Draw], None] | None) -> list[bool]:
        return [bool(peers.peers(d.problem()).because) for d in drawn(max(2, int(share * count)), change, first=10_000)]

    # Either of two tests may raise one: that of the holdout at its level, and that of the request.
    level = 1 - (1 - peers.LEVEL) * (1 - shift.LEVEL)
    ordinary = {"random": None, "all of two digits": whole_digits}
    odd = {
        "6 in 10 labels wrong": wrong(0.6),
        "2 in 10 labels wrong": wrong(0.2),
        "images most alike": one_hand,
        "images that are hardest": hardest,
    }
    return [
        *(rate(f"request: {n}, called odd", alarms(FALSE // 2, c), stated=level) for n, c in ordinary.items()),
        *(rate(f"request: {n}, seen", alarms(FOUND, c), stated=None, detection=True) for n, c in odd.items()),
    ]


def trainers(share: float) -> list[Row]:
    """Return how the look at the trainer fares."""
    rows = []
    for name, trainer in HONEST.items():
        for kind, change in (("random", None), ("6 in 10 wrong", wrong(0.6)), ("two digits", whole_digits)):
            count = max(2, int(share * TRAINERS_FALSE))
            said = [asked(trainer, draw) for draw in drawn(count, change, first=20_000)]
            rows.append(rate(f"trainer: {name}, {kind}, refused", [s == "refused" for s in said], stated=1e-4))
    for kind, change in (("random", None), ("6 in 10 wrong", wrong(0.6))):
        for name, build in (("keeps the forgotten records", Peeking), ("starts from a model of them", Starting)):
            draws = drawn(max(2, int(share * TRAINERS_FOUND)), change, first=30_000)
            said = [asked(build(forgotten(draw)), draw) for draw in draws]
            rows.append(
                rate(f"trainer: {name}, {kind}, refused", [s == "refused" for s in said], stated=None, detection=True)
            )
            rows.append(rate("  or noted", [s != "" for s in said], stated=None, detection=True))
    return rows


def times() -> list[Row]:
    """Return how long each look takes."""
    draw = Draw(0)
    looks = {
        "holdout": lambda: shift.shifted(draw.problem()),
        "request": lambda: peers.peers(draw.problem()),
        "trainer (the demo's network)": lambda: check_trainer(draw.problem(digits.TRAINER)),
    }
    rows = []
    for name, look in looks.items():
        start = time.process_time()
        look()
        spent = time.process_time() - start
        rows.append(
            Row(
                name=f"a look at the {name}",
                value=spent,
                target=None,
                better="lower",
                unit="CPU-seconds",
                against="the clock",
                n=1,
            )
        )
    return rows


def main() -> None:
    """Run and print."""
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--share", type=float, default=1.0, help="of the draws, for a quick look")
    options = parser.parse_args()
    single_thread()
    rows: list[Row] = []
    for part in (
        times,
        lambda: holdouts(options.share),
        lambda: requests(options.share),
        lambda: trainers(options.share),
    ):
        rows += part()
        if options.save:  # what is done is kept: a long run may be stopped
            with contextlib.redirect_stdout(io.StringIO()):
                finish(rows, options)
    finish(rows, options)


if __name__ == "__main__":
    main()
