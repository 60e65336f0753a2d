"""The report as JUnit XML, for continuous integration: one suite per audit, one case per check.

What CI must not read as passed is an ``error``: a required check that is inconclusive or was not measured. The
other candidate, ``skipped``, is counted as neither good nor bad by Jenkins, GitLab and GitHub's reporters, so a
pipeline whose audit never ran would stay green. A required check that failed is a ``failure``.

Counted are the audits of one model, the one that ships, else the last. Where a later attempt ships, an earlier one
may have failed: its cases are ``skipped``, as are checks for information only. The original is meant to fail; a
check that tells it from retrained models is a passed case, another one is ``skipped``, and one case more says
whether the control as a whole shows power. The claim is a suite of its own, so that a run in which nothing was
judged cannot be green. A claim that stands by how the model was made is green there beside a red audit.

Source: the schema of Jenkins' xUnit plugin (junit-10.xsd); XML 1.0, section 2.2, for the characters allowed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from expunge.core.check import Measurement, NotMeasured, Question
from expunge.core.level import Level
from expunge.core.report import Attempt, Audit, Finding, Report
from expunge.core.verdict import Decision, Verdict
from expunge.render._numbers import SPACE, Scale, many
from expunge.render._words import (
    because,
    claim_line,
    designed,
    ending,
    headline,
    judged,
    others,
    powerless,
    prose,
    vacuous,
    verdict_of,
)

# What XML 1.0 allows (production 2, Char), less what XML 1.1 discourages: C1 controls steer terminals.
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\u007e\u0085\u00a0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class _Case:
    """One test case; ``sign`` is the element that says how it ended, empty where it passed."""

    name: str
    sign: str = ""
    kind: str = ""
    message: str = ""
    said: str = ""


def suites(report: Report) -> str:
    """Return the report as JUnit XML."""
    root = ElementTree.Element("testsuites", name=_clean(f"expunge: {report.title}"))
    made = [_suite(root, report, "claim", [_claim(report)])]
    if report.control is not None:
        made.append(_suite(root, report, "control", _control(report, report.control), report.control))
    counted = judged(report)
    for attempt in report.attempts:
        for look, audit in enumerate(attempt.audits):
            name = f"attempt {attempt.number}{', second look' if look else ''}"
            cases = [_case(finding, counts=attempt is counted) for finding in audit.findings]
            made.append(_suite(root, report, name, cases, audit, attempt))
        if not attempt.audits:
            sign = "error" if attempt is counted else "skipped"
            why = "the model is the original" if attempt.claim is Level.SUPPRESSED else "there was no model to judge"
            case = _Case("audit", sign, "not judged", f"{why}: {attempt.outcome.stopped}")
            made.append(_suite(root, report, f"attempt {attempt.number}", [case], None, attempt))
    for name in ("tests", "failures", "errors"):
        root.set(name, str(sum(int(suite.get(name, "0")) for suite in made)))
    ElementTree.indent(root)
    return "<?xml version='1.0' encoding='utf-8'?>\n" + ElementTree.tostring(root, encoding="unicode") + "\n"


def _suite(
    root: ElementTree.Element,
    report: Report,
    name: str,
    cases: Sequence[_Case],
    audit: Audit | None = None,
    attempt: Attempt | None = None,
) -> ElementTree.Element:
    signs = [case.sign for case in cases]
    suite = ElementTree.SubElement(
        root,
        "testsuite",
        name=_clean(name),
        tests=str(len(cases)),
        failures=str(signs.count("failure")),
        errors=str(signs.count("error")),
        skipped=str(signs.count("skipped")),
        timestamp=_clean(report.finished.removesuffix("Z")),
    )
    properties = ElementTree.SubElement(suite, "properties")
    for key, value in _properties(report, audit, attempt):
        ElementTree.SubElement(properties, "property", name=key, value=_clean(value))
    for case in cases:
        element = ElementTree.SubElement(suite, "testcase", name=_clean(case.name), classname=_clean(f"expunge.{name}"))
        if case.sign:
            sign = ElementTree.SubElement(element, case.sign, type=case.kind, message=_clean(case.message))
            sign.text = _clean(case.said or case.message)
        elif case.said:
            ElementTree.SubElement(element, "system-out").text = _clean(case.said)
    return suite


def _properties(report: Report, audit: Audit | None, attempt: Attempt | None) -> list[tuple[str, str]]:
    rows = [("run", report.run), ("policy", f"{report.policy} {report.policy_digest}")]
    if attempt is not None:
        rows += [("method", attempt.method), ("ships", "yes" if attempt.number == report.chosen else "no")]
    if audit is not None:
        rows += [
            ("model", audit.model),
            ("references", str(len(audit.references))),
            ("alpha", repr(audit.alpha)),
            ("verdict", audit.verdict.value),
            ("process", audit.process),
        ]
    return rows


def _claim(report: Report) -> _Case:
    said = f"{headline(report)}. {report.statement}"
    name = f"claim: {claim_line(report)}"
    if report.forget_count == 0 or report.claim not in (None, Level.SUPPRESSED):
        return _Case(name, said=said)
    verdict = verdict_of(report)
    failed = report.claim is Level.SUPPRESSED or verdict is Verdict.NOT_ERASED
    kind = verdict.value if verdict is not None else "not judged"
    return _Case(name, "failure" if failed else "error", kind, headline(report), f"{said} {ending(report)}")


def _control(report: Report, control: Audit) -> list[_Case]:
    whole = _Case(f"the checks tell the original from {others(control)}")
    if powerless(report.control):
        why = f"no required check tells the original from {others(control)}, so no verdict means anything"
        whole = _Case(whole.name, "error", "no power", why)
    return [whole, *(_of_original(finding, others(control)) for finding in control.findings)]


def _of_original(finding: Finding, others: str) -> _Case:
    said = _said(finding)
    if finding.question is not Question.INTACT and finding.decision is Decision.FAIL:
        return _Case(finding.title, said=f"As it should, this check tells the original from {others}. {said}")
    kind = finding.decision.value
    return _Case(finding.title, "skipped", kind, f"on the original, which is no pass and no failure: {kind}", said)


def _case(finding: Finding, *, counts: bool) -> _Case:
    kind, said = finding.decision.value, _said(finding)
    if finding.decision is Decision.PASS:
        return _Case(finding.title, said=said)
    if not counts:
        return _Case(finding.title, "skipped", kind, f"{kind}; this model does not ship, another one is judged", said)
    if not finding.required:
        return _Case(finding.title, "skipped", kind, f"{kind}; for information, not required", said)
    if finding.decision is Decision.FAIL:
        return _Case(finding.title, "failure", kind, because(finding) or kind, said)
    # Not "skipped": see the top of this file.
    why = finding.result.because if isinstance(finding.result, NotMeasured) else because(finding) or kind
    return _Case(finding.title, "error", kind, f"{kind}: {why}", said)


def _said(finding: Finding) -> str:
    result, scale = finding.result, Scale.of(finding)
    lines = [f"{finding.question.value} {finding.decision.value}"]
    if isinstance(result, NotMeasured):
        lines.append(f"not measured: {result.because}")
    if isinstance(result, Measurement):
        lines.append(f"value {scale.value(result.value)} on {many(result.n, 'record')}")
        if result.compared and finding.narrow is not None:
            of = many(len(result.references), "retrained model")
            lines += [
                f"{designed(result) or f'{of}: mean'} {scale.value(result.expected)}",
                f"difference {scale.step(result.difference)}, "
                f"interval {scale.steps(finding.narrow.low, finding.narrow.high)}",
            ]
        if result.cannot_see:
            lines.append(f"cannot see: {prose(result.cannot_see)}")
    lines.append(f"margin {scale.margin(finding.margin)}: {prose(finding.reason)}")
    lines += [vacuous(finding)] if vacuous(finding) else []
    return "\n".join(lines)


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("\ufffd", text.replace(SPACE, " "))
