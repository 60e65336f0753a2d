"""The report: everything that was done and found, as one record. Aggregates only, no record ids.

Every page, table and certificate is made from this record and from nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from expunge.core.check import Direction, Interval, Measurement, NotMeasured, Power, Question
from expunge.core.level import Level
from expunge.core.method import Cost
from expunge.core.outcome import Outcome
from expunge.core.plan import Plan
from expunge.core.problem import ProblemSpec
from expunge.core.verdict import Decision, Verdict


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One check on one model, judged.

    Attributes:
        margin: half-width of the equivalence margin, in the unit of the check; ``reason`` says why so much.
        narrow: interval for passing (confidence ``1 - 2 alpha``); None where not measured.
        wide: interval for failing, corrected for the number of required checks.
        chance: probability that a true retrain passes this check at this number of references.
        null: lowest and highest difference of one reference from the others: what the check says when
            nothing is wrong.
        null_passes: how many references pass against the others, and of how many.
        source: where the check comes from, so that a reader can look it up.
        harmless: the side on which no difference is a failure; None where both sides are bounded.
    """

    check: str
    title: str
    question: Question
    required: bool
    margin: float
    reason: str
    result: Measurement | NotMeasured
    decision: Decision
    narrow: Interval | None = None
    wide: Interval | None = None
    chance: float | None = None
    null: tuple[float, float] | None = None
    null_passes: tuple[int, int] | None = None
    power: Power | None = None
    source: str = ""
    harmless: Direction | None = None


@dataclass(frozen=True, kw_only=True)
class Audit:
    """One audit of one saved model.

    Attributes:
        subject: ``original``, or ``attempt 2``: the audit does not know the method.
        model: model digest of the artefact that was reopened.
        alpha: error rate it was judged at.
        references: seeds of the references it was judged against; below 0 for one that was made elsewhere.
        process: ``fresh process``, or why not.
        verdict: for the original what its checks say alone; for an attempt with the control counted.
        cost: work of this audit.
    """

    subject: str
    model: str
    alpha: float
    references: tuple[int, ...]
    process: str
    findings: tuple[Finding, ...]
    verdict: Verdict
    cost: Cost


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """How settings of one method were searched: by its choosing part alone, without any retrained model.

    Attributes:
        method / title: of the method.
        start: where the settings come from that the search started with.
        searched: names of the settings that were searched.
        trials: how many settings were tried; of these so many were ``cut`` short and so many ``failed``.
        best: number of the best trial; None where none may be used.
        config: its settings, all of them; without one, those that the search started with.
        match / harm / accuracy: what the objective (``plan/objective``) says of its model, all shares; 0 without one.
        original: the match of the original; ``floor`` the lowest accuracy that a trial might have; 0 without trials.
        asked: the floor that was asked for; None where it followed from the original's accuracy.
        missing: forgotten records of the choosing part that nothing could be compared with.
        cost: of all trials; ``share`` of one retraining.
        anew: whether a run with these settings leaves nothing of the original, and so cannot know what it forgets.
    """

    method: str
    title: str
    start: str
    searched: tuple[str, ...]
    trials: int
    cut: int
    failed: int
    best: int | None
    config: Mapping[str, object]
    match: float
    harm: float
    accuracy: float
    original: float
    floor: float
    missing: int
    cost: Cost
    share: float
    anew: bool = False
    asked: float | None = field(default=None, metadata={"later": True})

    @property
    def value(self) -> float:
        """What was made small: of what cannot know the records no match, which says how unusual they are."""
        return self.harm if self.anew else self.match + self.harm

    @property
    def sentence(self) -> str:
        """How the settings were found, for a reader."""
        if self.best is None:
            return f"settings of {self.start}, not tuned: the budget allows no trial"
        longer = ", for as many epochs as a run may cost" if self.anew else ""
        found = f"settings of trial {self.best} of {self.trials}{longer}, found without a retrained model"
        return f"{found}; start: {self.start}"


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One method that was run and judged.

    ``audits`` has a second entry only where a standing guarantee was contradicted and looked at again
    with fresh references. ``share`` is the method's cost as a share of one retraining. ``tuned`` says how its settings
    were found, where ``auto`` did, or where they are those of a recipe.
    """

    number: int
    method: str
    title: str
    guarantee: Level
    config: Mapping[str, object]
    seed: int
    outcome: Outcome
    share: float | None
    model: str
    audits: tuple[Audit, ...]
    claim: Level | None
    tuned: str = ""


@dataclass(frozen=True, kw_only=True)
class CostLine:
    """One line of the whole cost."""

    what: str
    cost: Cost
    share: float | None


@dataclass(frozen=True)
class Used:
    """Time and energy that went into something.

    Attributes:
        seconds: wall time.
        joules: by meter, e.g. ``processors``; what could not be measured throughout is absent, never 0.
    """

    seconds: float
    joules: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What the run used up as clocks and energy counters say; nothing is estimated from rated power.

    Counters count the whole machine, whatever else it did meanwhile.

    Attributes:
        whole: all stages, added up over interruptions and commands.
        reference: training one reference: the mean over all of them, as many at a time as there were workers.
            None where none was trained.
        unmeasured: energy that was not measured: the reason by meter.
        lost: commands that were killed at once: what they used after their last finished stage is not counted.
    """

    whole: Used
    reference: Used | None = None
    unmeasured: Mapping[str, str] = field(default_factory=dict)
    lost: int = 0


@dataclass(frozen=True, kw_only=True)
class Report:
    """The whole record.

    Attributes:
        run: identity of the run (problem, policy and seed), keyed with the run's secret.
        problem: the spec with its digests of records keyed likewise.
        request: public parts of the request (reference, ground, received, due), no ids.
        forget_count / retain_count / holdout_count: numbers of records.
        control: the audit of the original.
        attempts: all attempts this run directory saw, in order.
        chosen: number of the attempt that ships, or None.
        verdict: on the model that ships; where none ships, on the last attempt that was judged. None where none was:
            a filter leaves no model to judge, nor does a method that failed.
        claim: level that may be claimed, or None.
        statement: the claim in one plain sentence.
        limits: what the claim does not say, one sentence each.
        not_covered: what was not reached (backups, copies, ...).
        destroyed: state that held forgotten data and was unlinked, by relative path.
        kept: state that holds forgotten data and was kept on request.
        environment: versions, processor, threads, kernel settings.
        seeds: by name.
        tuned: how settings were searched, method by method.
        costs: the whole cost, line by line; ``total`` is their sum as a share of one retraining.
        usage: the same in seconds and joules, as far as they were measured; None where nothing was counted.
        started / finished: UTC, ISO 8601.
    """

    format: str = "expunge-report-1"
    expunge: str
    title: str
    run: str
    problem: ProblemSpec
    request: Mapping[str, str]
    forget_count: int
    retain_count: int
    holdout_count: int
    plan: Plan
    policy: str
    policy_digest: str
    control: Audit | None
    attempts: tuple[Attempt, ...]
    chosen: int | None
    verdict: Verdict | None
    claim: Level | None
    statement: str
    limits: tuple[str, ...]
    not_covered: tuple[str, ...]
    destroyed: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    model_before: str
    model_after: str | None
    environment: Mapping[str, str]
    seeds: Mapping[str, int]
    costs: tuple[CostLine, ...]
    total: float | None
    started: str
    finished: str
    usage: Usage | None = None
    tuned: tuple[Tuned, ...] = ()

    @property
    def shipped(self) -> Attempt | None:
        """Return the attempt whose model ships."""
        return next((a for a in self.attempts if a.number == self.chosen), None)
