"""The stages of one run: each is done once in its run directory, and read back afterwards."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from expunge.audit import annex
from expunge.audit.judge import leak_decisions, required_decisions
from expunge.audit.policy import Policy
from expunge.audit.run import AuditRequest
from expunge.core import registry
from expunge.core.check import EvidenceKind
from expunge.core.errors import UNABLE, InvalidProblem, Obstacle, fault_of_method
from expunge.core.level import Level
from expunge.core.method import Cost, Method
from expunge.core.outcome import Outcome
from expunge.core.problem import Problem
from expunge.core.report import Attempt, Audit
from expunge.core.serial import plain
from expunge.core.verdict import alpha_of_attempt, claim, judge, needs_second_look, verdict
from expunge.engine import ranks
from expunge.engine import references as retraining
from expunge.engine.available import available
from expunge.engine.checkpoint import Checkpoints
from expunge.engine.context import Context
from expunge.engine.given import Given, adopt
from expunge.engine.progress import Progress
from expunge.engine.references import Retrained, TrainerFacts
from expunge.engine.runs import Artefact, RunDirectory
from expunge.engine.runtime import Workers, seed_everything
from expunge.engine.split import Part, split
from expunge.workflow.heirs import attempt_folder
from expunge.workflow.planning import declared_passes

T = TypeVar("T")
EXTERNAL = "external"
"""The method name of a model that was made elsewhere."""


@dataclass(frozen=True)
class Forgotten:
    """A finished attempt before its audit; ``artefact`` is None where the method failed."""

    outcome: Outcome
    artefact: Artefact | None


@dataclass
class Stages:
    """The stages of one problem in one run directory.

    ``references`` judge, those in ``given`` among them, which were made elsewhere.
    """

    problem: Problem
    policy: Policy
    references: int
    given: Sequence[Given]
    seed: int
    configs: Mapping[str, Mapping[str, object]]
    run: RunDirectory
    workers: Workers
    progress: Progress
    noted: Sequence[Obstacle] = ()

    @cached_property
    def have(self) -> frozenset[EvidenceKind]:
        """Which evidence there is on the problem, apart from references."""
        return available(self.problem)

    def read(self, stage: str, kind: type[T]) -> T:
        """Return the result of a stage that is known to be finished."""
        return self.run.stage(stage, _unreachable, kind)

    def trainer(self) -> TrainerFacts | None:
        """Check the trainer's contract; None without a trainer."""
        if self.problem.trainer is None:
            return None

        def check() -> TrainerFacts:
            self.progress.start("check the trainer", 1)
            facts: TrainerFacts = next(self.workers.map("expunge.engine.references:check_trainer", [()]))[1]
            self.progress.finish("check the trainer")
            return facts

        return self.run.stage("trainer", check, TrainerFacts)

    def facts(self) -> TrainerFacts | None:
        """Return what was found when the trainer was checked; None where there is none, or nothing has needed it."""
        return self.trainer() if self.run.done("trainer") else None

    def passes(self) -> float | None:
        """Return how often the trainer reads each record: as measured, else as it says; None where that is unknown."""
        facts = self.facts()
        return facts.passes if facts is not None else declared_passes(self.problem)

    def retraining(self) -> Cost | None:
        """Return the work of one retraining; None where it is unknown."""
        passes = self.passes()
        return Cost(trained=passes * len(self.problem.retain_view)) if passes else None

    def original(self) -> Artefact:
        """Save the original as it was handed in."""
        source = self.problem.source

        def save() -> Artefact:
            return self.run.save("original", source.digest(), lambda folder: source.save(source.open(), folder))

        return self.run.stage("original", save, Artefact)

    def seeds(self, purpose: str) -> list[int]:
        """Return the seeds of the references to train for ``purpose``: judging, choosing, or a fresh look."""
        if self.problem.trainer is None:
            return []
        count = self.policy.choosing_references if purpose == "choosing" and self.references else self.references
        count -= len(self.given) if purpose == "judging" else 0
        return [retraining.seed_of(self.seed, purpose, index) for index in range(count)]

    def retrained(self, purpose: str) -> list[Retrained]:
        """Return the references that serve ``purpose``: train them; for judging, those that were given come first."""
        labels = {
            "judging": "train references for judging",
            "choosing": "train references for choosing",
            "fresh": "train fresh references for a second look",
        }
        given = [adopt(self.problem, self.run, one) for one in self.given] if purpose == "judging" else []
        return [*given, *self._retrain(self.seeds(purpose), labels[purpose])]

    def finished_references(self, purpose: str) -> list[Retrained]:
        """Return those references that were trained here and exist already."""
        names = [retraining.stage_of(seed) for seed in self.seeds(purpose)]
        return [self.read(name, Retrained) for name in names if self.run.done(name)]

    def control(self) -> Audit:
        """Audit the original: the suite must tell it from retrained models, or it has no power."""

        def look() -> Audit:
            return self._audit("original", self.original(), self.policy.alpha, self.retrained("judging"), None)

        return self.run.stage("control", look, Audit)

    def looked(self) -> Audit | None:
        """Return the audit of the original; None where nothing asked for it."""
        return self.control() if self.run.done("control") else None

    def begin(self, method: str, config: Any, *, tuned: str = "") -> int:
        """Return the number of an attempt: a new one, unless this run directory has begun it before.

        ``tuned`` says how its settings were found, where they were searched.
        """
        begun = [event for event in self.run.events if event["event"] == "attempt"]
        for event in begun:
            if event["method"] == method and event["config"] == config and event.get("tuned", "") == tuned:
                return int(event["number"])
        facts = {"number": len(begun) + 1, "method": method, "config": config, "policy": self.policy.digest}
        self.run.event("attempt", **facts, **({"tuned": tuned} if tuned else {}))
        return len(begun) + 1

    def begun(self) -> frozenset[str]:
        """Return the methods of which this run directory has begun an attempt."""
        return frozenset(str(event["method"]) for event in self.run.events if event["event"] == "attempt")

    def forget(self, number: int, method: Method, *, alone: bool = False, asked: bool = True) -> Forgotten:
        """Run a method and save its model; one that diverges, or cannot act, is a finished attempt without a model.

        So is one that breaks and that nobody ``asked`` for. ``alone``: without the references of the choosing part, as
        it was when its settings were tuned.
        """
        return self.run.stage(
            f"attempt-{number}", lambda: self._forget(number, method, alone=alone, asked=asked), Forgotten
        )

    def adopt(self, number: int, model: Any) -> Forgotten:
        """Save a model that was made elsewhere as an attempt."""
        made = Outcome(stopped="made elsewhere")
        return self.run.stage(f"attempt-{number}", lambda: Forgotten(made, self._save(number, model)), Forgotten)

    def judge(self, number: int, guarantee: Level) -> None:
        """Audit an attempt; a standing guarantee that is contradicted is looked at again with fresh references.

        A model that is only filtered is the original, which nobody takes for another: there is nothing to audit.
        """
        artefact = self.read(f"attempt-{number}", Forgotten).artefact
        if artefact is None or guarantee is Level.SUPPRESSED:
            return
        control = self.control()
        alpha = alpha_of_attempt(number, self.policy.alpha)

        def look(purpose: str) -> Audit:
            return self._audit(f"attempt {number}", artefact, alpha, self.retrained(purpose), control, purpose)

        first = self.run.stage(f"attempt-{number}-audit", lambda: look("judging"), Audit)
        # Without references of our own nothing about a second look would be fresh.
        if self.seeds("fresh") and needs_second_look(guarantee, first.verdict):
            self.run.stage(f"attempt-{number}-second", lambda: look("fresh"), Audit)

    def attempts(self) -> tuple[Attempt, ...]:
        """Return every finished attempt this run directory saw, in order."""
        whole = self.retraining()
        begun = [event for event in self.run.events if event["event"] == "attempt"]
        return tuple(self._read_attempt(e, whole) for e in begun if self.run.done(f"attempt-{e['number']}"))

    def attempt(self, number: int) -> Attempt:
        """Return a finished attempt by its number; those before it need not be finished."""
        return next(attempt for attempt in self.attempts() if attempt.number == number)

    def _read_attempt(self, event: Mapping[str, Any], whole: Cost | None) -> Attempt:
        number, name = int(event["number"]), str(event["method"])
        forgotten = self.read(f"attempt-{number}", Forgotten)
        looks = [f"attempt-{number}-audit", f"attempt-{number}-second"]
        audits = tuple(self.read(stage, Audit) for stage in looks if self.run.done(stage))
        method: Method | None = None if name == EXTERNAL else registry.load("methods", name)(event["config"])
        guarantee = method.guarantee_on(self.problem) if method else Level.AUDITED
        verdicts = [audit.verdict for audit in audits]
        return Attempt(
            number=number,
            method=name,
            title=method.title if method else "Model made elsewhere",
            guarantee=guarantee,
            config=event["config"],
            seed=self._attempt_seed(name),
            outcome=forgotten.outcome,
            share=forgotten.outcome.cost.share_of(whole) if whole else None,
            model=forgotten.artefact.model if forgotten.artefact else "",
            audits=audits,
            claim=claim(guarantee, verdicts) if forgotten.artefact else None,
            tuned=str(event.get("tuned", "")),
        )

    def _attempt_seed(self, name: str) -> int:
        return retraining.seed_of(self.seed, f"attempt {name}", 0)

    def _forget(self, number: int, method: Method, *, alone: bool, asked: bool) -> Forgotten:
        seed = self._attempt_seed(method.name)
        checkpoints = Checkpoints(self.run.folder / "checkpoints" / f"attempt-{number}")
        visible, choosing = self.visible()
        said = (method.name, plain(method.config), seed, self.seed, str(self.run.folder), number, alone)
        waited = 0.0

        def chosen_by() -> list[Any]:
            nonlocal waited
            began = time.perf_counter()
            found = [] if alone else opened(lambda: self.retrained("choosing"))
            waited += time.perf_counter() - began
            return found

        try:
            with self.workers.beside(f"{__name__}:follow", *said) as here:
                problem = here(visible)
                opened = self._opener(problem)
                context = Context(
                    problem=problem,
                    seed=seed,
                    label=f"attempt {number}: {method.name}",
                    choosing=choosing,
                    choosing_models=chosen_by,
                    retrain=lambda seed: self._retrain_one(seed, opened),
                    checkpoints=checkpoints,
                    folder=self.run.folder / attempt_folder(number),
                    progress=self.progress,
                )
                seed_everything(seed)
                began = time.perf_counter()
                outcome = method.unlearn(problem, context)
                self.run.event("worked", attempt=number, took=round(time.perf_counter() - began - waited, 3))
                model = ranks.gathered(problem, outcome.model)
        except Exception as error:
            why = fault_of_method(error)
            if not why or (asked and not isinstance(error, UNABLE)):
                raise
            checkpoints.clear()
            # How far it came nobody counted: what it would have cost to the end, as of a trial that failed. What cannot
            # act did no work to speak of, and may not be able to tell its cost.
            cost = Cost() if isinstance(error, InvalidProblem) else method.cost(self.problem)
            return Forgotten(Outcome(cost=cost, stopped=f"failed: {why}"), None)
        artefact = self._save(number, model)
        checkpoints.clear()
        return Forgotten(replace(outcome, model=None), artefact)

    def visible(self) -> tuple[Problem, Part]:
        """Return the problem as a method may see it, and the part that it may choose by (:func:`visible`)."""
        return visible(self.problem, self.seed)

    def _retrain(self, seeds: Sequence[int], label: str) -> list[Retrained]:
        return retraining.build(
            self.problem, self.run, seeds, workers=self.workers, progress=self.progress, label=label
        )

    def _retrain_one(self, seed: int, opened: Callable[..., list[Any]]) -> tuple[Any, Retrained]:
        done: list[Retrained] = []

        def make() -> list[Retrained]:
            done.extend(self._retrain([seed], "retrain"))
            return done

        return opened(make)[0], done[0]

    def _opener(self, problem: Problem) -> Callable[[Callable[[], list[Retrained]]], list[Any]]:
        """Return what opens models that it has had made; whoever works beside this process opens them as well."""

        def opened(make: Callable[[], list[Retrained]]) -> list[Any]:
            places = [self.run.open_artefact(each.artefact) for each in self.workers.tell(make)]
            return [problem.source.reopen(place) for place in places]

        return opened

    def _save(self, number: int, model: Any) -> Artefact:
        source = self.problem.source
        return self.run.save(f"attempt-{number}", source.digest(model), lambda folder: source.save(model, folder))

    def _audit(
        self,
        subject: str,
        candidate: Artefact,
        alpha: float,
        references: Sequence[Retrained],
        control: Audit | None,
        purpose: str = "judging",
    ) -> Audit:
        self.run.secret(annex.SECRET)  # drawn here: the process of the audit only reads it
        label = f"audit {subject}" if control else f"audit the {subject}"
        request = AuditRequest(
            folder=str(self.run.folder),
            candidate=candidate,
            original=self.original(),
            references=tuple(reference.artefact for reference in references),
            policy=self.policy,
            have=self.have,
            alpha=alpha,
            seed=self.seed,
            subject=subject if purpose == "judging" else f"{subject}, second look",
        )
        self.progress.start(label, 1)
        findings, cost = self.workers.call_fresh("expunge.audit.run:run_audit", request)
        self.progress.finish(label)
        decisions = required_decisions(findings)
        alone = judge(decisions)
        return Audit(
            subject=subject,
            model=candidate.model,
            alpha=alpha,
            references=tuple(reference.seed for reference in references),
            process=self.workers.process,
            findings=findings,
            verdict=verdict(decisions, control_leaks=leak_decisions(control.findings)) if control else alone,
            cost=cost,
        )


