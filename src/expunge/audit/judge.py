"""From measurements to findings: the intervals, the null, and the chance that a true retrain passes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from expunge.audit.policy import Margin
from expunge.core import registry
from expunge.core.check import Check, EvidenceKind, Measurement, NotMeasured, Power, Question, Yardstick
from expunge.core.report import Finding
from expunge.core.verdict import Decision, decide
from expunge.numerics import equivalence, known


def judge_all(
    suite: Mapping[str, Margin], results: Mapping[str, Measurement | NotMeasured], alpha: float
) -> tuple[Finding, ...]:
    """Return one finding per check of the suite, in its order; a check without a result is not measured."""
    required = sum(margin.required for margin in suite.values())
    findings = []
    for name, margin in suite.items():
        result = results.get(name, NotMeasured(check=name, because="the check did not run"))
        findings.append(judge_one(registry.load("checks", name), result, margin, alpha=alpha, required=required))
    return tuple(findings)


def judge_one(
    check: type[Check], result: Measurement | NotMeasured, margin: Margin, *, alpha: float, required: int
) -> Finding:
    """Return the finding of one check; failing is corrected for the number of ``required`` checks."""
    if isinstance(result, NotMeasured):
        return Finding(
            check=check.name,
            title=check.title,
            question=check.question,
            required=margin.required,
            margin=margin.margin,
            reason=margin.reason,
            result=result,
            decision=Decision.NOT_MEASURED,
            source=check.source,
        )
    if result.yardstick is not None:
        return _by_yardstick(check, result, result.yardstick, margin, alpha=alpha, required=required)
    error, scale, references = result.record_error, result.seed_scale, result.references
    corrected = alpha / max(1, required)
    wide = equivalence.difference(result.value, references, record_error=error, alpha=corrected, scale=scale)
    alone = equivalence.leave_one_out(references)
    typical = float(np.sqrt(np.mean(np.square(result.null_errors))))
    smallest = equivalence.smallest_shown(
        references, record_error=typical, alpha=corrected, margin=margin.margin, scale=scale
    )
    return Finding(
        check=check.name,
        title=check.title,
        question=check.question,
        required=margin.required,
        margin=margin.margin,
        reason=margin.reason,
        result=result,
        decision=decide(result.interval, wide, margin.margin),
        narrow=result.interval,
        wide=wide,
        chance=equivalence.pass_chance(
            references, record_error=typical, alpha=alpha, margin=margin.margin, scale=scale
        ),
        null=(float(alone.min()), float(alone.max())),
        null_passes=_null_passes(result, margin.margin, alpha),
        power=Power(smallest, 0.8),
        source=check.source,
    )


def _by_yardstick(
    check: type[Check], result: Measurement, yardstick: Yardstick, margin: Margin, *, alpha: float, required: int
) -> Finding:
    """Return the finding of a check that needs no reference: the normal law, and no null but the one that is known."""
    corrected = alpha / max(1, required)
    harmless = check.better if check.damage_only else None
    wide = known.difference(result.value, yardstick.value, error=result.record_error, alpha=corrected)
    chance = known.pass_chance(yardstick.error, alpha=alpha, margin=margin.margin, one_sided=harmless is not None)
    return Finding(
        check=check.name,
        title=check.title,
        question=check.question,
        required=margin.required,
        margin=margin.margin,
        reason=margin.reason,
        result=result,
        decision=decide(result.interval, wide, margin.margin, harmless=harmless),
        narrow=result.interval,
        wide=wide,
        # Of another model's value nobody knows how far retraining would lie from it.
        chance=chance if yardstick.retrained else None,
        power=Power(known.smallest_shown(yardstick.error, alpha=corrected, margin=margin.margin), 0.8),
        source=check.source,
        harmless=harmless,
    )


def _null_passes(result: Measurement, margin: float, alpha: float) -> tuple[int, int] | None:
    """Count the references that pass against the others, of all; None where the others are too few to judge by."""
    passes = null_passes(result, margin, alpha)
    return (sum(passes), len(passes)) if passes else None


def null_passes(result: Measurement, margin: float, alpha: float) -> list[bool]:
    """Return of each reference whether it passes against the others: each is a true retrain that was not looked at.

    Nothing where the others are too few to judge by.
    """
    values = np.asarray(result.references)
    if len(values) <= equivalence.MIN_REFERENCES:
        return []
    passes = []
    for index, (value, error) in enumerate(zip(values, result.null_errors, strict=True)):
        interval = equivalence.difference(
            float(value), np.delete(values, index).tolist(), record_error=error, alpha=alpha, scale=result.seed_scale
        )
        passes.append(-margin <= interval.low and interval.high <= margin)
    return passes


def required_decisions(findings: tuple[Finding, ...]) -> list[Decision]:
    """Return the decisions of the required checks."""
    return [finding.decision for finding in findings if finding.required]


def leak_decisions(findings: tuple[Finding, ...]) -> list[Decision]:
    """Return the decisions of the required checks that ask whether the records are gone or recoverable."""
    asks = (Question.GONE, Question.RECOVERABLE)
    return [f.decision for f in findings if f.required and f.question in asks]


def asked(suite: Mapping[str, Margin]) -> frozenset[EvidenceKind]:
    """Return all evidence that the checks of the suite ask for."""
    return frozenset[EvidenceKind]().union(*(registry.load("checks", name).needs for name in suite))


def wanted(suite: Mapping[str, Margin]) -> dict[str, Margin]:
    """Return the required checks of a suite."""
    return {name: margin for name, margin in suite.items() if margin.required}


def lacking(suite: Mapping[str, Margin], have: frozenset[EvidenceKind]) -> dict[str, str]:
    """Return, per check of the suite that cannot run, which evidence is missing: known before any work."""
    missing = {name: registry.load("checks", name).needs - have for name in suite}
    return {name: ", ".join(sorted(kind.value for kind in kinds)) for name, kinds in missing.items() if kinds}
