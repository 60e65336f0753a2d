"""The report in a few lines of plain text, for a terminal."""

from __future__ import annotations

import textwrap

from expunge.core.check import NotMeasured, Question
from expunge.core.report import Attempt, Finding, Report
from expunge.render._checks import findings_of
from expunge.render._energy import used
from expunge.render._markup import printable
from expunge.render._numbers import SPACE, Scale, many, retrainings
from expunge.render._words import (
    caution,
    claim_line,
    control_line,
    headline,
    judged,
    shown_audit,
    trained_on,
    vacuous,
    verdict_line,
    verdict_of,
    yardstick,
)

_WIDTH = 100
_NARROWEST = 40
_NAME = 11


def summary(report: Report, *, width: int = _WIDTH) -> str:
    """Return headline, claim, verdict, cost, one line per check and one per attempt; no trailing newline.

    Lines have at most ``width`` columns, and never less room than 40.
    """
    wide = max(_NARROWEST, min(_WIDTH, width))
    lines = [*textwrap.wrap(headline(report), wide), "", *_facts(report, wide)]
    audit = shown_audit(judged(report))
    for question in Question:
        findings = findings_of(audit, question)
        if findings:
            lines += ["", question.value, *(line for finding in findings for line in _finding(finding, wide))]
    if report.attempts:
        lines += ["", "Attempts", *(line for a in report.attempts for line in _attempt(a, report, wide))]
    return "\n".join(printable(line.replace(SPACE, " ")).rstrip() for line in lines)


def _facts(report: Report, width: int) -> list[str]:
    facts = [
        ("Case", report.title),
        ("Claim", claim_line(report)),
        ("", report.statement),
        ("Verdict", verdict_line(verdict_of(report)).lower()),
        ("Control", control_line(report.control)),
        (
            "Records",
            f"{many(report.forget_count, 'record')} to forget, {trained_on(report)}",
        ),
        ("Cost", f"{retrainings(report.total)}, everything counted"),
        *used(report),
        ("Note", caution(report) or ""),
    ]
    return [line for name, text in facts if text for line in _entry(name, text, width)]


def _entry(name: str, text: str, width: int) -> list[str]:
    return textwrap.wrap(
        text,
        width,
        initial_indent=f"  {name:<{_NAME}}",
        subsequent_indent=" " * (_NAME + 2),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _finding(finding: Finding, width: int) -> list[str]:
    required = "" if finding.required else " (for information)"
    return textwrap.wrap(
        f"{finding.title}{required}: {_said(finding)}",
        width,
        initial_indent=f"  {finding.decision.value:<14}",
        subsequent_indent=" " * 16,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _said(finding: Finding) -> str:
    result, scale, narrow = finding.result, Scale.of(finding), finding.narrow
    if isinstance(result, NotMeasured):
        return result.because
    if not result.compared or narrow is None:
        return scale.value(result.value)
    away = scale.step(result.difference)
    void = f", {vacuous(finding)}" if vacuous(finding) else ""
    interval = scale.bare_steps(narrow.low, narrow.high)
    return f"{away} from {yardstick(result)} ({interval}; margin {scale.bare_margin(finding.margin)}{void})"


def _attempt(attempt: Attempt, report: Report, width: int) -> list[str]:
    verdicts = ", then ".join(audit.verdict.value for audit in attempt.audits) or "not judged"
    ships = ", ships" if attempt.number == report.chosen else ""
    claim = attempt.claim.value if attempt.claim is not None else "none"
    cost = retrainings(attempt.share)
    why = "" if attempt.model else f" ({attempt.outcome.stopped})"
    said = f"{attempt.title}: {verdicts}{why}; claim {claim}; cost {cost}{ships}"
    return textwrap.wrap(
        said,
        width,
        initial_indent=f"  {attempt.number}  ",
        subsequent_indent="     ",
        break_on_hyphens=False,
    )
