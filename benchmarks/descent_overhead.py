"""A step of each descent method against a bare loop that makes the same passes: passes counted, CPU time side by side.

The bare loop is the least that each paper's algorithm needs: tensors in memory, a shuffle per epoch, the calls of
student and teachers, the loss, the optimiser's step. Time is that of more epochs less that of fewer, so that what is
done once (opening the model, finding a mask) is left out; method and loop take turns, of each the fastest turn counts.
Nothing is looked at between epochs on either side.

Every case lies in ``--out`` as soon as it is measured, and the same command goes on.

    python benchmarks/descent_overhead.py [--json] [--save FILE]        about 25 minutes on one core
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import copy
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from _table import Row, arguments, finish
from torch import Tensor, nn
from torch.nn import functional

from expunge.bench.networks import NETWORKS
from expunge.core import registry
from expunge.core.problem import Problem
from expunge.core.serial import build, canonical, plain
from expunge.core.storage import write_file
from expunge.data.arrays import ArrayRecords
from expunge.engine.context import Context
from expunge.engine.runtime import hold_memory, single_thread
from expunge.engine.split import Part

BATCH, LR, FEW, MANY = 128, 1e-5, 1, 4
LONG = {"gradient_ascent": 31}
"""Epochs of a method that reads a tenth of the records in each: as many steps as the others make."""
SHAPES = {"cnn": (1, 28, 28), "resnet20": (3, 32, 32)}
RECORDS = {"cnn": 1280, "resnet20": 384}


class Counted(nn.Module):
    """A network that counts the records it answers: with gradients, and without."""

    seen: dict[str, int] = {"trained": 0, "read": 0}  # noqa: RUF012  # of all copies together

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        Counted.seen["trained" if torch.is_grad_enabled() else "read"] += len(x)
        logits: Tensor = self.inner(x)
        return logits


@dataclass
class Loop:
    """The bare loop: sets [n, ...] with labels, and the models it works with."""

    student: nn.Module
    x: dict[str, Tensor]
    y: dict[str, Tensor]
    teacher: nn.Module = field(init=False)
    bad: nn.Module = field(init=False)
    start: list[Tensor] = field(init=False)
    optimiser: Any = None

    def __post_init__(self) -> None:
        """Copy what teaches and where it started."""
        self.teacher = copy.deepcopy(self.student).eval()
        self.bad = copy.deepcopy(self.student).eval()
        self.start = [p.detach().clone() for p in self.student.parameters()]
        self.student.train()

    def batches(self, name: str, size: int = BATCH) -> Iterator[Tensor]:
        """Yield the rows of one shuffled pass."""
        order = torch.randperm(len(self.x[name]))
        for start in range(0, len(order), size):
            yield order[start : start + size]

    def ce(self, name: str, rows: Tensor) -> Tensor:
        """Return the cross entropy of a batch."""
        return functional.cross_entropy(self.student(self.x[name][rows]), self.y[name][rows])

    def kl(self, name: str, rows: Tensor, temperature: float = 4.0) -> tuple[Tensor, Tensor]:
        """Return (divergence from the teacher, the student's logits)."""
        x = self.x[name][rows]
        with torch.no_grad():
            theirs = functional.log_softmax(self.teacher(x) / temperature, dim=1)
        logits = self.student(x)
        mine = functional.log_softmax(logits / temperature, dim=1)
        return temperature**2 * functional.kl_div(mine, theirs, log_target=True, reduction="batchmean"), logits

    def step(self, loss: Tensor) -> None:
        """Take one step of the optimiser."""
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        loss.item()  # every loop that reports its loss waits for it


def finetune(loop: Loop) -> None:
    """One pass over retained records."""
    for rows in loop.batches("retain"):
        loop.step(loop.ce("retain", rows))


def neg_grad_plus(loop: Loop) -> None:
    """Retained and forgotten records side by side, two calls a step."""
    beside = iter(())
    for rows in loop.batches("retain"):
        others = next(beside, None)
        if others is None:
            beside = loop.batches("forget")
            others = next(beside)
        loop.step(0.95 * loop.ce("retain", rows) - 0.05 * loop.ce("forget", others))


def gradient_ascent(loop: Loop) -> None:
    """One pass over forgotten records."""
    for rows in loop.batches("forget"):
        loop.step(-loop.ce("forget", rows))


def random_label(loop: Loop) -> None:
    """Forgotten records with labels drawn anew, then retained ones."""
    for rows in loop.batches("forget"):
        labels = torch.randint(10, (len(rows),))
        loop.step(functional.cross_entropy(loop.student(loop.x["forget"][rows]), labels))
    finetune(loop)


def salun(loop: Loop) -> None:
    """Random labels, with half of the weights set back after every step."""
    mask = [torch.rand_like(p) < 0.5 for p in loop.start]
    plain = loop.optimiser.step

    def masked() -> None:
        plain()
        with torch.no_grad():
            for p, start, may in zip(loop.student.parameters(), loop.start, mask, strict=True):
                p.copy_(torch.where(may, p, start))

    loop.optimiser.step = masked
    random_label(loop)
    loop.optimiser.step = plain


def scrub(loop: Loop) -> None:
    """Away from the teacher on forgotten records, back to it on retained ones."""
    for rows in loop.batches("forget"):
        loop.step(-loop.kl("forget", rows)[0])
    for rows in loop.batches("retain"):
        apart, logits = loop.kl("retain", rows)
        loop.step(0.99 * functional.cross_entropy(logits, loop.y["retain"][rows]) + 0.001 * apart)


def l1_sparse(loop: Loop) -> None:
    """Retained records, with the sum of the sizes of all weights."""
    for rows in loop.batches("retain"):
        size = sum(p.abs().sum() for p in loop.student.parameters())
        loop.step(loop.ce("retain", rows) + 5e-4 * size)


def bad_teacher(loop: Loop) -> None:
    """Both sets shuffled together; each record has one teacher's answer."""
    gone = torch.cat([torch.zeros(len(loop.x["retain"])), torch.ones(len(loop.x["forget"]))]).bool()
    for rows in loop.batches("all"):
        x, forgotten = loop.x["all"][rows], gone[rows]
        logits = loop.student(x)
        theirs = torch.empty_like(logits)
        with torch.no_grad():
            for model, chosen in ((loop.teacher, ~forgotten), (loop.bad, forgotten)):
                if chosen.any():
                    theirs[chosen] = functional.log_softmax(model(x[chosen]), dim=1)
        mine = functional.log_softmax(logits, dim=1)
        loop.step(functional.kl_div(mine, theirs, log_target=True, reduction="batchmean"))


SAME = {"batch_size": BATCH, "lr": LR, "optimiser": "sgd", "weight_decay": 0.0, "schedule": "constant"}
CASES: dict[str, tuple[Callable[[Loop], None], dict[str, Any]]] = {
    "finetune": (finetune, {}),
    "neg_grad_plus": (neg_grad_plus, {}),
    "gradient_ascent": (gradient_ascent, {}),
    "random_label": (random_label, {}),
    "salun": (salun, {}),
    "scrub": (scrub, {"ascents": MANY, "forget_batch_size": BATCH, "rewind": False}),
    "l1_sparse": (l1_sparse, {}),
    "bad_teacher": (bad_teacher, {"retain_share": 1.0}),
}
"""The bare loop of one epoch, and the settings under which the method makes the same steps."""


def main() -> int:
    """Measure, print; 0 where every target is met."""
    parser = arguments(__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/descent_overhead"))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--networks", nargs="+", default=list(SHAPES))
    parser.add_argument("--methods", nargs="+", default=list(CASES))
    given = parser.parse_args()
    single_thread()
    hold_memory()
    load = os.getloadavg()[0]
    rows = []
    for network in given.networks:
        made = problem(network)
        for name in given.methods:
            done = given.out / f"{network}-{name}-{given.repeats}.json"
            if not done.exists():
                write_file(done, canonical(plain(measure(made, network, name, given.repeats))))
            rows += [build(Row, row, where=done.name) for row in json.loads(done.read_text())]
            print(f"{rows[-2].name}: {rows[-2].value:.3f}", flush=True)
    note = "other work shared the machine" if load > 0.5 else "nothing else ran"
    finish(rows, given, load_before=round(load, 2), cores=os.cpu_count(), repeats=given.repeats, note=note)
    return 0 if all(row.met != "MISSED" for row in rows) else 1


def problem(network: str) -> Problem:
    """Return random images, a tenth of which must be forgotten, and a network with random weights."""
    draw = torch.Generator().manual_seed(0)
    count, shape = RECORDS[network], SHAPES[network]
    records = ArrayRecords(torch.rand(count, *shape, generator=draw), torch.randint(10, (count,), generator=draw))
    torch.manual_seed(0)
    model = Counted(NETWORKS[network](shape, 10))
    return Problem(model=model, train=records, forget=list(records.ids[: count // 10]))


def measure(made: Problem, network: str, name: str, repeats: int) -> list[Row]:
    """Return the ratio of CPU times, and that of records answered, of one method on one network."""
    (bare, more), most = CASES[name], LONG.get(name, MANY)
    seconds: dict[tuple[str, int], list[float]] = {}
    counts: dict[tuple[str, int], float] = {}
    loop(made, bare, FEW)  # what torch sets up at its first call is nobody's
    for _ in range(repeats):
        for epochs in (FEW, most):
            for who, call in (
                ("ours", lambda e=epochs: method(made, name, {**more, "epochs": e})),
                ("bare", lambda e=epochs: loop(made, bare, e)),
            ):
                taken, counts[who, epochs] = timed(call)
                seconds.setdefault((who, epochs), []).append(taken)
    spent = {who: min(seconds[who, most]) - min(seconds[who, FEW]) for who in ("ours", "bare")}
    work = {who: counts[who, most] - counts[who, FEW] for who in ("ours", "bare")}
    steps = (most - FEW) * math.ceil(RECORDS[network] / BATCH / (10 if name in LONG else 1))
    against = "a bare loop that makes the same passes"

    def row(what: str, value: float, target: float | None, unit: str) -> Row:
        title = f"{network}, {name}: {what}"
        return Row(name=title, value=value, target=target, better="lower", unit=unit, against=against, n=repeats)

    return [
        row("time of an epoch", spent["ours"] / spent["bare"], 1.15, "times the bare loop's"),
        row("passes of an epoch", work["ours"] / work["bare"], 1.0, f"times the bare loop's, {steps} steps or more"),
    ]


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Return CPU-seconds, and the weight of the passes in forward passes: one with gradients weighs three."""
    Counted.seen.update(trained=0, read=0)
    start = time.process_time()
    work()
    return time.process_time() - start, 3 * Counted.seen["trained"] + Counted.seen["read"]


def method(made: Problem, name: str, settings: dict[str, Any]) -> None:
    """Run the method with nothing to look at between epochs."""
    run = Context(
        problem=made,
        seed=0,
        label=name,
        choosing=Part(made.records.select([]), None),
        choosing_models=list,
    )
    registry.load("methods", name)({**SAME, **settings}).unlearn(made, run)


def loop(made: Problem, bare: Callable[[Loop], None], epochs: int) -> None:
    """Run the bare loop."""
    records = made.records
    assert isinstance(records, ArrayRecords)
    gone = len(made.forget_ids)
    x = {"retain": records.x[gone:], "forget": records.x[:gone], "all": torch.cat([records.x[gone:], records.x[:gone]])}
    y = {"retain": records.y[gone:], "forget": records.y[:gone], "all": torch.cat([records.y[gone:], records.y[:gone]])}
    made_of = Loop(made.source.open(), x, y)
    made_of.optimiser = torch.optim.SGD(made_of.student.parameters(), LR, momentum=0.9, fused=True)
    for _ in range(epochs):
        bare(made_of)


if __name__ == "__main__":
    raise SystemExit(main())
