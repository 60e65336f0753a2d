"""Methods for language models side by side on TOFU: authors are forgotten by a small GPT that knows them by heart.

Everything is judged against models retrained without the forget set. Every method has a fifth of the work of one
retraining, the search for its learning rate included: as many trials as fit, chosen by records that nothing is judged
by. Every stage is kept in a directory (``--out``): a command that was interrupted goes on with the stage it was at, and
``--no-run`` writes down what is there.

On a device: 140 of the 200 authors are learnt by heart, all who are not held out, with all twenty questions, by a
network of 60 million numbers; rates of methods are lowered as that of its training is. Should the original not say
nearly all answers by heart (what is said of it once it is trained), ``--epochs`` and ``--lr`` are those of training.

    python benchmarks/tofu.py --out runs/tofu [--save FILE]        half an hour for each forget set on one quiet core
    python benchmarks/tofu.py --device cuda --out runs/tofu-large --save FILE      taken by itself where there is CUDA
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import json
import re
import shutil
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _device import clock, option
from _table import Row, arguments, finish
from _tofu import DATA, EACH, FORGET, LR, NETWORKS, Authors, Exam, numbers_of, said, trainer

from expunge import workflow
from expunge.audit import policy as policies
from expunge.core import registry
from expunge.core.check import NotMeasured
from expunge.core.errors import Diverged, InvalidProblem
from expunge.core.method import Cost
from expunge.core.problem import Problem
from expunge.core.report import Finding
from expunge.core.serial import canonical, plain
from expunge.core.storage import write_file, write_folder
from expunge.engine import manifests
from expunge.engine.context import Context
from expunge.engine.device import called, device_of, home, moving, placed
from expunge.engine.forgetting import AHEAD
from expunge.engine.references import seed_of
from expunge.engine.runtime import Here, hold_steady, seed_everything, single_thread
from expunge.engine.split import Part, split
from expunge.engine.training import Trainer
from expunge.models.huggingface import HuggingFaceModel
from expunge.numerics.truth_ratio import forget_quality
from expunge.plan import recipes
from expunge.plan.auto import AUTO, candidate
from expunge.plan.objective import Objective

BUDGET = 0.2
"""What a method may cost, its trials together, as a share of one retraining."""
SEARCH = 3.0
"""What `auto` may spend on its search, in retrainings; a run of what it finds costs ``BUDGET`` at the most."""
RATES = (6e-4, 2e-4, 2e-3)
"""Learning rates that are tried, in this order, as many as the budget holds."""
GENTLE = (2e-4, 6e-5, 6e-4)
"""Of methods that nothing holds back."""
LEAST, MOST = 3, 10
"""Epochs of a trial: where there are several rates, and at the most."""
_BY_STEPS = {"batch_size": 4}
_BESIDE = {"batch_size": 2, "beside": 3, "schedule": "cosine"}
"""Small steps, three retained records for each forgotten one, and a rate that falls to nothing."""
_REPAIRED = {"batch_size": 2, "beside": 1, "repairs": 0.6, "schedule": "cosine", "until": "guess"}
"""Small steps as well, one retained record for each forgotten one, and then three of five of all retained ones: push,
mend, and again. Two such rounds over forget05 are what a fifth of a retraining holds.

