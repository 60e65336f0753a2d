"""Time attacks, measures of forgetting and the loss on one thread, each the best of several calls, against targets.

python benchmarks/numerics.py [--json] [--save FILE]        about a minute
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import time
from argparse import Namespace
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from _table import Row, arguments, finish
from torch.nn import functional

from expunge.numerics.forgetting import Rule, epsilons
from expunge.numerics.klom import binned_kl, gaussian_kl
from expunge.numerics.leakage import one_run_bound
from expunge.numerics.lira import lira_each
from expunge.numerics.rmia import rmia
from expunge.numerics.units import Scored

PAIRWISE = 500
"""Records and population of the comparison with the pairwise definition."""


def main() -> int:
    """Measure, print; 0 where every target is met."""
    parser = arguments(__doc__)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    draw, load = np.random.default_rng(given.seed), os.getloadavg()[0]
    rows = [*_attacks(draw, given.repeats), *_measures(draw, given.repeats), *_losses(given)]
    note = "other work shared the machine" if load > 0.5 else "nothing else ran"
    finish(rows, given, load_before=round(load, 2), cores=os.cpu_count(), repeats=given.repeats, note=note)
    return 0 if all(row.met != "MISSED" for row in rows) else 1


def _attacks(draw: np.random.Generator, repeats: int) -> list[Row]:
    x, z = draw.normal(size=50_000), draw.normal(size=10_000)
    found = rmia(x[:PAIRWISE], population=z[:PAIRWISE])
    pairs = (x[:PAIRWISE, None] > z[None, :PAIRWISE]).mean(axis=1)
    phi, keep = draw.normal(size=(128, 20_000)), draw.random((128, 20_000)) < 0.5
    return [
        _row("RMIA, 50,000 records, population 10,000", lambda: rmia(x, population=z), repeats, 10.0, len(x)),
        Row(
            name=f"  decisions unlike the pairwise definition, {PAIRWISE} x {PAIRWISE}",
            value=float((found != pairs).sum()),
            target=0,
            better="lower",
            unit="records",
            against="the pairwise definition",
            n=PAIRWISE,
        ),
        _row(
            "LiRA doubly shrunk, 128 models in turn, 20,000 records", lambda: lira_each(phi, keep=keep), 3, None, 20_000
        ),
    ]


def _measures(draw: np.random.Generator, repeats: int) -> list[Row]:
    one, other = 2 * draw.normal(size=(2, 512, 200))
    few, many = 2 * draw.normal(size=(2, 100, 2000))

    def epsilon(rule: Rule, target: float) -> Row:
        name = f"epsilon of a record, 512 models: {rule.value}"
        return _row(name, lambda: epsilons(one, retrained=other, rule=rule), repeats, target, 200, each=200)

    def bounds() -> list[Any]:
        return [one_run_bound(400 + i, guesses=500, canaries=1000, delta=1e-5) for i in range(100)]

    return [
        epsilon(Rule.EXACT_CUT, 0.6),
        epsilon(Rule.GRID_CUT, 0.6),
        epsilon(Rule.COMPETITION, 25.0),
        _row("KLoM, 100 models, 2,000 records", lambda: binned_kl(few, retrained=many), repeats, None, 2000),
        _row("unbiased KL, 100 models, 2,000 records", lambda: gaussian_kl(few, retrained=many), repeats, None, 2000),
        _row("100 one-run bounds, 1,000 canaries", bounds, 3, 2000.0, 100),
    ]


def _losses(given: Namespace) -> list[Row]:
    draw = torch.Generator().manual_seed(given.seed)
    logits = torch.randn(8192, 10, generator=draw, requires_grad=True)
    target = torch.randint(10, (len(logits),), generator=draw)

    def ours() -> None:
        Scored.of(logits, target, torch.arange(len(target)), len(target)).loss.sum().backward()

    def plain() -> None:
        functional.cross_entropy(logits, target, reduction="none").sum().backward()

    return [
        _row("loss and gradient of 8,192 records, 10 classes", ours, given.repeats, None, len(target)),
        _row("  the same by torch's cross entropy alone", plain, given.repeats, None, len(target)),
    ]


def _row(name: str, call: Callable[[], Any], repeats: int, target: float | None, n: int, *, each: int = 1) -> Row:
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    value = 1000 * best / each
    return Row(name=name, value=value, target=target, better="lower", unit="ms", against="the clock", n=n)


if __name__ == "__main__":
    raise SystemExit(main())
