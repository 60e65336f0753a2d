"""What a certificate carries of a report: its facts, and findings and attempts as short texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from expunge.core.certificate import STANDARD_LIMITS
from expunge.core.check import Measurement
from expunge.core.report import Attempt, Audit, Finding, Report

FRESH = "fresh process"
"""What :attr:`Audit.process` says where the saved model was reopened apart from the run that made it."""


def carried(report: Report, attempt: Attempt) -> dict[str, Any]:
    """Return the fields of a certificate that are the report's, by name; ``attempt`` is the one that ships."""
    return {
        "issued": report.finished,
        "expunge": report.expunge,
        "run": report.run,
        "request": report.request,
        "model_before": report.model_before,
        "model_after": attempt.model,
        "method": attempt.method,
        "guarantee": attempt.guarantee,
        "config": attempt.config,
        "seeds": report.seeds,
        "environment": report.environment,
        "claim": report.claim,
        "statement": report.statement,
        "limits": _limits(report, attempt),
        "not_covered": report.not_covered,
        "verdict": report.verdict,
        "policy": report.policy,
        "policy_digest": report.policy_digest,
        "checks": rows(attempt.audits[-1] if attempt.audits else None),
        "controls": rows(report.control),
        "attempts": tuple(line(entry, shipped=attempt) for entry in report.attempts),
        "evidence": attempt.outcome.evidence,
        "destroyed": report.destroyed,
        "kept": report.kept,
    }


def _limits(report: Report, attempt: Attempt) -> tuple[str, ...]:
    limits = [*report.limits, *(text for text in STANDARD_LIMITS if text not in report.limits)]
    apart = sorted({audit.process for audit in attempt.audits if audit.process != FRESH})
    limits += [f"The audit did not run in a fresh process ({why})." for why in apart]
    return tuple(limits)


def rows(audit: Audit | None) -> tuple[Mapping[str, str], ...]:
    """Return one row per finding."""
    return tuple(_row(finding) for finding in audit.findings) if audit is not None else ()


def _row(finding: Finding) -> Mapping[str, str]:
    """Return a finding as text; no number of records, since that is padded away elsewhere."""
    row = {
        "check": finding.check,
        "title": finding.title,
        "question": finding.question.value,
        "required": "yes" if finding.required else "no",
        "decision": finding.decision.value,
        "margin": _number(finding.margin),
    }
    result = finding.result
    if not isinstance(result, Measurement):
        return {**row, "because": result.because}
    interval = finding.narrow or result.interval
    return {
        **row,
        "value": _number(result.value),
        "unit": result.unit,
        **_compared(result),
        "interval": f"{_number(interval.low)} to {_number(interval.high)}",
        "confidence": _number(interval.level),
    }


def _compared(result: Measurement) -> Mapping[str, str]:
    if result.yardstick is not None:
        name = "expected by design" if result.yardstick.retrained else result.yardstick.what
        return {name: _number(result.expected), "references": "0"}
    return {"reference mean": _number(result.expected), "references": str(len(result.references))}


def _number(value: float) -> str:
    # Three digits: more would let a share be turned back into a number of records.
    return format(value, ".3g")


def line(attempt: Attempt, *, shipped: Attempt) -> str:
    """Return what became of an attempt."""
    verdicts = ", then with fresh references ".join(audit.verdict.value for audit in attempt.audits)
    end = "shipped" if attempt.number == shipped.number else "not shipped"
    method = f"{attempt.method} ({attempt.guarantee.value})"
    tuned = f"; {attempt.tuned}" if attempt.tuned else ""
    return f"{attempt.number}. {method}: {verdicts or 'not judged'}; {end}{tuned}"
