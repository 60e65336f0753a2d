"""Recompute intervals, decisions, verdicts and the claim from the values in a report; rules are in ``core.verdict``.

Not covered: whether anything was measured as the report says.
"""

from __future__ import annotations

import math

from expunge.certify._intervals import recomputed, same
from expunge.core.check import Measurement, Question
from expunge.core.report import Attempt, Audit, Finding, Report
from expunge.core.verdict import Decision, Verdict, claim, decide, verdict


def contradictions(report: Report) -> list[str]:
    """Return every place where the report does not follow from its own figures, one sentence each."""
    found = _of_findings(report.control, "the original") if report.control else []
    numbers = [attempt.number for attempt in report.attempts]
    if numbers != sorted(set(numbers)) or not all(number > 0 for number in numbers):
        found.append("The attempts are not numbered in order.")
    for attempt in report.attempts:
        found += _of_attempt(report, attempt)
    return found + _of_rates(report) + _of_outcome(report)


def _of_attempt(report: Report, attempt: Attempt) -> list[str]:
    where, found = f"attempt {attempt.number}", []
    for audit in attempt.audits:
        found += _of_findings(audit, where)
        if audit.model != attempt.model:
            found.append(f"The model that was judged in {where} is not the one it made.")
        if audit.verdict is not _verdict(report, audit):
            found.append(f"The verdict on {where}, {audit.verdict.value}, does not follow from its checks.")
    made = bool(attempt.model)  # a method that failed leaves no model
    if attempt.claim is not (claim(attempt.guarantee, [a.verdict for a in attempt.audits]) if made else None):
        found.append(f"The claim of {where} does not follow from its guarantee and verdicts.")
    return found


def _of_findings(audit: Audit, where: str) -> list[str]:
    wrong = [finding.check for finding in audit.findings if finding.decision is not _decision(finding)]
    required = sum(finding.required for finding in audit.findings)
    moved = [finding.check for finding in audit.findings if not _stands(finding, audit.alpha, required)]
    return [
        *(f"The decision of {check} on {where} does not follow from its interval." for check in wrong),
        *(f"The interval of {check} on {where} does not follow from its values." for check in moved),
    ]


def _stands(finding: Finding, alpha: float, required: int) -> bool:
    """Return whether the intervals are those of the values: failing is corrected for the number of required checks."""
    result = finding.result
    if not isinstance(result, Measurement):
        return finding.narrow is None and finding.wide is None
    narrow, wide = recomputed(result, alpha), recomputed(result, alpha / max(1, required))
    size = max(map(abs, (result.value, *result.references)))
    pairs = ((finding.narrow, narrow), (finding.wide, wide), (result.interval, narrow))
    return all(same(told, own, size) for told, own in pairs)


def _decision(finding: Finding) -> Decision:
    if not isinstance(finding.result, Measurement):
        return Decision.NOT_MEASURED
    if finding.narrow is None or finding.wide is None:
        return Decision.INCONCLUSIVE
    # Over-forgetting is a trace: only what asks whether the rest is intact may leave a side open.
    harmless = finding.harmless if finding.question is Question.INTACT else None
    return decide(finding.narrow, finding.wide, finding.margin, harmless=harmless)


def _verdict(report: Report, audit: Audit) -> Verdict:
    control = report.control.findings if report.control else ()
    leaks = [f.decision for f in control if f.required and f.question is not Question.INTACT]
    return verdict([f.decision for f in audit.findings if f.required], control_leaks=leaks)


def _of_rates(report: Report) -> list[str]:
    """Check that attempt k was judged at alpha * 2**-k, with one alpha for all: that of the original's audit."""
    whole = [report.control.alpha] if report.control else []
    rates = [*whole, *(audit.alpha * 2.0**attempt.number for attempt in report.attempts for audit in attempt.audits)]
    if all(math.isclose(rate, rates[0]) for rate in rates):
        return []
    return ["The attempts were not judged at halving error rates."]


def _of_outcome(report: Report) -> list[str]:
    shipped = report.shipped
    if shipped is None:
        return []
    found = []
    if report.claim is not shipped.claim:
        found.append("The claim of the report is not that of the attempt that ships.")
    if report.model_after != shipped.model:
        found.append("The model of the report is not that of the attempt that ships.")
    if shipped.audits and report.verdict is not shipped.audits[-1].verdict:
        found.append("The verdict of the report is not the last one on the model that ships.")
    return found
