"""Methods for classifiers side by side on digits: scenario by method by seed.

Each method with the settings that it comes with, where a recipe is shipped with that, too (``NAME@recipe``), and
``auto``, which chooses and tunes in its cell without a retrained model: a run of what it finds may cost a fifth of a
retraining. The grid lies in a directory (``--out``) that is resumed; ``--no-run`` writes down what is done so far. The
whole grid is every scenario and every method; what was left out or is not done stands in the saved file.

    python benchmarks/classifiers.py --out runs/classifiers [--save FILE]     the whole grid: an hour on two cores
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

from pathlib import Path

from _table import Row, arguments, finish

from expunge.bench.run import cells, grid, run
from expunge.bench.scenarios import SCENARIOS
from expunge.bench.site import Bench, Site
from expunge.bench.table import ORIGINAL, RETRAINED, Table, as_text, table
from expunge.core import registry
from expunge.core.method import Need
from expunge.core.serial import plain
from expunge.core.verdict import Decision
from expunge.engine.progress import Progress
from expunge.plan import recipes
from expunge.plan.auto import AUTO

CHEAP = 0.2
"""Share of a retraining below which one run of a method counts as cheap."""
SEARCH = 3.0
"""What `auto` may spend on its search in a cell, in retrainings."""


class Lines(Progress):
    """Says what begins, and every tenth step."""

    def __init__(self) -> None:
        self.done: dict[str, int] = {}

    def start(self, label: str, total: int, done: int = 0) -> None:
        """Print the label."""
        self.done[label] = done
        print(f"{label}: {total}", flush=True)

    def advance(self, label: str, steps: int = 1) -> None:
        """Print every tenth step."""
        self.done[label] += steps
        if self.done[label] % 10 == 0:
            print(f"  {label}: {self.done[label]} done", flush=True)


def main() -> int:
    """Run the grid, print its table; 0 where every scenario has a cheap method that erases."""
    parser = arguments(__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/classifiers"))
    parser.add_argument("--network", default="cnn")
    parser.add_argument("--scenarios", nargs="+", default=[name for name in SCENARIOS if name != "given"])
    parser.add_argument("--methods", nargs="+", default=every())
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--references", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=None)
    parser.add_argument("--models", type=int, default=0)
    parser.add_argument("--workers", type=int, default=None)
    parser.add_argument("--no-run", action="store_true", help="write down what is done so far")
    options = parser.parse_args()
    if options.no_run:
        site = Site.open(options.out)
    else:
        bench = Bench(
            network=options.network,
            epochs=options.epochs,
            scenarios=tuple(options.scenarios),
            methods=tuple(options.methods),
            seeds=options.seeds,
            references=options.references,
            models=options.models,
            budget=SEARCH + CHEAP,
            tuning=SEARCH / (SEARCH + CHEAP),
        )
        site = Site.begin(bench, options.out)
        run(site, workers=options.workers, progress=Lines())
    found = table(site)
    print(as_text(found))
    rows = figures(found)
    finish(
        rows,
        options,
        bench=plain(site.bench),
        cells_done=len(cells(site)),
        cells_planned=len(grid(site)),
        cells_missing=missing(site),
        not_passed=decided(site),
        table=plain(found),
        left_out={
            "scenarios": sorted(set(SCENARIOS) - set(site.bench.scenarios)),
            "methods": sorted(set(every()) - set(site.bench.methods)),
        },
    )
    return 0 if all(row.met != "MISSED" for row in rows) else 1


def every() -> list[str]:
    """Return the control, `auto`, all recipes for classifiers, and the methods that need no ledger of the training."""
    kinds = {name: registry.load("methods", name) for name in registry.names("methods")}
    found = [n for n, k in kinds.items() if not k.control and not k.needs & {Need.LEDGER, Need.SHARDS}]
    shipped = dict.fromkeys(f"{recipe.method}@recipe" for recipe in recipes.shipped() if recipe.case != "texts")
    return ["noop", AUTO, *shipped, *found]


def missing(site: Site) -> dict[str, list[str]]:
    """Return the cells that are planned and not done: by scenario, method and seed."""
    done = {(cell.scenario, cell.method, cell.seed) for cell in cells(site)}
    found: dict[str, list[str]] = {}
    for scenario, method, seed in grid(site):
        if (scenario, method, seed) not in done:
            found.setdefault(scenario, []).append(f"{method}, seed {seed}")
    return found


def decided(site: Site) -> dict[str, dict[str, dict[str, int]]]:
    """Return the required checks that were not passed, by scenario, method, and how often each was decided so."""
    found: dict[str, dict[str, dict[str, int]]] = {}
    for cell in cells(site):
        own = found.setdefault(cell.scenario, {}).setdefault(cell.method, {})
        for check, said in cell.checks.items():
            if said.decision != Decision.PASS.value:
                name = f"{check}: {said.decision}"
                own[name] = own.get(name, 0) + 1
    return found


def figures(found: Table) -> list[Row]:
    """Return per scenario how many cheap methods erase with every seed, whether `auto` does, and the smallest gap.

    Beside them stands how many retrained models would be called erased themselves.
    """
    rows = []
    for scenario in dict.fromkeys(row.scenario for row in found.rows):
        own = [r for r in found.rows if r.scenario == scenario and r.method not in (ORIGINAL, RETRAINED)]
        cheap = [r for r in own if r.alone is not None and r.alone.mean <= CHEAP]
        erasing = [r for r in cheap if set(r.verdicts) == {"erased"} and not r.without]
        rows.append(
            Row(
                name=f"{scenario}: methods of at most 20% that erase with every seed",
                value=len(erasing),
                target=1,
                better="higher",
                unit="methods",
                against="models retrained without the records",
                n=len(own),
            )
        )
        tuned = [r for r in own if r.method == AUTO]
        if tuned:
            rows.append(
                Row(
                    name=f"{scenario}: auto erases with every seed",
                    value=float(any(r in erasing for r in tuned)),
                    target=1,
                    better="higher",
                    unit="1 or 0",
                    against="models retrained without the records",
                    n=sum(tuned[0].verdicts.values()),
                )
            )
        anchor = next((r for r in found.rows if r.scenario == scenario and r.method == RETRAINED and r.passing), None)
        if anchor is not None and anchor.passing is not None:
            rows.append(
                Row(
                    name=f"{scenario}: retrained models that pass all required checks themselves",
                    value=anchor.passing.mean,
                    target=None,
                    better="higher",
                    unit=f"of {anchor.scores['forget'].n}, each judged against the others",
                    against="models retrained without the records",
                    n=anchor.passing.n,
                )
            )
        gaps = [r.scores["avg_gap"].mean for r in cheap if "avg_gap" in r.scores and r.method != "noop"]
        if gaps:
            rows.append(
                Row(
                    name=f"{scenario}: smallest average gap of those",
                    value=min(gaps),
                    target=None,
                    better="lower",
                    unit="points",
                    against="models retrained without the records",
                    n=len(gaps),
                )
            )
    return rows


if __name__ == "__main__":
    raise SystemExit(main())
