"""Reports as they come out of real runs: erased, not erased, exact, inconclusive, nothing to do."""

import random
from collections import namedtuple
from dataclasses import replace
from functools import cache

import pytest

from expunge.audit.judge import judge_one
from expunge.audit.policy import Margin
from expunge.core import wording
from expunge.core.chart import Chart, Role, Series
from expunge.core.check import Direction, Measurement, NotMeasured, Power, Question, Yardstick
from expunge.core.digest import sha256
from expunge.core.level import Level
from expunge.core.method import Cost
from expunge.core.outcome import Outcome
from expunge.core.plan import Option, Plan
from expunge.core.problem import ProblemSpec
from expunge.core.registry import load as load_check
from expunge.core.report import Attempt, Audit, CostLine, Finding, Report
from expunge.core.verdict import Decision, Verdict, alpha_of_attempt, claim, decide, judge, verdict
from expunge.numerics import equivalence, known

SEEDS = tuple(range(101, 121))
RETRAINING = Cost(trained=38_640)
GONE, INTACT, RECOVERABLE = Question


def retraining_times(share):
    """Return the work of so many retrainings."""
    return Cost(trained=share * RETRAINING.trained)


Spec = namedtuple("Spec", "name title question required better unit mean spread original margin reason blind")
LOWER, HIGHER = Direction.LOWER, Direction.HIGHER
SPECS = (
    Spec(
        *("forget_accuracy", "Accuracy on the forgotten records", GONE, True, LOWER, "share"),
        *(0.861, 0.011, 0.998, 0.06),
        "Six records in a hundred: five times the spread between retrained models.",
        "A model that knows the records and answers wrongly on purpose.",
    ),
    Spec(
        *("membership", "Membership attack on the forgotten records", GONE, True, LOWER, "AUC"),
        *(0.503, 0.009, 0.741, 0.05),
        "An attacker who guesses right five times in a hundred more than by chance.",
        "Attackers with shadow models of their own, and what single records give away.",
    ),
    Spec(
        *("divergence", "Divergence of the answers from retrained models", GONE, True, LOWER, "bits"),
        *(0.021, 0.0012, 0.094, 0.008),
        "A third of the distance between two retrained models.",
        "Differences on inputs that are not among the forgotten records.",
    ),
    Spec(
        *("loss_tail", "Records with an unusual loss", GONE, False, LOWER, "share of records"),
        *(0.05, 0.012, 0.41, 0.06),
        "as for the accuracy on the forgotten records",
        "traces that move every record a little",
    ),
    Spec(
        *("retain_accuracy", "Accuracy on the records that stay", INTACT, True, HIGHER, "share"),
        *(0.987, 0.0021, 0.988, 0.012),
        "The owner accepts one point of accuracy, and a fifth for the spread between seeds.",
        "Harm to a small group among the records that stay.",
    ),
    Spec(
        *("holdout_accuracy", "Accuracy on records never trained on", INTACT, True, HIGHER, "share"),
        *(0.934, 0.0034, 0.939, 0.02),
        "The owner accepts two points of accuracy.",
        "Harm on inputs unlike the training data.",
    ),
    Spec(
        *("relearning", "Passes until the records are learnt again", RECOVERABLE, True, HIGHER, "passes"),
        *(6.4, 0.31, 1.2, 1.8),
        "A quarter of the passes that a retrained model needs.",
        "Attackers who may change the architecture.",
    ),
)


def lines(x, subject, original, mean, spread):
    """Return what a check draws: the model, the original, and retrained models around their mean."""
    low, high = (tuple(round(value + side * spread, 4) for value in mean) for side in (-1, 1))
    return (
        Series(role=Role.SUBJECT, x=x, y=subject),
        Series(role=Role.ORIGINAL, x=x, y=original),
        Series(role=Role.REFERENCES, x=x, y=mean, low=low, high=high),
    )


