"""How often is the demo's verdict right? A true retrain, doing nothing, and methods, as in the demo and otherwise.

N models are retrained once without the forget set. Each draw takes one of them as the candidate and K others as its
references, and judges it as `expunge demo` would. The same references judge the original (`noop`) and what methods made
of it from several seeds each. Draws share models, so the interval for the rate of true passes counts distinct
candidates, not draws.

    python benchmarks/demo_verdicts.py [--json] [--save FILE]               about 7 minutes on two cores
    python benchmarks/demo_verdicts.py --bed people [--json] [--save FILE]  the same of `expunge demo language`, longer
    python benchmarks/demo_verdicts.py --bed people --world 1               of other people than those margins come from
    python benchmarks/demo_verdicts.py --bed adapters --world 1             the same people, as adapters on a base
"""

from __future__ import annotations

import os
import statistics
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import _adapted
import numpy as np
from _table import Row, arguments, finish
from scipy import stats

from expunge.audit import policy as policies
from expunge.audit.judge import asked, judge_all, leak_decisions, required_decisions
from expunge.audit.run import corrections, texts
from expunge.core import registry
from expunge.core.report import Finding
from expunge.core.verdict import Decision, Verdict, alpha_of_attempt, verdict
from expunge.engine.available import available
from expunge.engine.collect import collect
from expunge.engine.context import Context
from expunge.engine.evidence import Evidence
from expunge.engine.parts import Parts
from expunge.engine.progress import Progress
from expunge.engine.references import seed_of
from expunge.engine.runtime import Workers, single_thread
from expunge.engine.split import split
from expunge.plan.auto import candidate
from expunge.plan.recipes import for_case
from expunge.testbeds import digits, people

SEED = int(os.environ.get("EXPUNGE_BENCHMARK_WORLD", "0"))  # where processes of their own find it, too


@dataclass(frozen=True)
class Bed:
    """What is drawn from: a demo, its policy, how many retrained models and draws, and (method, settings) by name.

    Settings that are None are those of the recipe, in steps that suit the training, as a plan takes them.
    """

    module: Any
    policy: str
    retrains: int
    draws: int
    seeds: int
    methods: dict[str, tuple[str, dict[str, Any] | None]]
    cheats: bool
    """Whether none of the methods is known to come near a retraining."""


BEDS = {
    "digits": Bed(
        module=digits,
        policy="standard",
        retrains=60,
        draws=200,
        seeds=10,
        methods={
            "one epoch of finetune": ("finetune", {**digits.CONFIGS["finetune"], "epochs": 1}),
            "the demo's finetune": ("finetune", dict(digits.CONFIGS["finetune"])),
        },
        cheats=True,
    ),
    "people": Bed(
        module=people,
        policy="language",
        retrains=30,
        draws=60,
        seeds=2,
        methods={
            "the demo's simnpo": ("simnpo", dict(people.CONFIGS["simnpo"])),
            **{f"the recipe of {name}": (name, dict(recipe.config)) for name, recipe in for_case("texts").items()},
        },
        cheats=False,
    ),
    "adapters": Bed(
        module=_adapted,
        policy="language",
        retrains=18,
        draws=60,
        seeds=3,
        methods={"WGA": ("wga", None), "NPO": ("npo", None)},
        cheats=False,
    ),
}
BED = BEDS[os.environ.get("EXPUNGE_BENCHMARK_BED", "digits")]  # where processes of their own find it, too
POLICY = policies.load(BED.policy)


def retrained(problem: Any, seed: int, cache: str) -> tuple[str, dict[str, Any]]:
    """Train on the retain set and return what the model says about the judging part."""
    return said_by(problem, problem.trainer(problem.retain_view, seed=seed), cache)


def made(problem: Any, name: str, seed: int, cache: str) -> tuple[str, dict[str, Any], float]:
    """Return what a method makes of the original, what that says, and the work as a share of one retraining."""
    method, settings = BED.methods[name]
    settings = candidate(problem, "texts", method, {}).base if settings is None else settings
    run = Context(problem=problem, seed=seed, label="", choosing=split(problem, SEED)[0], choosing_models=list)
    outcome = registry.load("methods", method)(settings).unlearn(problem, run)
    whole = registry.load("methods", "retrain")().cost(problem)
    return *said_by(problem, outcome.model, cache), outcome.cost.share_of(whole)


