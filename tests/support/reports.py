"""Reports that hang together, made without training anything, and model folders written by hand."""

import json
import struct
from dataclasses import replace

from expunge.core.check import Direction, Measurement, NotMeasured, Power, Question
from expunge.core.digest import combine, tensor_digest
from expunge.core.level import Level
from expunge.core.method import Cost
from expunge.core.outcome import Outcome
from expunge.core.plan import Option, Plan
from expunge.core.problem import ProblemSpec
from expunge.core.report import Attempt, Audit, CostLine, Finding, Report
from expunge.core.verdict import Decision, Verdict, alpha_of_attempt, claim, control_has_power, judge
from expunge.numerics import equivalence

# --- model folders ------------------------------------------------------------------------------------------

TENSORS = {
    "bias": ("F32", [2], struct.pack("<2f", 0.5, -0.5)),
    "weight": ("F32", [2, 3], struct.pack("<6f", *range(6))),
}


def safetensors(tensors, *, metadata=None):
    """Return the bytes of a safetensors file with the tensors in the order given."""
    header, data = ({"__metadata__": metadata} if metadata else {}), b""
    for name, (dtype, shape, content) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    return framed(header, data)


def framed(header, data=b""):
    """Return a file with this header, right or wrong; text is taken as it is."""
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    return struct.pack("<Q", len(text)) + text + data


def digest_of(tensors):
    """Return the model digest straight from the tensors, without a file."""
    return combine([tensor_digest(name, *parts) for name, parts in tensors.items()])


MODEL = digest_of(TENSORS)


def save_model(folder, tensors=TENSORS):
    """Write a model folder with a nested file, and return it."""
    (folder / "tokenizer").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(safetensors(tensors))
    (folder / "architecture.json").write_text('{"class": "toy"}\n')
    (folder / "tokenizer" / "words.txt").write_text("a\nb\n")
    return folder


# --- reports ------------------------------------------------------------------------------------------------

MARGIN = 0.3
CENTRES = {Decision.PASS: 0.0, Decision.INCONCLUSIVE: 0.3, Decision.FAIL: 0.9}


REFERENCES, ALPHA = (0.99, 1.0, 1.01), 0.025


def _interval(centre, alpha):
    return equivalence.difference(1.0 + centre, REFERENCES, record_error=0.01, alpha=alpha)


def _judged_at(entry, alpha, required):
    """Return a finding as an audit at this rate, with so many required checks, has it."""
    if not isinstance(entry.result, Measurement):
        return entry
    centre = entry.result.value - 1.0
    narrow, wide = _interval(centre, alpha), _interval(centre, alpha / max(1, required))
    return replace(entry, narrow=narrow, wide=wide, result=replace(entry.result, interval=narrow))


def finding(check="forget_loss", decision=Decision.PASS, *, question=Question.GONE, required=True):
    """Return a finding whose intervals bear the decision."""
    common = {
        "check": check,
        "title": check.replace("_", " "),
        "question": question,
        "required": required,
        "margin": MARGIN,
        "reason": "about five seed standard deviations",
        "decision": decision,
    }
    if decision is Decision.NOT_MEASURED:
        return Finding(result=NotMeasured(check=check, because="no holdout records"), **common)
    centre = CENTRES[decision]
    narrow = _interval(centre, ALPHA)
    measurement = Measurement(
        check=check,
        value=1.0 + centre,
        references=REFERENCES,
        original=2.0,
        interval=narrow,
        n=40,
        record_error=0.01,
        null_errors=(0.01, 0.01, 0.01),
        better=Direction.HIGHER,
        unit="nats",
        details={"TPR at 1 % FPR": "0.02"},
        cannot_see="order of records",
    )
    return Finding(
        result=measurement,
        narrow=narrow,
        wide=_interval(centre, ALPHA),
        chance=0.97,
        null=(-0.1, 0.1),
        null_passes=(3, 3),
        power=Power(0.4, 0.8),
        **common,
    )


GONE = (finding(), finding("test_accuracy", question=Question.INTACT))
LEAKS = (finding(decision=Decision.FAIL), finding("test_accuracy", question=Question.INTACT))
STILL_THERE = (finding(decision=Decision.FAIL), finding("test_accuracy", question=Question.INTACT))
UNCLEAR = (finding(decision=Decision.INCONCLUSIVE),)