_RATES = (0.05, 0.1, 0.2, 0.5, 1.0)
CHARTS = {
    "membership": (
        Chart(
            title="Loss on the forgotten records",
            x="loss of the label as trained (nats)",
            y="share of forgotten records",
            series=lines((0.0, 1.0, 2.0, 3.0), (0.7, 0.2, 0.1), (0.9, 0.1, 0.0), (0.68, 0.2, 0.12), 0.02),
            histogram=True,
            n=420,
        ),
        Chart(
            title="Membership attack: caught against false alarms",
            x="share of holdout records taken for forgotten ones (false alarms)",
            y="share of forgotten records caught",
            series=(
                *lines(_RATES, (0.0, 0.12, 0.21, 0.5, 1.0), (0.3, 0.4, 0.6, 0.9, 1.0), (0.05, 0.1, 0.2, 0.5, 1.0), 0.0),
                Series(role=Role.NULL, x=_RATES, y=_RATES),
            ),
            log=True,
            n=780,
            note="Nothing is drawn below 5 % false alarms.",
        ),
    ),
    "relearning": (
        Chart(
            title="Relearning the forgotten records",
            x="passes over the forgotten records",
            y="share of forgotten records answered as labelled",
            series=lines((0.0, 1.0, 2.0), (0.86, 0.9, 0.95), (0.99, 1.0, 1.0), (0.86, 0.91, 0.95), 0.01),
            n=420,
        ),
    ),
}
DETAILS = {"membership": {"TPR at FPR 5%": "0.052 (were both alike 0.050)", "TPR at FPR 10%": "0.110"}}
# How far each check is from retraining (0) towards the original (1).
GOOD = {
    "forget_accuracy": 0.04,
    "membership": 0.02,
    "divergence": 0.01,
    "loss_tail": 0.05,
    "relearning": 0.03,
}
HALF = {"forget_accuracy": 0.7, "membership": 0.55, "divergence": 0.3, "loss_tail": 0.4, "relearning": 0.5}


def measured(spec, away, alpha):
    """Return a check that found the model ``away`` at error rate ``alpha``."""
    source = random.Random(spec.name)
    references = tuple(round(source.gauss(spec.mean, spec.spread), 6) for _ in SEEDS)
    value = spec.mean + away * (spec.original - spec.mean)
    error = 0.6 * spec.spread
    narrow = equivalence.difference(value, references, record_error=error, alpha=alpha)
    wide = equivalence.difference(value, references, record_error=error, alpha=alpha / 6)
    null = [float(step) for step in equivalence.leave_one_out(references)]
    setting = {"record_error": error, "margin": spec.margin}
    return Finding(
        check=spec.name,
        title=spec.title,
        question=spec.question,
        required=spec.required,
        margin=spec.margin,
        reason=spec.reason,
        result=Measurement(
            check=spec.name,
            value=value,
            references=references,
            original=spec.original,
            interval=narrow,
            n=420,
            record_error=error,
            null_errors=(error,) * len(references),
            better=spec.better,
            unit=spec.unit,
            details=DETAILS.get(spec.name, {}),
            cannot_see=spec.blind,
            charts=CHARTS.get(spec.name, ()),
        ),
        decision=decide(narrow, wide, spec.margin),
        narrow=narrow,
        wide=wide,
        chance=equivalence.pass_chance(references, alpha=alpha, **setting),
        null=(min(null), max(null)),
        null_passes=(sum(abs(step) <= 0.6 * spec.margin for step in null), len(null)),
        power=Power(equivalence.smallest_shown(references, alpha=alpha / 6, **setting), 0.8),
    )


def unmeasured(spec, because):
    """Return a check that could not be measured."""
    return Finding(
        check=spec.name,
        title=spec.title,
        question=spec.question,
        required=spec.required,
        margin=spec.margin,
        reason=spec.reason,
        result=NotMeasured(check=spec.name, because=because),
        decision=Decision.NOT_MEASURED,
    )


def audit(subject, away, *, alpha=0.025, control=None, missing=()):
    """Return an audit in which each check is ``away`` from retraining (0) towards the original (1)."""
    steps = away if isinstance(away, dict) else {spec.name: away for spec in SPECS}
    findings = tuple(
        unmeasured(spec, "the model has no head that could be trained further")
        if spec.name in missing
        else measured(spec, steps.get(spec.name, 0.0), alpha)
        for spec in SPECS
    )
    required = [finding.decision for finding in findings if finding.required]
    said = judge(required)
    if control is not None:
        leaks = [f.decision for f in control.findings if f.required and f.question is not INTACT]
        said = verdict(required, control_leaks=leaks)
    return Audit(
        subject=subject,
        model=sha256(subject.encode()),
        alpha=alpha,
        references=SEEDS,
        process="a fresh process",
        findings=findings,
        verdict=said,
        cost=Cost(read=5_880),
    )