def visible(problem: Problem, seed: int) -> tuple[Problem, Part]:
    """Return the problem as a method may see it, without what judges it, and the part that it may choose by.

    Canaries that were trained on stay among what it must forget; those that were kept out it never sees.
    """
    choosing = split(problem, seed)[0]
    seen = replace(
        problem,
        model=problem.source,
        train=problem.records,
        forget=problem.forget_ids,
        holdout=choosing.holdout,
        canaries=None,
        origin=None,
    )
    return seen, choosing


def follow(
    problem: Problem,
    name: str,
    config: Mapping[str, object],
    seed: int,
    run_seed: int,
    folder: str,
    number: int,
    alone: bool,
) -> None:
    """Run a method in step with the leader's :meth:`Stages.forget` (``engine/ranks``); nothing is written here."""
    seen, choosing = visible(problem, run_seed)

    def opened() -> tuple[list[Any], list[Retrained]]:
        retrained: list[Retrained] = ranks.heard()
        return [seen.source.reopen(Path(folder) / each.artefact.path) for each in retrained], retrained

    def retrain(seed: int) -> tuple[Any, Retrained]:
        models, retrained = opened()
        return models[0], retrained[0]

    context = Context(
        problem=seen,
        seed=seed,
        label="",
        choosing=choosing,
        choosing_models=lambda: [] if alone else opened()[0],
        retrain=retrain,
        checkpoints=Checkpoints(Path(folder) / "checkpoints" / f"attempt-{number}"),
        folder=Path(folder) / attempt_folder(number),
    )
    seed_everything(seed)
    method: Method = registry.load("methods", name)(config)
    ranks.gathered(seen, method.unlearn(seen, context).model)


def _unreachable() -> Any:
    raise AssertionError("a stage that is finished is read, never made again")
