"""Methods for classifiers side by side on digits or MNIST: scenario by method by seed.

The grid is all scenarios with the control, ``auto``, which chooses and tunes in its cell without a retrained model (a
run of what it finds may cost a fifth of a retraining), and every recipe that is shipped for the case (``NAME@recipe``);
on the digits also with the forgetting quality F over 20 models. Beside it, on a class and a backdoor, methods with the
settings that they come with. Either lies in a directory (``--out``) that is resumed; ``--no-run`` writes down what is
done so far. What was left out or is not done stands in the saved file.

    python benchmarks/classifiers.py --models 20 --out runs/digits [--save FILE]    a quarter of an hour on two cores
    python benchmarks/classifiers.py --data mnist --references 10 --out runs/mnist [--save FILE]            an hour
    python benchmarks/classifiers.py --as-they-come --out runs/as-they-come [--save FILE]
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import json
from pathlib import Path

from _table import Row, arguments, finish

from expunge.bench.entries import Entry
from expunge.bench.run import cells, grid, run
from expunge.bench.scenarios import SCENARIOS
from expunge.bench.site import Bench, Site
from expunge.bench.table import ORIGINAL, RETRAINED, Table, as_text, but, table
from expunge.core import registry
from expunge.core.serial import plain
from expunge.core.storage import write_file
from expunge.core.verdict import Decision
from expunge.engine.progress import Progress
from expunge.plan import recipes
from expunge.plan.auto import AUTO

CHEAP = 0.2
"""Share of a retraining below which one run of a method counts as cheap."""
SEARCH = 3.0
"""What `auto` may spend on its search in a cell, in retrainings."""
HOUR_OF_TWO = 120
"""Minutes of one core that the grid may take."""
AS_THEY_COME = (
    "salun", "ssd", "lfssd", "random_label", "bad_teacher", "msg", "unsir", "boundary_shrink", "l1_sparse", "cfw",
    "kde", "fcs", "rni", "prmq", "uam", "eu_k", "cf_k", "retain_distill", "adaptive_ssd", "boundary_expand", "ct",
    "finetune", "fisher", "gradient_ascent", "influence", "neg_grad_plus", "negmerge", "scrub", "task_arithmetic",
    "distill_anew",
)  # fmt: skip
"""Methods for classifiers that need nothing but a network and its records, with their own settings."""
BOTH = ("class", "backdoor")
ASKED = ("given",)
"""Scenarios that are in no grid unless they are named."""
EVERY = {
    "digits": tuple(name for name in SCENARIOS if name not in ASKED),
    "mnist": tuple(name for name in SCENARIOS if name not in (*ASKED, "subject")),
}
"""Scenarios that the data carry: the subset of MNIST does not say who wrote what."""


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
    parser.add_argument("--data", choices=EVERY, default="digits")
    parser.add_argument("--network", default="cnn")
    parser.add_argument("--as-they-come", action="store_true", help="methods with their own settings")
    parser.add_argument("--scenarios", nargs="+", default=None)
    parser.add_argument("--methods", nargs="+", default=None)
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
            data=options.data,
            network=options.network,
            epochs=options.epochs,
            scenarios=tuple(options.scenarios or (BOTH if options.as_they_come else EVERY[options.data])),
            methods=tuple(options.methods or (AS_THEY_COME if options.as_they_come else entered())),
            seeds=options.seeds,
            references=options.references,
            models=options.models,
            budget=SEARCH + CHEAP,
            tuning=SEARCH / (SEARCH + CHEAP),
        )
        site = Site.begin(bench, options.out)
        try:
            run(site, workers=options.workers, progress=Lines())
        finally:
            worked(site, sum(os.times()[:4]))
    found = table(site)
    print(as_text(found))
    rows = figures(found)
    if site.bench.scenarios == EVERY.get(site.bench.data) and not missing(site):
        rows.append(
            Row(
                name="the whole grid: work of one core",
                value=worked(site) / 60,
                target=HOUR_OF_TWO,
                better="lower",
                unit="minutes",
                against="two cores for an hour",
                n=len(cells(site)),
            )
        )
    finish(
        rows,
        options,
        bench=plain(site.bench),
        cells_done=len(cells(site)),
        cells_planned=len(grid(site)),
        cells_missing=missing(site),
        not_passed=decided(site),
        in_margins=apart(site),
        by_seed=seeds(site),
        table=plain(found),
        left_out={
            "scenarios": sorted(set(SCENARIOS) - set(site.bench.scenarios)),
            "methods": sorted(set(registry.names("methods")) - {Entry.of(m).method for m in site.bench.methods}),
        },
    )
    return 0 if all(row.met != "MISSED" for row in rows) else 1


def entered() -> list[str]:
    """Return what the grid has: the control, `auto`, and all recipes for classifiers."""
    shipped = dict.fromkeys(f"{recipe.method}@recipe" for recipe in recipes.shipped() if recipe.case != "texts")
    return ["noop", AUTO, *shipped]


def worked(site: Site, seconds: float = 0.0) -> float:
    """Return the processor time of all commands that worked on a directory, with these ``seconds``, which are noted."""
    file = site.folder / "worked.json"
    total = float(json.loads(file.read_text()) if file.exists() else 0.0) + seconds
    if seconds:
        write_file(file, json.dumps(total).encode())
    return total


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


def apart(site: Site) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Return how far models lie from retrained ones, in margins: by scenario, method and required check, per seed."""
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    for cell in cells(site):
        own = found.setdefault(cell.scenario, {}).setdefault(cell.method, {})
        for check, said in cell.checks.items():
            if said.difference is not None and said.margin:
                own.setdefault(check, []).append(round(said.difference / said.margin, 3))
    return found


def seeds(site: Site) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Return the average gap in points and the cost of one run in retrainings, by scenario and method, per seed."""
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    for cell in cells(site):
        own = found.setdefault(cell.scenario, {}).setdefault(cell.method, {"avg_gap": [], "alone": []})
        if "avg_gap" in cell.scores and cell.alone is not None:
            own["avg_gap"].append(round(cell.scores["avg_gap"], 3))
            own["alone"].append(round(cell.alone, 4))
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
                    name=f"{scenario}: retrained models that pass all required checks{but(anchor.unasked)} themselves",
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