METHODS = {
    "noop": ("No operation (control)", Level.AUDITED, 0.0),
    "finetune": ("Train on with the records that stay", Level.AUDITED, 0.167),
    "scrub": ("Student and teacher (SCRUB)", Level.AUDITED, 0.342),
    "retrain": ("Retrain without the records", Level.EXACT, 1.0),
}


def attempt(number, method, *audits, **outcome):
    """Return a judged attempt."""
    title, guarantee, share = METHODS[method]
    return Attempt(
        number=number,
        method=method,
        title=title,
        guarantee=guarantee,
        config={"epochs": 5, "learning_rate": 0.005, "optimiser": "sgd"} if method != "noop" else {},
        seed=7_000 + number,
        outcome=Outcome(cost=retraining_times(share), **outcome),
        share=share,
        model=sha256(f"{number}".encode()),
        audits=audits,
        claim=claim(guarantee, [audit.verdict for audit in audits]),
    )


def option(method, title, guarantee, share, why, *, planned=True):
    """Return one line of the plan."""
    cost = retraining_times(share)
    return Option(method=method, title=title, guarantee=guarantee, cost=cost, share=share, planned=planned, why=why)


OPTIONS = (
    option("finetune", *METHODS["finetune"], "The cheapest method that may be enough."),
    option("scrub", *METHODS["scrub"], "Tried where the first attempt fails."),
    option("retrain", *METHODS["retrain"], "Always possible with a trainer; tried last because it is dearest."),
    option(
        *("noise", "Certified removal by noise", Level.CERTIFIED, 0.033),
        "Needs a convex loss; this model has hidden layers.",
        planned=False,
    ),
)
REFERENCE_COSTS = (
    CostLine(what="References to judge by (20)", cost=retraining_times(20), share=20.0),
    CostLine(what="References to choose by (5)", cost=retraining_times(5), share=5.0),
    CostLine(what="Audit of the original", cost=Cost(read=5_880), share=0.051),
)


def report(**changes):
    """Return a report without attempts; every part can be replaced."""
    base = Report(
        expunge="0.1.0",
        title="Handwritten digits, request DSR-881",
        run=sha256(b"run"),
        problem=ProblemSpec(
            task="classification",
            model=sha256(b"original"),
            train=sha256(b"train"),
            train_count=1_437,
            forget=sha256(b"forget"),
            forget_count=149,
            holdout=sha256(b"holdout"),
            holdout_count=360,
            trainer="digits:train",
            request=sha256(b"request"),
        ),
        request={
            "reference": "DSR-881",
            "ground": "GDPR Art. 17(1)(b)",
            "received": "2026-07-01",
            "due": "2026-07-31",
        },
        forget_count=149,
        retain_count=1_288,
        holdout_count=360,
        plan=Plan(
            options=OPTIONS,
            budget=1.0,
            references=20,
            choosing_references=5,
            retraining=RETRAINING,
            audit_share=0.05,
            whole=26.6,
            advice=("With 25 references this costs more than one retraining: retrain is cheaper.",),
        ),
        policy="equivalence with 20 references, error rate 5 %",
        policy_digest=sha256(b"policy"),
        control=None,
        attempts=(),
        chosen=None,
        verdict=Verdict.INCONCLUSIVE,
        claim=None,
        statement="Nothing may be claimed of this model.",
        limits=(
            "The configuration of the training was chosen with the records in; this is not undone.",
            "It is assumed that the request does not depend on models released before.",
            "A signature shows who stands for which bytes, no more.",
        ),
        not_covered=(
            "The owner's copy of the original model.",
            "backups, and copies of the model or of the data that others hold",
        ),
        destroyed=("attempts/1/checkpoints", "references/cache"),
        model_before=sha256(b"original"),
        model_after=None,
        environment={
            "python": "3.11.9",
            "torch": "2.6.0",
            "processor": "x86_64, 2 cores",
            "threads": "1",
            "deterministic_kernels": "yes",
        },
        seeds={"run": 0, "split": 11},
        costs=REFERENCE_COSTS,
        total=25.051,
        started="2026-07-14T10:12:05Z",
        finished="2026-07-14T10:22:48Z",
    )
    return replace(base, **changes)


