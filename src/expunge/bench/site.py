"""The results directory of a benchmark, and what its cells share: scenarios, originals, references, control audits.

    bench.json                      what is measured; edition.json: in which edition of the measures
    scores/*.npy                    numbers per record that scenarios choose by
    originals/<key>/                one model per (training records, seed)
    references/<scenario>/          a run directory; given/ holds each model with its manifest, heard/ what it said
    bases/<scenario>/seed-S/        a run directory up to the audit of the original; yardstick.json
    cells/<scenario>/<method>/seed-S/run/   a copy of the base that one method was added to; cell.json beside it
    quality/<scenario>/<method>.json        forgetting quality over many models

Everything is made once, whole, and read afterwards, so that an interrupted command goes on where it stopped.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expunge import workflow
from expunge.audit import policy as policies
from expunge.bench import data, measures, scenarios
from expunge.bench.cell import Yardstick
from expunge.bench.entries import Entry
from expunge.bench.scenarios import Draw
from expunge.core.digest import combine, sha256
from expunge.core.errors import ForeignRun, UsageError
from expunge.core.problem import Origin, Problem
from expunge.core.records import Records
from expunge.core.report import Audit
from expunge.core.request import Request
from expunge.core.serial import build, canonical, plain
from expunge.core.storage import write_file, write_folder
from expunge.engine import manifests, references
from expunge.engine.progress import Progress
from expunge.engine.references import TrainerFacts
from expunge.engine.runs import RunDirectory
from expunge.engine.runtime import Here, Workers

EDITION_FILE = "edition.json"
DRAWN = 0
"""Seed of the scenarios: all seeds of a benchmark forget the same records, so that they share references."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What a benchmark measures; the content of ``bench.json``.

    Attributes:
        data, network, path, records, epochs: see :func:`expunge.bench.data.bed`.
        scenarios: names of :data:`~expunge.bench.scenarios.SCENARIOS`.
        methods: names of methods; ``NAME@recipe`` is one with the settings of the recipe that is shipped for the case,
            ``auto`` one that is chosen and tuned in its cell.
        configs: settings by method, in the place of their defaults, and of a recipe's.
        budget: what ``auto`` may spend, as a share of one retraining; ``tuning`` is the share of it for tuning.
        floor: the lowest accuracy of what ``auto`` may choose, as in :class:`~expunge.workflow.Settings`.
        seeds: how many: each is an original of its own and a run of the method of its own.
        policy: rules of judgement; by default those of each scenario, ``standard`` for most.
        references: retrained models that judge; the policy's number by default.
        models: unlearned models for the forgetting quality of the competition, 16 or more and at most as many as there
            are references; 0: it is not measured.
    """

    data: str = "digits"
    network: str = ""
    path: str = ""
    records: int | None = None
    epochs: int | None = None
    scenarios: tuple[str, ...] = ("random_10", "class", "wrong_labels")
    methods: tuple[str, ...] = ("noop", "finetune", "neg_grad_plus", "retrain")
    configs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    seeds: int = 3
    policy: str = ""
    references: int | None = None
    models: int = 0
    budget: float = 1.0
    tuning: float = 0.5
    floor: float | None = field(default=None, metadata={"later": True})

    def __post_init__(self) -> None:
        """Refuse what no cell could be made of."""
        unknown = [name for name in self.scenarios if name not in scenarios.SCENARIOS]
        if unknown or not self.scenarios:
            raise UsageError(
                f"no scenario called {unknown[0]!r}" if unknown else "no scenario is named",
                where="scenarios",
                found=", ".join(unknown) or "none",
                expected=f"some of {', '.join(scenarios.SCENARIOS)}",
                fix="expunge bench list shows what each is",
            )
        if not self.methods or self.seeds < 1:
            raise UsageError(
                "there is nothing to measure",
                where="bench",
                found=f"{len(self.methods)} methods, {self.seeds} seeds",
                expected="one of each or more",
                fix="name methods, and a number of seeds",
            )
        for name in (*(Entry.of(label).method for label in self.methods), *self.configs):
            given = {name: self.configs[name]} if name in self.configs else {}
            spend = {"budget": self.budget, "tuning": self.tuning, "floor": self.floor}
            workflow.Settings(methods=(name,), configs=given, **spend)
        if self.models and not 16 <= self.models <= self.judges:
            raise UsageError(
                "the forgetting quality cannot be measured with so many models",
                where="models",
                found=str(self.models),
                expected=f"16 to {self.judges}, the number of references",
                fix="raise the number of references, or leave the quality out (0)",
            )

    @property
    def judges(self) -> int:
        """How many references there are."""
        if self.references is not None:
            return self.references
        return max(policies.load(self.judged_by(scenario)).references for scenario in self.scenarios)

    def judged_by(self, scenario: str) -> str:
        """Return the policy of a scenario."""
        return self.policy or scenarios.SCENARIOS[scenario].policy


@dataclass(frozen=True)
class Site:
    """A results directory; what it holds is made when it is first asked for. Crosses to other processes."""

    bench: Bench
    folder: Path

    @classmethod
    def open(cls, folder: str | Path) -> Site:
        """Return the benchmark in a directory.

        Raises:
            UsageError: there is none.
        """
        file = Path(folder) / "bench.json"
        try:
            found = build(Bench, json.loads(file.read_text()), where="bench.json")
        except (OSError, ValueError) as error:
            raise UsageError(
                "no benchmark there",
                where=Path(folder).name,
                found="no bench.json that can be read",
                expected="a directory that `expunge bench run` wrote",
                fix="check the path",
            ) from error
        return cls(found, Path(folder))

    @classmethod
    def begin(cls, bench: Bench, folder: str | Path) -> Site:
        """Return the benchmark in a directory: a new one, or this one begun earlier.

        Raises:
            ForeignRun: the directory holds another benchmark, or other files.
            UsageError: the data, the network or a policy cannot be had, or a name stands twice; nothing is written.
        """
        place = Path(folder)
        if (place / "bench.json").exists():
            there = cls.open(place)
            mine, theirs = plain(bench), plain(there.bench)
            if mine != theirs:
                differ = sorted(key for key in {*mine, *theirs} if mine.get(key) != theirs.get(key))
                raise ForeignRun(
                    "the output directory holds another benchmark",
                    where=place.name,
                    found=f"one that differs in {', '.join(differ)}",
                    expected="an empty directory, or one of this benchmark",
                    fix="choose another --out, or `expunge bench resume` what is there",
                )
            return there
        # The edition alone, and what was being written aside, are a kill's.
        if place.is_dir() and any(each.name != EDITION_FILE and each.name[0] != "." for each in place.iterdir()):
            raise ForeignRun(
                "the output directory holds other files",
                where=place.name,
                found="files, and no bench.json",
                expected="an empty directory, or one of this benchmark",
                fix="choose another --out",
            )
        named = [*bench.scenarios, *bench.methods]  # none is called as one of the others
        twice = sorted({name for name in named if named.count(name) > 1})
        if twice:
            raise UsageError(
                f"{twice[0]!r} is named twice",
                where="bench",
                found=", ".join(twice),
                expected="each scenario and method once: a cell that counted twice would narrow its own interval",
                fix="name it once; seeds say how often it is run",
            )
        for policy in dict.fromkeys(map(bench.judged_by, bench.scenarios)):
            policies.load(policy)
        _ = cls(bench, place).bed  # not kept on what is returned: that crosses to other processes
        write_file(place / EDITION_FILE, canonical(measures.EDITION) + b"\n")
        write_file(place / "bench.json", canonical(bench) + b"\n")
        return cls(bench, place)

    def current(self) -> None:
        """See that what is there was measured as it is now.

        Raises:
            ForeignRun: it was not: scores of both would stand side by side.
        """
        file = self.folder / EDITION_FILE
        try:
            edition = json.loads(file.read_text()) if file.exists() else 1
        except ValueError:
            edition = "that cannot be read"
        if edition != measures.EDITION:
            raise ForeignRun(
                "the results directory was measured in another way",
                where=self.folder.name,
                found=f"edition {edition} of the scores",
                expected=f"edition {measures.EDITION}: a class that goes counts among the forgotten records alone",
                fix="`expunge bench compare` shows what is there; begin anew with another --out",
            )

    @cached_property
    def bed(self) -> data.Bed:
        """Data, network and training."""
        bench = self.bench
        return data.bed(bench.data, network=bench.network, path=bench.path, records=bench.records, epochs=bench.epochs)

    def draw(self, scenario: str) -> Draw:
        """Return a scenario; scores that it chooses by are made now unless they are there."""
        if scenario not in self._drawn:
            self._drawn[scenario] = scenarios.draw(scenario, self.bed, self, DRAWN)
        return self._drawn[scenario]

    @cached_property
    def _drawn(self) -> dict[str, Draw]:
        return {}

    def memorised(self) -> NDArray[np.float64]:
        """Return how much surer of its label a model is that saw a record, [n]: two models, each trained on a half."""

        def make() -> NDArray[np.float64]:
            train = self.bed.train
            order = np.random.default_rng([DRAWN, 2]).permutation(len(train))
            halves = [sorted(order[: len(order) // 2].tolist()), sorted(order[len(order) // 2 :].tolist())]
            sure = [self._sure(train.select([train.ids[i] for i in half]), seed=k) for k, half in enumerate(halves)]
            sign = np.where(np.isin(np.arange(len(train)), halves[0]), 1.0, -1.0)
            return sign * (sure[0] - sure[1])

        return self._scores("memorised", make)

    def loss(self) -> NDArray[np.float64]:
        """Return the loss of a model trained on all records, [n], in nats."""
        return self._scores("loss", lambda: -np.log(np.maximum(self._sure(self.bed.train, seed=2), 1e-300)))

    def alike(self, train: Records, forget: tuple[str, ...]) -> tuple[str, ...]:
        """Return which of these training records are found to be like ``forget``, by the original of the first seed."""

        def make() -> list[str]:
            model = self.bed.source.reopen(self.original(train, DRAWN))
            return list(workflow.find(self._asked(model, train, forget)).ids)

        key = combine([train.manifest.digest, *(sha256(name.encode()) for name in forget)])[:16]
        return tuple(self._kept(f"alike-{key}", make))

    def _sure(self, records: Records, *, seed: int) -> NDArray[np.float64]:
        """Train on ``records`` and return the probability of the label of every training record, [n]."""
        model = self.bed.trainer(records, seed=references.seed_of(DRAWN, "bench scores", seed))
        problem = Problem(model=self.bed.source, train=self.bed.train, task=self.bed.task)
        return measures.said(problem, model, self.bed.train).sure

    def _scores(self, name: str, make: Any) -> NDArray[np.float64]:
        return np.array(self._kept(name, lambda: [float(value) for value in make()]))

    def _kept(self, name: str, make: Any) -> Any:
        file = self.folder / "scores" / f"{name}.json"
        if not file.exists():
            write_file(file, canonical(make()))
        return json.loads(file.read_text())

    def original(self, train: Records, seed: int) -> Path:
        """Return the folder of the original for these training records: trained now, unless it is there."""
        key = combine([sha256(f"{seed}".encode()), train.manifest.digest])[:16]
        folder = self.folder / "originals" / key
        if not folder.exists():
            model = self.bed.trainer(train, seed=references.seed_of(seed, "bench original", 0))
            write_folder(folder, lambda aside: self.bed.source.save(model, aside))
        return folder

    def problem(self, scenario: str, seed: int) -> Problem:
        """Return the problem of a scenario: the original of this seed, and all that must be forgotten."""
        drawn = self.draw(scenario)
        original = self.original(drawn.train, seed)
        named = tuple(name for name in drawn.forget if name not in set(drawn.also))
        made = replace(
            self._asked(self.bed.source.reopen(original), drawn.train, drawn.forget),
            forget=named,
            triggered=drawn.triggered,
            request=Request(reference=f"bench {scenario}, seed {seed}", also=drawn.also, corrections=drawn.corrections),
        )
        arguments = (("folder", str(self.folder.resolve())), ("scenario", scenario), ("seed", seed))
        return made.made_by(Origin(f"{__name__}:problem_of", "", arguments=arguments))

    def judged(self, scenario: str, seed: int) -> Problem:
        """Return the same, kept: where no method ever runs, what was found out of it holds for the next cell too."""
        if (scenario, seed) not in self._judged:
            self._judged[scenario, seed] = self.problem(scenario, seed)
        return self._judged[scenario, seed]

    @cached_property
    def _judged(self) -> dict[tuple[str, int], Problem]:
        return {}

    def _asked(self, model: Any, train: Records, forget: tuple[str, ...]) -> Problem:
        bed, more = self.bed, dict[str, Any]()
        if bed.given is not None:
            more = {"groups": bed.given.groups, "counterexamples": _others(bed.given.more_records, train, forget)}
        return Problem(
            model=model, train=train, forget=forget, holdout=bed.holdout, trainer=bed.trainer, task=bed.task, **more
        )

    def references(
        self, scenario: str, *, workers: Workers | None = None, progress: Progress | None = None
    ) -> list[Path]:
        """Return the folders of the retrained models of a scenario, which all methods and seeds share.

        They are trained now unless they are there; by ``workers``, or in this process.
        """
        place = self.folder / "references" / scenario
        given = [place / "given" / str(index) for index in range(self.bench.judges)]
        if all(folder.exists() for folder in given):
            return given
        problem = self.problem(scenario, 0)
        run, pool = RunDirectory(place / "run", {"references": plain(problem.spec)}), workers or Here(problem)
        asked = f"{references.__name__}:{references.check_trainer.__name__}"
        try:
            facts = run.stage("trainer", lambda: next(pool.map(asked, [()]))[1], TrainerFacts)
            assert facts.passes
            seeds = [references.seed_of(DRAWN, "bench judging", index) for index in range(self.bench.judges)]
            found = references.build(
                problem,
                run,
                seeds,
                workers=pool,
                progress=progress or Progress(),
                label=f"{scenario}: train references",
            )
            for folder, one in zip(given, found, strict=True):
                source = run.open_artefact(one.artefact)

                def fill(aside: Path, source: Path = source) -> None:
                    shutil.copytree(source, aside, dirs_exist_ok=True)
                    manifests.write(aside, problem.retain_view)

                write_folder(folder, fill)
        finally:
            run.close()
        return given

    def settings(self, scenario: str, seed: int) -> dict[str, Any]:
        """Return the settings of every run on this scenario with this seed."""
        place = self.folder / "references" / scenario / "given"
        return {
            "seed": seed,
            "policy": self.bench.judged_by(scenario),
            "references": self.bench.judges,
            "given_references": tuple(place / str(index) for index in range(self.bench.judges)),
            "configs": self.bench.configs,
            "budget": self.bench.budget,
            "tuning": self.bench.tuning,
            "floor": self.bench.floor,
            "pool": Here,
            "device": "cpu",  # a core for each cell, and the same figures on every machine
        }

    def base(self, scenario: str, seed: int) -> Path:
        """Return the run directory that holds all but a method; makes it, and the yardstick beside it."""
        place = self.folder / "bases" / scenario / f"seed-{seed}"
        if not (place / "yardstick.json").exists():
            problem = self.judged(scenario, seed)
            workflow.prepare(problem, out=place / "run", **self.settings(scenario, seed))
            control = json.loads((place / "run" / "stages" / "control.json").read_text())
            audit = build(Audit, control, where="control.json")
            write_file(place / "yardstick.json", canonical(self._measured(problem, scenario, seed).judged(audit)))
        return place / "run"

    def yardstick(self, scenario: str, seed: int) -> Yardstick:
        """Return the scores of the original and of the references; they are there once the base is."""
        file = self.folder / "bases" / scenario / f"seed-{seed}" / "yardstick.json"
        return build(Yardstick, json.loads(file.read_text()), where=file.name)

    def heard(self, scenario: str, index: int) -> measures.Heard:
        """Return what a reference of a scenario said: asked now, unless it was; all seeds read the same."""
        file = self.folder / "references" / scenario / "heard" / f"{index}.safetensors"
        if not file.exists():
            problem = self.judged(scenario, 0)
            model = problem.source.reopen(self.references(scenario)[index])
            write_file(file, measures.listen(problem, model).write())
        return measures.Heard.read(file.read_bytes())

    def _measured(self, problem: Problem, scenario: str, seed: int) -> Yardstick:
        heard = [self.heard(scenario, index) for index in range(self.bench.judges)]
        plainly = [self.scores(problem, each, seed=seed) for each in heard]
        original = self.scores(problem, measures.listen(problem, problem.source.open()), seed=seed)
        if len(plainly) < 2:
            return Yardstick(original=original, references=tuple(plainly))
        among = measures.among_themselves(plainly)
        return Yardstick(
            original={**original, **measures.gaps(original, plainly)},
            references=tuple({**one, **gap} for one, gap in zip(plainly, among, strict=True)),
        )

    def scores(self, problem: Problem, heard: measures.Heard, *, seed: int) -> dict[str, float]:
        """Return what papers measure of one model, gaps apart."""
        found = measures.measure(problem, heard, seed=seed)
        return found if math.isnan(heard.success) else {**found, "attack_success": heard.success}

    def fork(self, base: Path, run: Path) -> None:
        """Copy a run directory; models, which nothing ever changes, are linked instead."""

        def copy(source: str, target: str) -> None:
            try:
                if not Path(source).name.endswith(".safetensors"):
                    raise OSError
                os.link(source, target)
            except OSError:  # what is written to, or a file system without links
                shutil.copy2(source, target)

        if not run.exists():
            write_folder(
                run,
                lambda aside: (
                    shutil.copytree(
                        base, aside, dirs_exist_ok=True, copy_function=copy, ignore=shutil.ignore_patterns(".lock")
                    )
                    and None
                ),
            )


def _others(counterexamples: Records | None, train: Records, forget: tuple[str, ...]) -> Records | None:
    """Return the counter-examples that a scenario does not forget: it may draw what they are copies of."""
    if counterexamples is None:
        return None
    asked = set(forget)
    gone = {content for name, content in train.manifest.entries if name in asked}
    left = [name for name, content in counterexamples.manifest.entries if content not in gone]
    return counterexamples.select(left) if left else None


def problem_of(folder: str, scenario: str, seed: int) -> Problem:
    """Return the problem of a cell; another process makes it again."""
    return Site.open(folder).problem(scenario, seed)