def said_by(problem: Any, model: Any, cache: str) -> tuple[str, dict[str, Any]]:
    """Return (model digest, outputs on the judging part)."""
    digest = problem.source.digest(model)
    parts = parts_of(problem)
    arrays, _ = collect(problem, lambda: model, parts, POLICY.relearning, digest=digest, seed=SEED, cache=Path(cache))
    return digest, arrays


def parts_of(problem: Any) -> Parts:
    """Return the judging part, and what the policy asks for beside it."""
    return Parts.of(problem, split(problem, SEED)[1], SEED, asked=asked(POLICY.suite(available(problem))))


class Judge:
    """Judges models by what they said, as an audit does."""

    def __init__(self, problem: Any, said: dict[str, dict[str, Any]], original: str) -> None:
        self.parts = parts_of(problem)
        self.targets = {name: np.asarray(view.read(range(len(view)))[1]) for name, view in self.parts.items()}
        self.truth = corrections(problem, self.parts)
        self.suite = POLICY.suite(available(problem))
        self.said, self.original = said, original
        self.outputs: dict[tuple[str, str], Any] = {}
        self.controls: dict[tuple[str, ...], tuple[Finding, ...]] = {}

    def findings(self, candidate: str, references: tuple[str, ...], alpha: float) -> tuple[Finding, ...]:
        """Return the findings on ``candidate``."""
        evidence = Evidence(
            self.said,
            self.targets,
            candidate=candidate,
            original=self.original,
            references=references,
            alpha=alpha,
            corrections=self.truth,
            subjects={name: view.subjects for name, view in self.parts.items()},
            texts=texts(self.parts),
            owners=self.parts.owners,
            asked=self.parts.asked.chosen,
            drawn_of=self.parts.drawn_of,
        )
        evidence._outputs = self.outputs  # what follows from a model's answers, once per model and not once per draw
        return judge_all(self.suite, {n: registry.load("checks", n)().measure(evidence) for n in self.suite}, alpha)

    def verdict(self, candidate: str, references: tuple[str, ...], attempt: int) -> tuple[Verdict, list[str]]:
        """Return the verdict on ``candidate`` as attempt ``attempt``, and the required checks that it did not pass."""
        if references not in self.controls:
            self.controls[references] = self.findings(self.original, references, POLICY.alpha)
        findings = self.findings(candidate, references, alpha_of_attempt(attempt, POLICY.alpha))
        said = verdict(required_decisions(findings), control_leaks=leak_decisions(self.controls[references]))
        return said, [f.check for f in findings if f.required and f.decision is not Decision.PASS]


def main() -> None:
    """Run the benchmark."""
    parser = arguments(__doc__)
    parser.add_argument("--bed", choices=BEDS, default="digits")
    parser.add_argument("--world", type=int, default=0, help="seed of records and models; the demos' own is 0")
    options = parser.parse_args()
    os.environ["EXPUNGE_BENCHMARK_BED"], os.environ["EXPUNGE_BENCHMARK_WORLD"] = options.bed, str(options.world)
    global BED, POLICY, SEED  # what other processes read from the environment
    BED, SEED = BEDS[options.bed], options.world
    POLICY = policies.load(BED.policy)
    single_thread()
    with tempfile.TemporaryDirectory() as folder:
        problem = BED.module.prepare(Path(folder) / "demo", SEED, Progress())
        workers = Workers(problem)
        try:
            seeds = [seed_of(SEED, "benchmark", index) for index in range(BED.retrains)]
            retrains = [r for _, r in workers.map("demo_verdicts:retrained", [(s, folder) for s in sorted(seeds)])]
            by_name = {
                name: [r for _, r in workers.map("demo_verdicts:made", [(name, s, folder) for s in range(BED.seeds)])]
                for name in BED.methods
            }
        finally:
            workers.close()
        original, arrays = said_by(problem, problem.source.open(), folder)
        # In an order of their own: which worker finished first must not decide a draw.
        works = {name: [share for *_, share in models] for name, models in by_name.items()}
        results = [*retrains, *((digest, found) for models in by_name.values() for digest, found, _ in models)]
        said = {original: arrays, **dict(sorted(results, key=lambda each: each[0]))}
        bad = {"noop": [original], **{name: sorted(d for d, *_ in models) for name, models in by_name.items()}}
        rows, more = judge(problem, said, original, sorted(d for d, _ in retrains), bad)
        more["cost"] = {name: statistics.fmean(shares) for name, shares in works.items()}
    finish(rows, options, references=POLICY.references, policy=POLICY.digest, world=SEED, **more)
    if not options.json:
        show_margins(more["margins"])