def closed(*attempts, ships, statement, control, **changes):
    """Return a report whose verdict, claim and cost follow from its attempts."""
    shown = attempts[-1]
    lines = list(REFERENCE_COSTS)
    for tried in attempts:
        lines.append(
            CostLine(what=f"Attempt {tried.number}: {tried.title}", cost=tried.outcome.cost, share=tried.share)
        )
        lines.append(CostLine(what=f"Audit of attempt {tried.number}", cost=Cost(read=5_880), share=0.051))
    return report(
        attempts=attempts,
        control=control,
        chosen=shown.number if ships else None,
        verdict=shown.audits[-1].verdict,
        claim=shown.claim if ships else None,
        model_after=shown.model if ships else None,
        statement=statement,
        costs=tuple(lines),
        total=sum(line.share for line in lines),
        **changes,
    )


def erased():
    """Second attempt passes everything that is required."""
    control = audit("original", 1.0)
    second = audit("attempt 2", GOOD, alpha=alpha_of_attempt(2, 0.05), control=control)
    return closed(
        attempt(
            *(1, "finetune", audit("attempt 1", HALF, control=control)),
            stopped="after 5 epochs",
            touched=1.0,
        ),
        attempt(
            *(2, "scrub", second),
            history=tuple({"epoch": float(e), "objective": 1.0 / e, "trained": 10.0 * e} for e in range(1, 9)),
            stopped="after 8 epochs, when the loss on the choosing part met that of the references",
            touched=1.0,
            warnings=("The last epoch was undone, because it forgot more than retraining would.",),
        ),
        ships=True,
        control=control,
        statement="The model is not distinguishable from retrained models by the tests listed; this is not a proof.",
    )


def noop():
    """A method that does nothing must fail."""
    control = audit("original", 1.0)
    return closed(
        attempt(
            *(1, "noop", audit("attempt 1", 1.0, control=control)),
            stopped="at once: nothing to do",
            warnings=("This method is a control. It cannot erase anything.",),
        ),
        ships=False,
        control=control,
        statement="The audit tells the model from retrained ones. The records are not erased.",
        kept=("attempts/1/model.safetensors",),
    )


EVIDENCE = (
    "The trainer read 1,288 records and none of the 149 that must go; every read was counted.",
    "Its seed was drawn for this run and used for no reference.",
)


def exact():
    """Two attempts fail, then the model is retrained; one required check cannot be measured."""
    control = audit("original", 1.0)
    alphas = [alpha_of_attempt(number, 0.05) for number in (1, 2, 3)]
    half = [audit(f"attempt {number}", HALF, alpha=alphas[number - 1], control=control) for number in (1, 2)]
    third = audit("attempt 3", 0.0, alpha=alphas[2], control=control, missing=("relearning",))
    return closed(
        attempt(1, "finetune", half[0], stopped="after 5 epochs", touched=1.0),
        attempt(2, "scrub", half[1], stopped="after 8 epochs", touched=1.0),
        attempt(*(3, "retrain", third), stopped="when the training was over", touched=1.0, evidence=EVIDENCE),
        ships=True,
        control=control,
        statement="The model was retrained without the records: it has the same distribution as any such model.",
        notes=("The audit was inconclusive, because one required check could not be measured.",),
    )


def contradicted():
    """The audit contradicts a guarantee by bad luck; the second look, with fresh references, does not."""
    control = audit("original", 1.0)
    unlucky = {"membership": 0.45}
    looks = [audit("attempt 1", away, control=control) for away in (unlucky, 0.0)]
    looks[1] = replace(looks[1], references=tuple(seed + 100 for seed in SEEDS))
    return closed(
        attempt(1, "retrain", *looks, stopped="when the training was over", touched=1.0, evidence=EVIDENCE),
        ships=True,
        control=control,
        statement="The model was retrained without the records.",
    )


def powerless():
    """The original itself cannot be told from retrained models, so agreement shows nothing."""
    control = audit("original", 0.0)
    return closed(
        attempt(1, "finetune", audit("attempt 1", 0.0, control=control), stopped="after 5 epochs"),
        ships=False,
        control=control,
        statement="Whether the records are erased could not be determined.",
    )


