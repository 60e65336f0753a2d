"""Does the audit catch cheats, and does it let the honest pass? Known answers on three kinds of model.

Of each bed (``_beds.py``) several draws are made: other records, other ones to forget. For each draw models are
retrained (a pool for judging, a few for the cheats), and originals trained, one per run. A run takes one original, the
model that a cheat (``_cheats.py``) makes of it, and references drawn from the pool, and judges it as
`expunge audit` would at the first attempt; the candidate of the honest runs is itself from the pool and is never among
its references. A trainer that trains on forgotten records in secret is given to the check of the trainer.

    python benchmarks/cheats.py [--bed NAME] [--runs 60] [--json] [--save FILE]
    about a quarter of an hour on two cores for each bed
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import copy
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from _beds import BEDS, DATA, NEEDS, Bed
from _cheats import CHEATS, Game
from _table import Row, arguments, finish
from scipy import stats
from torch import nn

from expunge.audit import policy as policies
from expunge.audit.judge import asked, judge_all, leak_decisions, required_decisions
from expunge.audit.run import corrections
from expunge.core import registry
from expunge.core.errors import BrokenTrainer
from expunge.core.problem import Problem
from expunge.core.report import Finding
from expunge.core.request import Request
from expunge.core.storage import write_file
from expunge.core.verdict import Verdict, alpha_of_attempt, verdict
from expunge.data.arrays import ArrayRecords
from expunge.engine import stacked
from expunge.engine.answers import Outputs
from expunge.engine.available import available
from expunge.engine.collect import collect
from expunge.engine.evidence import Evidence
from expunge.engine.parts import Parts
from expunge.engine.references import check_trainer
from expunge.engine.runtime import hold_memory, single_thread
from expunge.engine.split import split

DRAWS, POOL, HELD = 3, 40, 4
"""Draws of each bed; retrained models to judge with, and those that only cheats see."""
HONEST, DECEIVED = "true retrain", "no-op, against references that saw everything"
PEEKING, PLAIN = "trainer that reads what it should not", "honest trainer"


@dataclass
class Tally:
    """What came of the runs of one kind: verdicts, and how often each check decided what."""

    verdicts: Counter[str] = field(default_factory=Counter)
    decisions: dict[str, Counter[str]] = field(default_factory=dict)

    def add(self, outcome: Verdict, findings: Sequence[Finding]) -> None:
        """Count one run."""
        self.verdicts[outcome.value] += 1
        for finding in findings:
            self.decisions.setdefault(finding.check, Counter())[finding.decision.value] += 1

    def join(self, other: Tally) -> None:
        """Count the runs of another draw."""
        self.verdicts += other.verdicts
        for name, counts in other.decisions.items():
            self.decisions.setdefault(name, Counter()).update(counts)


def main() -> int:
    """Run the benchmark; 0 where every target is met."""
    parser = arguments(__doc__)
    parser.add_argument("--bed", choices=tuple(BEDS), action="append", help="only this one (repeatable)")
    parser.add_argument("--runs", type=int, default=60, help="of each kind, over all draws")
    parser.add_argument("--policy", default="standard")
    parser.add_argument(
        "--kept",
        type=Path,
        default=Path("runs/cheats"),
        help="where draws are kept: killed, it goes on; another folder after any change of the code",
    )
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the data that does not come with a library")
    given = parser.parse_args()
    if given.runs <= 2 * DRAWS:
        parser.error(f"--runs {given.runs}: more than two a draw, {2 * DRAWS + 1} or more")
    names = [name for name in given.bed or BEDS if NEEDS[name] is None or (given.data / str(NEEDS[name])).exists()]
    for name in set(given.bed or BEDS) - set(names):
        print(f"left out: {name}: there is no {NEEDS[name]} in --data", file=sys.stderr)
    jobs = [(name, draw) for draw in range(DRAWS) for name in names]
    kept = {"runs": -(-given.runs // DRAWS), "policy": given.policy, "data": str(given.data), "kept": str(given.kept)}
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        found = list(pool.map(partial(played, **kept), *zip(*jobs, strict=True)))
    rows, tables = [], {}
    for name in names:
        tallies: dict[str, Tally] = {}
        for (bed, _), (draws, _) in zip(jobs, found, strict=True):
            if bed == name:
                for kind, tally in draws.items():
                    tallies.setdefault(kind, Tally()).join(tally)
        spent = sum(seconds for (bed, _), (_, seconds) in zip(jobs, found, strict=True) if bed == name)
        rows += rows_of(name, tallies)
        tables[name] = {
            "cpu_seconds": round(spent),
            "kinds": {
                k: {"verdicts": dict(t.verdicts), "decisions": {c: dict(d) for c, d in t.decisions.items()}}
                for k, t in tallies.items()
            },
        }
    finish(
        rows,
        given,
        beds=tables,
        policy=policies.load(given.policy).digest,
        references=policies.load(given.policy).references,
    )
    if not given.json:
        for name in names:
            show(name, tables[name]["kinds"])
    return 0 if all(row.met != "MISSED" for row in rows) else 1


def rows_of(bed: str, tallies: Mapping[str, Tally]) -> list[Row]:
    """Return the rates of one bed: honest models called erased, and not erased; cheats caught."""

    def row(name: str, hits: int, of: int, target: float, better: str = "higher") -> Row:
        low, high = _interval(hits, of)
        unit = f"share, 95% {low:.3f} to {high:.3f}"
        return Row(
            name=f"{bed}: {name}",
            value=hits / of,
            target=target,
            better=better,
            unit=unit,
            against="known answers",
            n=of,
        )

    honest = tallies[HONEST].verdicts
    rows = [
        row("true retrain erased", honest["erased"], honest.total(), 0.95),
        row("true retrain called not erased", honest["not erased"], honest.total(), 0.05, "lower"),
    ]
    for kind, tally in tallies.items():
        seen, of = tally.verdicts, tally.verdicts.total()
        if kind in CHEATS:
            rows.append(row(f"{kind}: caught", seen["not erased"], of, 0.95))
            rows.append(row("  called erased", seen["erased"], of, 0.05, "lower"))
        elif kind == DECEIVED:
            rows.append(row(f"{kind}: called erased", seen["erased"], of, 0.0, "lower"))
        elif kind in (PEEKING, PLAIN):
            rows.append(
                row(f"{kind}: refused", seen["refused"], of, *((0.95,) if kind == PEEKING else (0.05, "lower")))
            )
    return rows


def show(bed: str, kinds: Mapping[str, Any]) -> None:
    """Print which check fails which kind how often, in percent of the runs."""
    checks = sorted({check for kind in kinds.values() for check in kind["decisions"]})
    print(f"\n{bed}: runs of a hundred in which a check failed")
    for check in checks:
        shares = []
        for kind in kinds.values():
            counts = kind["decisions"].get(check, {})
            shares.append(f"{100 * counts.get('fail', 0) / max(1, sum(counts.values())):4.0f}")
        print(f"{check:24}", *shares)
    print(
        f"{'':24}",
        *(f"{i:4}" for i in range(len(kinds))),
        "\n" + "\n".join(f"{i:4}  {kind}" for i, kind in enumerate(kinds)),
    )


def played(bed_name: str, draw: int, *, runs: int, policy: str, data: str, kept: str) -> tuple[dict[str, Tally], float]:
    """Return what :func:`play` gives, read where an earlier command finished it."""
    path = Path(kept) / f"{bed_name}-{draw}-{runs}-{policies.load(policy).digest[:12]}.json"
    if not path.exists():
        tallies, seconds = play(bed_name, draw, runs, policy, data)
        plain = {kind: {"verdicts": t.verdicts, "decisions": t.decisions} for kind, t in tallies.items()}
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, json.dumps({"kinds": plain, "seconds": seconds}).encode())
        print(f"{bed_name}, draw {draw}: {seconds:.0f} CPU-s", file=sys.stderr)
    found = json.loads(path.read_text())
    return {
        kind: Tally(Counter(t["verdicts"]), {name: Counter(seen) for name, seen in t["decisions"].items()})
        for kind, t in found["kinds"].items()
    }, found["seconds"]


def play(bed_name: str, draw: int, runs: int, policy: str, data: str) -> tuple[dict[str, Tally], float]:
    """Judge all kinds on one draw of a bed; return the tallies and the CPU-seconds they took."""
    single_thread()
    hold_memory()
    start = time.process_time()
    bed = BEDS[bed_name](draw, Path(data))
    retrained = stacked.train(
        bed.trainer, bed.train, [bed.retain] * (POOL + HELD), seeds=range(1000, 1000 + POOL + HELD)
    )
    originals = stacked.train(bed.trainer, bed.train, seeds=range(2000, 2000 + runs))
    game = Game(bed=bed, originals=originals, retrained=retrained[POOL:], seed=3000)
    with tempfile.TemporaryDirectory() as folder:
        judge = Judge(bed, originals[0], policies.load(policy), Path(folder))
        pool = [judge.ask(f"retrained {i}", model) for i, model in enumerate(retrained[:POOL])]
        before = [judge.ask(f"original {i}", model) for i, model in enumerate(originals)]
        tallies = {kind: Tally() for kind in (HONEST, *CHEATS, DECEIVED)}
        chosen = np.random.default_rng([draw, 5])
        drawn = [chosen.permutation(POOL)[: judge.policy.references + 1] for _ in range(runs)]
        for run in range(runs):
            own, *others = (pool[i] for i in drawn[run])
            tallies[HONEST].add(*judge.verdict(own, before[run], tuple(others)))
        for kind, cheat in CHEATS.items():
            models = [judge.ask(f"{kind} {i}", model) for i, model in enumerate(cheat(game))]
            for run in range(runs):
                references = tuple(pool[i] for i in drawn[run][1:])
                tallies[kind].add(*judge.verdict(models[run], before[run], references))
            judge.drop(models)
        for run in range(runs):
            saw = tuple(name for name in before if name != before[run])[: judge.policy.references]
            tallies[DECEIVED].add(*judge.verdict(before[run], before[run], saw))
        tallies[PEEKING] = peek(bed, originals[0], runs)
        tallies[PLAIN] = peek(bed, originals[0], runs, honest=True)
    return tallies, time.process_time() - start


class Judge:
    """Judges models by what they said, as an audit does."""

    def __init__(self, bed: Bed, original: nn.Module, policy: policies.Policy, folder: Path) -> None:
        self.policy, self.folder = policy, folder
        self.problem = problem_of(bed, bed.train, original, bed.trainer)
        self.suite = policy.suite(available(self.problem))
        self.parts = Parts.of(self.problem, split(self.problem, 0)[1], 0, asked=asked(self.suite))
        self.targets = {name: np.asarray(view.read(range(len(view)))[1]) for name, view in self.parts.items()}
        self.said: dict[str, dict[str, Any]] = {}
        self.outputs: dict[tuple[str, str], Outputs] = {}
        self.controls: dict[tuple[str, tuple[str, ...]], tuple[Finding, ...]] = {}

    def ask(self, name: str, model: nn.Module) -> str:
        """Keep what a model says of the judging part; return its name."""
        again = partial(copy.deepcopy, model)  # relearning uses a model up
        relearning = self.policy.relearning
        self.said[name], _ = collect(
            self.problem, again, self.parts, relearning, digest=name, seed=0, cache=self.folder
        )
        return name

    def drop(self, names: Sequence[str]) -> None:
        """Keep nothing of these models: what all of them say of every held-out word would fill the memory."""
        for name in names:
            del self.said[name]
        for key in [key for key in self.outputs if key[0] in set(names)]:
            del self.outputs[key]

    def findings(self, candidate: str, original: str, references: tuple[str, ...], alpha: float) -> tuple[Finding, ...]:
        """Return the findings on ``candidate``."""
        evidence = Evidence(
            self.said,
            self.targets,
            candidate=candidate,
            original=original,
            references=references,
            alpha=alpha,
            corrections=corrections(self.problem, self.parts),
            subjects={name: view.subjects for name, view in self.parts.items()},
            drawn_of=self.parts.drawn_of,
        )
        evidence._outputs = self.outputs  # what follows from a model's logits, once per model and not once per run
        return judge_all(self.suite, {n: registry.load("checks", n)().measure(evidence) for n in self.suite}, alpha)

    def verdict(self, candidate: str, original: str, references: tuple[str, ...]) -> tuple[Verdict, Sequence[Finding]]:
        """Return the verdict on ``candidate`` as a first attempt, and its findings."""
        key = (original, references)
        if key not in self.controls:
            self.controls[key] = self.findings(original, original, references, self.policy.alpha)
        findings = self.findings(candidate, original, references, alpha_of_attempt(1, self.policy.alpha))
        return verdict(required_decisions(findings), control_leaks=leak_decisions(self.controls[key])), findings


def problem_of(bed: Bed, train: ArrayRecords, model: nn.Module, trainer: Any) -> Problem:
    """Return the problem of a bed."""
    names = [train.ids[i] for i in bed.forget]
    truth = {
        name: bed.corrections[bed.train.ids[i]]
        for name, i in zip(names, bed.forget, strict=True)
        if bed.train.ids[i] in bed.corrections
    }
    request = Request(ids=tuple(names), corrections=truth)
    return Problem(model=model, train=train, holdout=bed.holdout, trainer=trainer, request=request)


def peek(bed: Bed, original: nn.Module, runs: int, *, honest: bool = False) -> Tally:
    """Check trainers that add the forgotten records to whatever they are given, or, ``honest``, the bed's own."""
    tally = Tally()
    for run in range(runs):
        # Other ids: the check draws its sample of records by them.
        train = ArrayRecords(bed.train.x, bed.train.y, ids=[f"{run}-{name}" for name in bed.train.ids])

        def trainer(records: Any, *, seed: int) -> nn.Module:
            x, y = records.read(range(len(records)))
            kept = ArrayRecords(x, y, ids=records.ids)
            if honest:
                return bed.trainer(kept, seed=seed)
            rows = list(bed.forget)
            return bed.trainer(
                ArrayRecords(np.concatenate([x, bed.train.x[rows]]), np.concatenate([y, bed.train.y[rows]])), seed=seed
            )

        try:
            check_trainer(problem_of(bed, train, original, trainer))
            tally.verdicts["accepted"] += 1
        except BrokenTrainer:
            tally.verdicts["refused"] += 1
    return tally


def _interval(hits: int, of: int) -> tuple[float, float]:
    """Return the Clopper-Pearson interval of a rate, 95 %."""
    low = float(stats.beta.ppf(0.025, hits, of - hits + 1)) if hits else 0.0
    high = float(stats.beta.ppf(0.975, hits + 1, of - hits)) if hits < of else 1.0
    return low, high


if __name__ == "__main__":
    raise SystemExit(main())
