"""How long both grids of methods for classifiers take with the recipes that are shipped: digits, then MNIST.

The grids are those of ``classifiers.py`` without ``auto``, whose search is a study of its own: every scenario, the
control, and every recipe for classifiers, three seeds, references, audits and, on the digits, the forgetting quality F
over 20 models. Two processes work at a time. Seconds are of the clock, so nothing else should run; results are made in
a temporary directory and thrown away.

    python benchmarks/grid_time.py [--save FILE]        about an hour on two cores
    python benchmarks/grid_time.py --data digits --scenarios class --seeds 1        a minute
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import tempfile
import time
from pathlib import Path

from _table import Row, arguments, finish
from classifiers import EVERY, Lines, entered

from expunge.bench.run import grid, run
from expunge.bench.site import Bench, Site
from expunge.plan.auto import AUTO

HOUR = 60
"""Minutes that both grids may take on two cores."""
JUDGES = {"digits": {"references": 20, "models": 20}, "mnist": {"references": 10}}
"""By what the published figures of either are judged."""


def main() -> int:
    """Run both grids, print how long they took; 0 where that is within the hour."""
    parser = arguments(__doc__)
    parser.add_argument("--data", nargs="+", choices=EVERY, default=list(EVERY))
    parser.add_argument("--scenarios", nargs="+", default=None)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    load, rows = os.getloadavg()[0], []
    methods = tuple(name for name in entered() if name != AUTO)
    for data in options.data:
        scenarios = tuple(options.scenarios or EVERY[data])
        bench = Bench(
            data=data, network="cnn", scenarios=scenarios, methods=methods, seeds=options.seeds, **JUDGES[data]
        )
        minutes, cells = timed(bench, options.workers)
        print(f"{data}: {minutes:.1f} minutes", flush=True)
        rows.append(row(f"{data}: the grid with shipped recipes", minutes, cells))
    whole = options.scenarios is None and len(rows) == len(EVERY)
    rows.append(row("all of it", sum(r.value for r in rows), sum(r.n for r in rows), HOUR if whole else None))
    note = "other work shared the machine" if load > 0.5 else "nothing else ran"
    finish(rows, options, workers=options.workers, methods=methods, load_before=round(load, 2), note=note)
    return 0 if all(each.met != "MISSED" for each in rows) else 1


def timed(bench: Bench, workers: int) -> tuple[float, int]:
    """Return the minutes that a grid takes from an empty directory, and its cells."""
    with tempfile.TemporaryDirectory(prefix="grid-time-") as folder:
        site = Site.begin(bench, Path(folder, "site"))
        began = time.monotonic()
        run(site, workers=workers, progress=Lines())
        return (time.monotonic() - began) / 60, len(grid(site))


def row(name: str, minutes: float, cells: int, most: float | None = None) -> Row:
    """Return one figure; ``cells``: scenario by method by seed."""
    return Row(name=name, value=minutes, target=most, better="lower", unit="minutes", against="an hour", n=cells)


if __name__ == "__main__":
    raise SystemExit(main())