def inconclusive():
    """No trainer, so no references: nothing that needs a yardstick is measured."""
    because = "no trainer was given, so there are no retrained models to compare with"
    control = replace(
        audit("original", 1.0), references=(), findings=tuple(unmeasured(spec, because) for spec in SPECS)
    )
    control = replace(control, verdict=Verdict.INCONCLUSIVE, cost=Cost())
    only = attempt(1, "finetune", replace(control, subject="attempt 1"), stopped="after 5 epochs")
    cost = Cost(trained=6_440)
    return report(
        attempts=(replace(only, share=None, config={}),),
        control=control,
        plan=Plan(
            options=tuple(replace(o, share=None, planned=o.method == "finetune") for o in OPTIONS),
            budget=1.0,
            references=0,
            choosing_references=0,
            retraining=None,
            audit_share=None,
            whole=None,
            advice=("Without a trainer nothing can be compared with retraining; pass one to get a verdict.",),
        ),
        request={"reference": "DSR-882"},
        statement="Whether the records are erased could not be determined.",
        costs=(CostLine(what="Attempt 1: Train on with the records that stay", cost=cost, share=None),),
        total=None,
    )


def by_design(name, value, yardstick, *, alpha, error, n):
    """Return a finding that needs no reference, judged as the audit does."""
    check = load_check("checks", name)
    result = Measurement(
        check=name,
        value=value,
        references=(),
        original=0.985 if name == "canaries" else yardstick.value,
        interval=known.difference(value, yardstick.value, error=error, alpha=alpha),
        n=n,
        record_error=error,
        null_errors=(),
        better=check.better,
        unit=check.unit,
        details={"epsilon": "0.00 or more at 95% confidence"} if name == "canaries" else {},
        cannot_see=check.cannot_see,
        yardstick=yardstick,
    )
    margin = Margin(margin={"canaries": 0.15, "holdout_kept": 0.04}[name], reason="what an attacker gains")
    return judge_one(check, result, margin, alpha=alpha, required=2)


def without_references(subject, auc, accuracy, *, alpha=0.025, control=None):
    """Return an audit by the quick policy."""
    chance = Yardstick(value=0.5, error=0.0258, what="chance", retrained=True)
    before = Yardstick(value=0.913, error=0.008, what="the original", retrained=False)
    findings = (
        by_design("canaries", auc, chance, alpha=alpha, error=0.0258, n=500),
        by_design("holdout_kept", accuracy, before, alpha=alpha, error=0.008, n=240),
    )
    required = [finding.decision for finding in findings]
    leaks = [findings[0].decision] if control is None else [control.findings[0].decision]
    said = judge(required) if control is None else verdict(required, control_leaks=leaks)
    return replace(audit(subject, 0.0, alpha=alpha), references=(), findings=findings, verdict=said)


def canaries():
    """The verdict rests on canaries: no model was retrained to compare with."""
    control = without_references("original", 0.985, 0.913, alpha=0.05)
    return closed(
        attempt(
            1, "finetune", without_references("attempt 1", 0.942, 0.951, control=control), stopped="after 5 epochs"
        ),
        attempt(
            *(2, "scrub", without_references("attempt 2", 0.508, 0.944, alpha=0.0125, control=control)),
            stopped="after 8 epochs",
        ),
        ships=True,
        control=control,
        statement=wording.statement(Level.AUDITED, Verdict.ERASED, references=0),
    )


def nothing():
    """A request that covers no record."""
    return report(
        forget_count=0,
        retain_count=1_437,
        problem=replace(report().problem, forget_count=0),
        plan=replace(report().plan, options=(), advice=(), references=0, choosing_references=0, whole=0.0),
        costs=(),
        total=0.0,
        destroyed=(),
        model_after=sha256(b"original"),
        statement="The request covers no records of the training data, so nothing was done.",
    )


MAKERS = (erased, noop, exact, contradicted, powerless, inconclusive, canaries, nothing)
SAMPLES = {make.__name__: make for make in MAKERS}


@cache
def sample_report(name):
    """Return a sample; made once, since reports are frozen."""
    return SAMPLES[name]()


@pytest.fixture(params=sorted(SAMPLES))
def sample(request):
    """Every sample in turn."""
    return sample_report(request.param)


@pytest.fixture
def samples():
    """All samples by name."""
    return {name: sample_report(name) for name in SAMPLES}