def judge(
    problem: Any, said: dict[str, Any], original: str, retrains: list[str], bad: dict[str, list[str]]
) -> tuple[list[Row], dict[str, Any]]:
    """Return the rows, and beside them margins and spread by check, and how often which check was not passed."""
    judge, draw = Judge(problem, said, original), np.random.default_rng(SEED)
    first: dict[str, list[bool]] = {}
    third: dict[str, list[bool]] = {}
    erased, verdicts, of_model = dict.fromkeys(bad, 0), dict[str, Counter[str]](), dict[str, dict[str, Counter[str]]]()
    stopped: dict[str, Counter[str]] = {}

    def judged(kind: str, model: str, references: tuple[str, ...], attempt: int = 1) -> bool:
        outcome, missed = judge.verdict(model, references, attempt)
        if attempt == 1:
            verdicts.setdefault(kind, Counter())[outcome.value] += 1
            of_model.setdefault(kind, {}).setdefault(model, Counter())[outcome.value] += 1
            stopped.setdefault(kind, Counter()).update(missed)
        return outcome is Verdict.ERASED

    for index in range(BED.draws):
        chosen = draw.choice(len(retrains), size=POLICY.references + 1, replace=False)
        candidate, references = retrains[chosen[0]], tuple(retrains[i] for i in chosen[1:])
        first.setdefault(candidate, []).append(judged("true retrain", candidate, references))
        third.setdefault(candidate, []).append(judged("true retrain", candidate, references, attempt=3))
        for name, models in bad.items():
            erased[name] += judged(name, models[index % len(models)], references)
    candidates = len(first)
    against = f"{POLICY.references} references"
    rows = [
        _rate("true retrain called erased, first attempt", _mean(first), None, BED.draws, against),
        _rate("  lower 95% bound, clustered by model", _lower(first), 0.90, candidates, against),
        _rate("true retrain called erased, third attempt", _mean(third), None, BED.draws, against),
        _rate("  lower 95% bound, clustered by model", _lower(third), 0.90, candidates, against),
        *(
            Row(
                name=f"{name} called erased",
                value=count / BED.draws,
                target=0 if BED.cheats or name == "noop" else None,
                better="lower",
                unit="rate",
                against=against,
                n=BED.draws,
            )
            for name, count in erased.items()
        ),
    ]
    return rows, {
        "margins": _margins(judge, retrains),
        "verdicts": {kind: dict(counts) for kind, counts in verdicts.items()},
        "by_model": {kind: [dict(counts) for counts in models.values()] for kind, models in of_model.items()},
        "not_passed": {kind: dict(counts) for kind, counts in stopped.items()},
    }


def _rate(name: str, value: float, target: float | None, n: int, against: str) -> Row:
    return Row(name=name, value=value, target=target, better="higher", unit="rate", against=against, n=n)


def _mean(by_model: dict[str, list[bool]]) -> float:
    return statistics.fmean(v for verdicts in by_model.values() for v in verdicts)


def _lower(by_model: dict[str, list[bool]]) -> float:
    """Return the one-sided 95% Clopper-Pearson bound with as many trials as distinct candidates."""
    models = len(by_model)
    passes = int(_mean(by_model) * models)
    return float(stats.beta.ppf(0.05, passes, models - passes + 1)) if passes else 0.0


def _margins(judge: Judge, retrains: list[str]) -> dict[str, dict[str, float | None]]:
    table = {}
    for finding in judge.findings(judge.original, tuple(retrains), POLICY.alpha):
        spread = statistics.stdev(finding.result.references)
        table[finding.check] = {
            "margin": finding.margin,
            "mean": statistics.fmean(finding.result.references),
            "seed_sd": spread,
            "margin_in_seed_sd": finding.margin / spread if spread else None,
            "original": finding.result.original,
        }
    return table


def show_margins(margins: dict[str, dict[str, float | None]]) -> None:
    """Print the margins in seed standard deviations."""
    print(f"\n{'check':22} {'margin':>7} {'retrained':>10} {'seed sd':>8} {'margin/sd':>10} {'original':>9}")
    for name, row in margins.items():
        ratio = "-" if row["margin_in_seed_sd"] is None else f"{row['margin_in_seed_sd']:.1f}"
        print(
            f"{name:22} {row['margin']:7.3f} {row['mean']:10.4f} {row['seed_sd']:8.4f} {ratio:>10} "
            f"{row['original']:9.4f}"
        )


if __name__ == "__main__":
    main()