The weights of WGA and SimNPO were tried with this network by forgetting authors 1 to 10 and 11 to 20, who stay here, by
the objective of the library (``expunge.plan.objective``) and no retrained model; those of CE-U, SatImp and GradDiff lie
between such as were tried. All others have weights that suited a network a fifth as large, and a fifth of its rates.
"""


_RELEARNED = {**_REPAIRED, "batch_size": 1, "relearner": 19, "relearner_rate": 0.005}
"""The same with steps of single records, and away from where a relearner stands: tried as the weights above were, and
with an eye on how fast the pushed records came back."""
_PASS = {**_REPAIRED, "relearner_rate": 0.007}
"""Larger steps of a relearner that begins anew after two fifths of a pass, as it does where a search begins. Weights
were tried by forgetting authors 1 to 10 and 11 to 20 with all twenty questions, beside one retrained model of either,
with an eye on what came back and on membership.
"""


@dataclass(frozen=True)
class Entry:
    """A method, its settings but for rate and epochs, and the rates.

    ``NAME@recipe`` has those settings that are shipped, ``NAME@relearner`` such with a relearner as were tried with ten
    questions of each author, ``NAME@pass`` one that goes by the length of a pass, as were tried with all twenty.
    """

    name: str
    settings: Mapping[str, Any]
    rates: tuple[float, ...] = RATES

    @property
    def method(self) -> str:
        """The method's name."""
        return self.name.partition("@")[0]

    def on(self, problem: Problem) -> Entry:
        """Return the entry with what the recipe says on a problem, where that is what it has: as `auto` begins.

        Rates that were tried with the small network are lowered as that of the training is.
        """
        lower = problem.trainer.config.lr / LR["small"]  # type: ignore[union-attr]
        tried = replace(self, rates=tuple(rate * lower for rate in self.rates))
        if self.name.endswith("@pass"):
            steps = -(-len(problem.forget_view) // int(self.settings["batch_size"]))
            return replace(tried, settings={**self.settings, "relearner": max(2, round(AHEAD * steps))})
        if not self.name.endswith("@recipe"):
            return tried
        base = candidate(problem, recipes.case_of(problem), self.method, {}).base
        return replace(self, settings={k: v for k, v in base.items() if k != "epochs"}, rates=(float(str(base["lr"])),))

    def config(self, rate: float, epochs: int) -> dict[str, Any]:
        """Return its settings with a rate and a number of epochs."""
        if self.name == "tau":
            half = {"lr": rate, **_BY_STEPS}
            return {"settings": ({**half, "epochs": epochs}, {**half, "epochs": max(1, epochs // 4), "scale": 0.5})}
        return {**self.settings, "lr": rate, "epochs": epochs}


METHODS = (
    Entry("finetune", {"batch_size": 4, "schedule": "cosine"}, (1e-3, 2e-3, 5e-4)),
    Entry("neg_grad_plus", {"batch_size": 16}),
    Entry("gradient_ascent", {"batch_size": 4, "optimiser": "adamw", "weight_decay": 0.0}, GENTLE),
    Entry("grad_diff", {**_REPAIRED, "forget_weight": 0.15}),
    Entry("kl_min", {**_BESIDE, "forget_weight": 0.1}),
    Entry("npo", {**_BESIDE, "forget_weight": 0.05}),
    Entry("simnpo", {**_REPAIRED, "forget_weight": 0.3, "beta": 3.5, "delta": 3.0}),
    Entry("undial", {**_BESIDE, "beta": 30.0}),
    Entry("wga", {**_REPAIRED, "forget_weight": 0.8, "beta": 1.0}),
    Entry("satimp", {**_REPAIRED, "forget_weight": 1.3, "known": 0.5}),
    Entry("ce_u", {**_REPAIRED, "forget_weight": 0.35, "skip": 0}),
    Entry("pdu", {**_BY_STEPS, "retain_weight": 1.0, "dual_rate": 1.0, "dual_after": 1}),
    Entry("rmu", {**_BY_STEPS, "block": 0, "c": 20.0, "alpha": 10.0}),
    Entry("sga", _BY_STEPS, GENTLE),
    Entry("task_arithmetic", {**_BY_STEPS, "scale": 0.5}, GENTLE),
    Entry("tau", {}, GENTLE),
    Entry("idk_dpo", _BESIDE),
    Entry("simnpo@relearner", {**_RELEARNED, "forget_weight": 0.8, "beta": 1.0, "delta": 3.7}, (5e-4,)),
    Entry("wga@relearner", {**_RELEARNED, "forget_weight": 1.6, "beta": 0.35}, (5e-4,)),
    Entry("wga@pass", {**_PASS, "forget_weight": 2.4, "beta": 0.32}, (8e-4,)),
    *(Entry(f"{name}@recipe", {}) for name in ("wga", "npo", "grad_diff", "simnpo", "undial")),
)
CONTROLS = ("noop", "retrain")
"""The original, and one retraining more: what the audit calls the worst and the best there is."""


def main() -> int:
    """Run what is missing, print the table; 0 where a method erases forget05 with every seed."""
    parser = arguments(__doc__)
    where = option(parser)
    there = where.type != "cpu"
    parser.add_argument("--network", choices=NETWORKS, default="large" if there else "small")
    parser.add_argument("--authors", choices=("some", "all"), default="all" if there else "some")
    parser.add_argument("--epochs", type=int, default=14, help="of the training")
    parser.add_argument("--lr", type=float, default=None, help="of the training; by default what the network takes")
    parser.add_argument("--out", type=Path, default=Path("runs/tofu"))
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--forget", nargs="+", choices=FORGET, default=["forget05", "forget01", "forget10"])
    parser.add_argument("--methods", nargs="+", default=[*CONTROLS, *(entry.name for entry in METHODS), AUTO])
    parser.add_argument("--references", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--questions", type=int, default=EACH if there else 10, help="of each author, at most 20")
    parser.add_argument("--policy", default="language")
    parser.add_argument("--no-run", action="store_true", help="only write down what is done")
    parser.add_argument("--make", choices=FORGET, help="only train and forget, of this forget set; judge nothing")
    given = parser.parse_args()
    single_thread()
    if there:
        hold_steady()
    same = {"questions": given.questions, "references": given.references, "policy": given.policy, **elsewhere(given)}
    if once(given.out / "settings.json", lambda: same) != same:
        raise SystemExit(f"{given.out} holds a benchmark with other settings: choose another --out")
    if given.make:
        Making(given).everything(given.make)
        return 0
    site = Site(given)
    for name in given.forget if not given.no_run else ():
        _make_elsewhere(name)
        Judging(given).everything(name, lambda: report(site))
    return report(site)


def elsewhere(given: Namespace) -> dict[str, Any]:
    """Return how a benchmark differs from that of the processor, whose files do not say it: nothing of that one."""
    how = {"network": given.network, "authors": given.authors, "epochs": given.epochs, "lr": given.lr}
    plainly = {"network": "small", "authors": "some", "epochs": 14, "lr": None}
    where = device_of(given.device)
    return {} if (how, where.type) == (plainly, "cpu") else {**how, "device": called(where)}


def _make_elsewhere(name: str) -> None:
    """Train and forget in a process of its own: the one that judges has made none of the models."""
    subprocess.run([sys.executable, __file__, *sys.argv[1:], "--make", name], check=True, stdout=sys.stderr)


def say(text: str) -> None:
    """Print a line of progress."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


# --- where everything lies ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Site:
    """The directory of a benchmark: what is in it is made once, whole, and read afterwards."""

    given: Namespace

    @cached_property
    def authors(self) -> Authors:
        """The data."""
        return Authors(self.given.data, self.given.questions, self.given.authors == "all")

    @cached_property
    def where(self) -> torch.device:
        """The device."""
        return device_of(self.given.device)

    @cached_property
    def trainer(self) -> Trainer:
        """How originals and references are trained."""
        return trainer(self.given.network, epochs=self.given.epochs, lr=self.given.lr)

    @property
    def policy(self) -> Path:
        """Return the file of the rules of judgement, as they were when the first model was judged.

        Without the checks that a policy only shows: some of them ask thousands of questions of every model, and none
        has a part in a verdict.
        """
        place, name = self.given.out / "policy.toml", self.given.policy
        if not place.exists():
            ours = resources.files("expunge.audit") / f"{name}.toml"
            text = ours.read_text() if name in policies.names() else Path(name).read_text()
            sections = re.split(r"^(?=\[)", text, flags=re.MULTILINE)
            write_file(place, "".join(one for one in sections if "required = false" not in one).encode())
        return place

    def original(self, seed: int) -> Path:
        """Return the folder of the original; all forget sets share it."""
        return self.given.out / f"original-{seed}"

    def reference(self, name: str, index: int) -> Path:
        """Return the folder of a reference; all seeds share it."""
        return self.given.out / name / f"reference-{index}"

    def references(self, name: str) -> list[Path]:
        """Return the folders of all references."""
        return [self.reference(name, index) for index in range(self.given.references)]

    def cell(self, name: str, method: str, seed: int) -> Path:
        """Return the folder of what a method made."""
        return self.given.out / name / f"seed-{seed}" / method

    def base(self, name: str, seed: int) -> Path:
        """Return the run directory that holds the audit of the original."""
        return self.given.out / name / f"seed-{seed}" / "base"

    def exam(self, name: str, seed: int) -> Exam:
        """Return what is asked of every model."""
        problem = self.authors.problem(name, self.original(seed), trainer=None)
        part = split(problem, seed)[1]
        assert part.holdout is not None
        return Exam(self.authors, problem, part.forget, part.holdout)


def once(file: Path, make: Callable[[], Any]) -> Any:
    """Return what is kept in a JSON file; made now unless it is there."""
    if not file.exists():
        write_file(file, canonical(make()) + b"\n")
    return json.loads(file.read_text())


# --- training and forgetting ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trying:
    """A method to be tried on a problem, as methods see it, and what its trials are chosen by."""

    entry: Entry
    problem: Problem
    choosing: Part
    objective: Objective
    whole: Cost
    seed: int


class Making(Site):
    """Trains originals and references, and runs methods."""

    def everything(self, name: str) -> None:
        """Make every model of a forget set that is missing."""
        for seed in range(self.given.seeds):
            self._original(seed)
        for index in range(self.given.references + ("retrain" in self.given.methods)):
            self._reference(name, index)
        for seed in range(self.given.seeds):
            problem = placed(self.authors.problem(name, self.original(seed), trainer=self.trainer), self.where)
            for entry in METHODS:
                if entry.name in self.given.methods:
                    once(
                        self.cell(name, entry.name, seed) / "made.json",
                        lambda e=entry, s=seed, p=problem: self._made(name, e, s, p),
                    )

    def _original(self, seed: int) -> None:
        if not self.original(seed).exists():
            say(f"train original {seed}")
            records = self.authors.asked(self.authors.trained)
            model = moving(self.trainer, self.where)(records, seed=seed_of(seed, "tofu original", 0))
            self._keep(self.original(seed), model)
            problem = placed(self.authors.problem("forget05", self.original(seed), trainer=None), self.where)
            right = said(problem.source.open(), records, problem).correct.mean()
            say(f"original {seed} says {right:.1%} of the answers' tokens right")

    def _keep(self, folder: Path, model: Any) -> None:
        def write(aside: Path) -> None:
            self.authors.tokenizer.save_pretrained(aside)
            with home(model):
                HuggingFaceModel.adopt(model).save(model, aside)

        write_folder(folder, write)

    def _reference(self, name: str, index: int) -> None:
        if self.reference(name, index).exists():
            return
        say(f"{name}: train reference {index}")
        problem = placed(self.authors.problem(name, self.original(0), trainer=self.trainer), self.where)
        model = moving(self.trainer, self.where)(problem.retain_view, seed=seed_of(0, "tofu judging", index))

        def write(folder: Path) -> None:
            problem.source.save(model, folder)
            manifests.write(folder, problem.retain_view)

        write_folder(self.reference(name, index), write)

    def _made(self, name: str, entry: Entry, seed: int, problem: Problem) -> dict[str, Any]:
        """Run the trials of a method, keep the model of the best; return what was found."""
        whole = Cost(trained=self.trainer.config.epochs * len(problem.retain_view))
        choosing = split(problem, seed)[0]
        assert choosing.holdout is not None
        visible = replace(problem, holdout=choosing.holdout)
        objective = Objective(visible, choosing)
        entry = entry.on(visible)
        trying = Trying(entry, visible, choosing, objective, whole, seed)
        planned = plan(entry, problem, whole, look=objective.cost)
        if not planned:
            return {"because": f"one epoch is more than {BUDGET:.0%} of a retraining"}
        folder = self.cell(name, entry.name, seed)
        trials = [
            once(
                folder / f"trial-{number}.json",
                lambda n=number, c=config: self._trial(trying, folder / f"trial-{n}", c, alone=len(planned) == 1),
            )
            for number, config in enumerate(planned)
        ]
        made = [trial for trial in trials if trial["value"] is not None]
        share = sum(trial["share"] for trial in trials)
        if not made:
            return {"because": trials[0]["stopped"], "share": share, "trials": trials}
        best = min(made, key=lambda trial: (not trial["allowed"], trial["value"]))
        return {"model": f"trial-{trials.index(best)}", "share": share, "trials": trials}

    def _trial(self, of: Trying, folder: Path, config: dict[str, Any], *, alone: bool) -> dict[str, Any]:
        method = registry.load("methods", of.entry.method)(config)
        told = {"config": plain(method.config), "value": None}
        run = Context(
            problem=of.problem,
            seed=seed_of(of.seed, f"tofu {of.entry.name}", 0),
            label=of.entry.name,
            choosing=of.choosing,
            choosing_models=list,
        )
        seed_everything(run.seed)
        start = clock(self.where)
        try:
            outcome = method.unlearn(of.problem, run)
        except (Diverged, InvalidProblem) as error:
            say(f"{folder.parent.name} {folder.name}: {error.obstacles[0].what}")
            return {**told, "share": method.cost(of.problem).share_of(of.whole), "stopped": error.obstacles[0].what}
        if not folder.exists():
            write_folder(folder, lambda aside: of.problem.source.save(outcome.model, aside))
        look = of.objective.look(outcome.model)
        # Where nothing is to be chosen from, a look is no part of the method: it only tells how good the trial was.
        share = (outcome.cost + (Cost() if alone else of.objective.cost)).share_of(of.whole)
        seconds = clock(self.where) - start
        say(f"{folder.parent.name} {folder.name}: {look.value:.3f} for {share:.1%}, {outcome.stopped}")
        return {
            **told,
            **plain(look),
            "value": look.value,
            "allowed": of.objective.allows(look),
            "share": share,
            "stopped": outcome.stopped,
            "seconds": seconds,
        }


def plan(entry: Entry, problem: Problem, whole: Cost, *, look: Cost) -> list[dict[str, Any]]:
    """Return the settings of the trials: as many rates as the budget holds with ``LEAST`` epochs each, else the first.

    Each of several costs a ``look`` at what it made. Where not even one epoch of it fits, less is mended after it; and
    nothing where that does not fit either.
    """
    kind = registry.load("methods", entry.method)
    for count in range(len(entry.rates), 0, -1):
        for epochs in range(MOST, (LEAST if count > 1 else 1) - 1, -1):
            cost = kind(entry.config(entry.rates[0], epochs)).cost(problem) + (look if count > 1 else Cost())
            if count * cost.share_of(whole) <= BUDGET:
                return [entry.config(rate, epochs) for rate in entry.rates[:count]]
    mended = entry.settings.get("repairs", 0.0)
    if not mended:
        return []
    less = {**entry.settings, "repairs": max(0.0, round(mended - 0.2, 1))}
    return plan(replace(entry, settings=less), problem, whole, look=look)


# --- judging --------------------------------------------------------------------------------------------------------


class Judging(Site):
    """Audits models, and measures them."""

    def everything(self, name: str, after: Callable[[], Any]) -> None:
        """Judge every model of a forget set that is not judged yet; ``after`` each of them."""
        for seed in range(self.given.seeds):
            exam = self.exam(name, seed)
            for index, folder in enumerate(self.references(name)):
                self._figures(exam, folder, self.base(name, seed).parent / f"reference-{index}.json")
            self._base(exam, name, seed)
            for method in self.given.methods:
                cell = self.cell(name, method, seed)
                if method == AUTO:
                    self._tune(exam, name, cell, seed)
                model = self.model(name, method, seed)
                if model is None:
                    continue
                self._figures(exam, model, cell / "figures.json")
                if not (cell / "judged.json").exists():
                    say(f"{name}: judge {method}")
                    write_file(cell / "judged.json", canonical(self._judged(exam, name, cell, model, seed)) + b"\n")
                    after()

    def _tune(self, exam: Exam, name: str, cell: Path, seed: int) -> None:
        """Let ``auto`` choose a method and its settings; what its search cost is counted with the run."""

        def make() -> dict[str, Any]:
            say(f"{name}: auto")
            whole = SEARCH + BUDGET
            result = workflow.erase(
                replace(exam.problem, trainer=self.trainer),
                out=cell / "search",
                methods=(AUTO,),
                budget=whole,
                tuning=SEARCH / whole,
                escalate=False,
                **self._settings(name, seed),
            )
            assert result.report is not None
            if not result.report.attempts:
                return {"because": "no trial of the search is allowed"}
            attempt, made = result.report.attempts[-1], cell / "trial-0"
            assert attempt.share is not None
            source = exam.problem.source
            search = cell / "search"
            shipped = result.report.shipped is not None  # what is erased moved to where it is delivered
            model = source.reopen(search / "model" if shipped else search / "artefacts" / f"attempt-{attempt.number}")
            write_folder(made, lambda aside: source.save(model, aside))
            told = {"method": attempt.method, "config": dict(attempt.config), "share": attempt.share}
            return {
                "model": made.name,
                "share": attempt.share + sum(each.share for each in result.report.tuned),
                "trials": [told],
            }

        once(cell / "made.json", make)

    def model(self, name: str, method: str, seed: int) -> Path | None:
        """Return the folder of what a method made; None where it made nothing."""
        if method == "noop":
            return self.original(seed)
        if method == "retrain":
            return self.reference(name, self.given.references)
        cell = self.cell(name, method, seed)
        made = json.loads((cell / "made.json").read_text())
        return cell / made["model"] if "model" in made else None

    def _figures(self, exam: Exam, folder: Path, file: Path) -> None:
        def make() -> dict[str, Any]:
            problem = placed(exam.problem, self.where)
            figures, ratios = replace(exam, problem=problem).figures(problem.source.reopen(folder))
            return {"figures": figures, "ratios": ratios}

        once(file, make)

    def _settings(self, name: str, seed: int) -> dict[str, Any]:
        return {
            "seed": seed,
            "policy": self.policy,
            "references": self.given.references,
            "given_references": tuple(self.references(name)),
            "pool": Here,
            "device": str(self.where),
        }

    def _base(self, exam: Exam, name: str, seed: int) -> None:
        place = self.base(name, seed)
        if not (place / "done").exists():
            say(f"{name}: audit the original {seed}")
            workflow.prepare(exam.problem, out=place / "run", **self._settings(name, seed))
            write_file(place / "done", b"")

    def _judged(self, exam: Exam, name: str, cell: Path, model: Path, seed: int) -> dict[str, Any]:
        run = cell / "run"
        if not run.exists():
            left_out = shutil.ignore_patterns(".lock")
            write_folder(
                run,
                lambda aside: (
                    shutil.copytree(self.base(name, seed) / "run", aside, dirs_exist_ok=True, ignore=left_out) and None
                ),
            )
        result = workflow.audit(exam.problem, model=model, out=run, **self._settings(name, seed))
        assert result.report is not None
        audit = result.report.attempts[-1].audits[-1]
        failed = [f.check for f in audit.findings if f.required and f.decision.value == "fail"]
        open_ = [f.check for f in audit.findings if f.required and f.decision.value not in ("pass", "fail")]
        checks = {f.check: _told(f) for f in audit.findings}
        return {"verdict": audit.verdict.value, "failed": failed, "open": open_, "checks": checks}


def _told(finding: Finding) -> dict[str, Any]:
    """Return what a check found: value, mean of the references, difference, the chance that a true retrain passes."""
    result = finding.result
    if isinstance(result, NotMeasured):
        return {"decision": finding.decision.value, "because": result.because}
    assert finding.narrow is not None
    return {
        "decision": finding.decision.value,
        "value": result.value,
        "references": float(np.mean(result.references)),
        "difference": [finding.narrow.low, finding.narrow.high],
        "margin": finding.margin,
        "chance": finding.chance,
    }


# --- the table --------------------------------------------------------------------------------------------------------


def lines(site: Site, name: str) -> Iterator[dict[str, Any]]:
    """Yield one object for every model of a forget set that is judged; the mean of the references comes first."""
    for seed in range(site.given.seeds):
        place = site.base(name, seed).parent
        files = [place / f"reference-{index}.json" for index in range(site.given.references)]
        if not all(file.exists() for file in files):
            continue
        references = [json.loads(file.read_text()) for file in files]
        ratios = [np.array(one["ratios"]) for one in references]
        alone = [_quality(own, [r for r in ratios if r is not own]) for own in ratios]
        yield {
            "forget": name,
            "seed": seed,
            "method": "references",
            "verdict": "yardstick",
            "share": None,
            "figures": _mean([{**one["figures"], **q} for one, q in zip(references, alone, strict=True)], np.mean),
            "spread": _mean([{**one["figures"], **q} for one, q in zip(references, alone, strict=True)], _deviation),
        }
        for method in site.given.methods:
            cell = site.cell(name, method, seed)
            made = _read(cell / "made.json")
            told = {"forget": name, "seed": seed, "method": method}
            if made is not None and "model" not in made:
                yield {**told, "verdict": "no model", "because": made["because"], "share": made.get("share")}
            found, judged = _read(cell / "figures.json"), _read(cell / "judged.json")
            if found is None or judged is None:
                continue
            share = {"noop": 0.0, "retrain": 1.0}.get(method, 0.0) if made is None else made["share"]
            chosen = made["trials"][int(made["model"].removeprefix("trial-"))] if made else None
            yield {
                **told,
                **judged,
                "share": share,
                "figures": {**found["figures"], **_quality(np.array(found["ratios"]), ratios)},
                **({"trials": len(made["trials"]), "chosen": chosen} if made else {}),
            }


def _quality(ratio: np.ndarray, references: list[np.ndarray]) -> dict[str, float]:
    """Return the forget quality against the reference in the middle, by the distance from it."""
    found = [forget_quality(ratio, other, seed=0) for other in references]
    middle = sorted(found, key=lambda one: one.distance)[len(found) // 2]
    return {"distance": middle.distance, "distance, low": middle.low, "distance, high": middle.high, "p": middle.p}


def _mean(rows: list[dict[str, float]], of: Callable[[list[float]], Any]) -> dict[str, float]:
    return {key: float(of([row[key] for row in rows])) for key in rows[0]}


def _deviation(values: list[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def _read(file: Path) -> Any:
    return json.loads(file.read_text()) if file.exists() else None


def report(site: Site) -> int:
    """Print and save what is done; 0 where a cheap method erases forget05 with every seed."""
    given = site.given
    table = [line for name in given.forget for line in lines(site, name)]
    rows = [row for name in given.forget for row in _summary(name, [t for t in table if t["forget"] == name], given)]
    missing = [
        f"{name} {method} {seed}"
        for name in given.forget
        for method in given.methods
        for seed in range(given.seeds)
        if not any((t["forget"], t["method"], t["seed"]) == (name, method, seed) for t in table)
    ]
    if not rows:
        say("nothing is judged yet")
        return 1
    authors, policy = site.authors, policies.load(site.policy)
    finish(
        rows,
        given,
        table=table,
        missing=missing,
        references=given.references,
        seeds=given.seeds,
        policy={"name": policy.name, "digest": policy.digest, "checks": list(policy.checks)},
        questions=given.questions,
        records=len(authors.trained),
        epochs=given.epochs,
        numbers=numbers_of(NETWORKS[given.network]()),
        shares={name: len(authors.forgotten(name)) / len(authors.trained) for name in given.forget},
        **({"how": how} if (how := elsewhere(given)) else {}),
    )
    return 0 if all(row.met != "MISSED" for row in rows) else 1


def _summary(name: str, table: list[dict[str, Any]], given: Namespace) -> Iterator[Row]:
    by = {m: [t for t in table if t["method"] == m] for m in given.methods if m not in CONTROLS}
    # Of a method that fewer seeds were run with, those that there are; what is missing is named beside the table.
    done = {m: found for m, found in by.items() if found and all((t["share"] or 0.0) <= BUDGET for t in found)}
    if not done:
        return

    def row(what: str, value: float, unit: str, target: float | None = None, better: str = "higher") -> Row:
        against = "models retrained without the forget set"
        return Row(
            name=f"{name}: {what}", value=value, target=target, better=better, unit=unit, against=against, n=len(done)
        )

    whole = [found for found in done.values() if len(found) == given.seeds]
    erased = sum(all(t["verdict"] == "erased" for t in found) for found in whole)
    target = 1 if name == "forget05" else None
    yield row("methods of at most 20% that erase with every seed", erased, "methods", target)
    # Where there are few texts a check can be open for any model; what is open for a retraining tells of no method.
    beyond = {check for t in table if t["method"] == "retrain" for check in (*t["failed"], *t["open"])}
    passing = sum(
        all("failed" in t and beyond.issuperset((*t["failed"], *t["open"])) for t in found) for found in done.values()
    )
    yield row("methods of at most 20% that pass all that one more retraining passes", passing, "methods")
    wrong = [len(t["failed"]) for found in done.values() for t in found if "failed" in t]
    if wrong:
        yield row("fewest checks that a method fails", min(wrong), "checks", better="lower")


if __name__ == "__main__":
    raise SystemExit(main())