def audit(findings, *, control=LEAKS, model=MODEL, attempt=1, subject=None, second=False):
    """Return an audit whose verdict follows from its findings."""
    alpha = alpha_of_attempt(attempt, 0.05) if attempt else 0.05  # the original's is the whole
    required = sum(entry.required for entry in findings)
    findings = tuple(_judged_at(entry, alpha, required) for entry in findings)
    verdict = judge([entry.decision for entry in findings if entry.required])
    if not control_has_power([e.decision for e in control if e.question is not Question.INTACT]):
        verdict = Verdict.INCONCLUSIVE
    return Audit(
        subject=subject or f"attempt {attempt}",
        model=model,
        alpha=alpha,
        references=(11, 12, 13) if second else (1, 2, 3),
        process="fresh process",
        findings=findings,
        verdict=verdict,
        cost=Cost(read=120.0),
    )


def attempt(*looks, number=1, guarantee=Level.AUDITED, model=MODEL, control=LEAKS):
    """Return an attempt with one audit per look, each look being findings."""
    audits = tuple(
        audit(findings, control=control, model=model, attempt=number, second=place > 0)
        for place, findings in enumerate(looks)
    )
    return Attempt(
        number=number,
        method="fine_tune",
        title="Fine-tuning on the retained records",
        guarantee=guarantee,
        config={"epochs": 5, "rate": 0.01, "schedule": ["warm", "cold"]},
        seed=7,
        outcome=Outcome(
            cost=Cost(trained=800.0),
            history=({"epoch": 1.0, "loss": 0.5},),
            touched=0.25,
            stopped="after 5 epochs",
            evidence=("the argument",),
        ),
        share=0.2,
        model=model,
        audits=audits,
        claim=claim(guarantee, [entry.verdict for entry in audits]),
    )


def report(*attempts, chosen=1, control=LEAKS, **changes):
    """Return a report; with no attempts given, of one that is erased and ships."""
    attempts = attempts or (attempt(GONE, control=control),)
    shipped = next((entry for entry in attempts if entry.number == chosen), None)
    level = shipped.claim if shipped else None
    last = (shipped or attempts[-1]).audits
    made = Report(
        expunge="0.1.0",
        title="A toy",
        run="ab" * 32,
        problem=ProblemSpec(
            task="classification",
            model="11" * 32,
            train="22" * 32,
            train_count=200,
            forget="33" * 32,
            forget_count=1,
            holdout="44" * 32,
            holdout_count=60,
            trainer="toy:train",
            request="55" * 32,
        ),
        request={"reference": "dsr-881", "ground": "GDPR Art. 17(1)(b)"},
        forget_count=1,
        retain_count=199,
        holdout_count=60,
        plan=Plan(
            options=(
                Option(
                    method="fine_tune",
                    title="Fine-tuning",
                    guarantee=Level.AUDITED,
                    cost=Cost(trained=800.0),
                    share=0.2,
                    planned=True,
                    why="cheapest",
                ),
            ),
            budget=1.0,
            references=3,
            choosing_references=0,
            retraining=Cost(trained=4000.0),
            audit_share=None,
            whole=0.5,
            advice=("One retraining would be dearer.",),
        ),
        policy="standard",
        policy_digest="66" * 32,
        control=audit(control, subject="original", attempt=0, model="11" * 32),
        attempts=attempts,
        chosen=chosen if shipped else None,
        verdict=last[-1].verdict if last else Verdict.INCONCLUSIVE,
        claim=level,
        statement="The model is not distinguishable from retrained ones by the tests listed; not a proof.",
        limits=("The tests see losses and outputs, not weights.",),
        not_covered=("backups of the original",),
        destroyed=("checkpoints/3.safetensors",),
        kept=("references/1",),
        notes=("a note",),
        model_before="11" * 32,
        model_after=shipped.model if shipped else None,
        environment={"python": "3.11", "torch": "2.13"},
        seeds={"method": 7},
        costs=(CostLine(what="attempt 1", cost=Cost(trained=800.0), share=0.2),),
        total=0.5,
        started="2026-01-01T00:00:00Z",
        finished="2026-01-01T00:10:00Z",
    )
    return replace(made, **changes)
