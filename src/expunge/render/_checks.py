"""The three questions: each a table of its checks, with all that a reader needs to doubt a decision."""

from __future__ import annotations

import re
from collections.abc import Sequence
from statistics import fmean

from expunge.core.check import Measurement, NotMeasured, Question
from expunge.core.report import Audit, Finding, Report
from expunge.core.verdict import Decision
from expunge.render._chart import charts
from expunge.render._markup import Child, Markup, join, pairs, tag
from expunge.render._numbers import Scale, chance, confidence, count, many
from expunge.render._strip import strip
from expunge.render._table import badge, cell, frame, more, row, table, tone_class, two
from expunge.render._words import (
    answer,
    because,
    designed,
    judged,
    powerless,
    prose,
    room,
    sentence,
    shown_audit,
    vacuous,
)

ANCHORS = {Question.GONE: "gone", Question.INTACT: "intact", Question.RECOVERABLE: "recoverable"}
_HEADS = (
    "Check",
    "Unlearned model",
    "Retrained models",
    "Original model",
    "Difference from retrained",
    "Margin",
    "Decision",
)
_CONTROL_HEADS = (
    "Check",
    "Original model",
    "Retrained models",
    "Difference from retrained",
    "Margin",
    "Decision",
)


def findings_of(audit: Audit | None, question: Question) -> list[Finding]:
    """Return the findings of one question, in the order of the audit."""
    return [finding for finding in audit.findings if finding.question is question] if audit else []


def cards(report: Report) -> Markup:
    """Return the three answers side by side."""
    audit, blind = shown_audit(judged(report)), powerless(report.control)
    boxes = []
    for question, anchor in ANCHORS.items():
        decision, said = answer(question, findings_of(audit, question), blind=blind)
        boxes.append(
            tag(
                "li",
                tag("a", question.value, href=f"#{anchor}"),
                badge(decision, _SHORT[decision]),
                tag("p", said),
                class_=f"card {tone_class(decision)}",
            )
        )
    return tag("ul", *boxes, class_="cards")


_SHORT = {
    Decision.PASS: "Passed",
    Decision.FAIL: "Failed",
    Decision.INCONCLUSIVE: "Not known",
    Decision.NOT_MEASURED: "Not measured",
}


def questions(report: Report) -> Markup:
    """Return the three questions, each with its table."""
    attempt = judged(report)
    audit = shown_audit(attempt)
    subject = f"attempt {attempt.number}" if attempt is not None else "the model"
    blind = powerless(report.control)
    return join(*(_question(question, audit, subject, blind=blind) for question in Question))


def _question(question: Question, audit: Audit | None, subject: str, *, blind: bool) -> Markup:
    findings = findings_of(audit, question)
    decision, said = answer(question, findings, blind=blind)
    heading = tag("h3", question.value)
    line = tag("p", badge(decision, _SHORT[decision]), tag("span", said), class_="answer")
    body = _table(question, findings, audit, subject) if audit is not None and findings else None
    return tag(
        "section", heading, line, body, charts(findings, anchor=f"{ANCHORS[question]}-drawings"), id=ANCHORS[question]
    )


def _table(question: Question, findings: list[Finding], audit: Audit, subject: str) -> Markup:
    caption = f"“{question.value}” The unlearned model of {subject} against {_yardstick(audit)}{_at(findings)}"
    bodies = [tag("tbody", *_rows(finding), role="rowgroup") for finding in findings]
    return frame(caption, _HEADS, bodies, class_="checks")


def _yardstick(audit: Audit) -> str:
    if not audit.references:
        known = any(getattr(finding.result, "yardstick", None) for finding in audit.findings)
        return (
            "what is known without retrained models; there are none"
            if known
            else "nothing: there are no retrained models to compare with"
        )
    return f"{many(len(audit.references), 'model')} retrained without the records"


def _at(findings: list[Finding]) -> str:
    levels = sorted({finding.narrow.level for finding in findings if finding.narrow is not None})
    return f"; intervals at {' and '.join(confidence(level) for level in levels)}" if levels else ""


def _rows(finding: Finding) -> list[Markup]:
    if isinstance(finding.result, NotMeasured):
        rows = [_gap(_HEADS, finding, finding.result)]
        return [*rows, more(len(_HEADS), _remarks(finding))] if finding.reason else rows
    scale, result = Scale.of(finding), finding.result
    figures: list[Child] = [
        _title(finding),
        scale.value(result.value),
        _references(scale, result),
        scale.value(result.original) if result.original is not None else "not measured",
        _difference(scale, finding, result),
        _margin(scale, finding),
        badge(finding.decision),
    ]
    drawing = strip(finding, subject="Unlearned model")
    below = tag("div", drawing, _remarks(finding), class_="below")
    return [row(_HEADS, figures, scope="rowgroup"), more(len(_HEADS), below)]


def _title(finding: Finding) -> Markup:
    small = [
        f"on {many(finding.result.n, 'record')}" if isinstance(finding.result, Measurement) else "",
        "" if finding.required else "for information, not required",
    ]
    below = "; ".join(part for part in small if part)
    return join(tag("span", finding.title, class_="first"), tag("span", below, class_="second") if below else None)


def _margin(scale: Scale, finding: Finding) -> Markup:
    """Return the margin and, below it, how likely a true retrain is to pass it, or that nothing can fail it."""
    if vacuous(finding):
        return two(scale.margin(finding.margin), vacuous(finding))
    if finding.chance is None:
        return join(scale.margin(finding.margin))
    return two(scale.margin(finding.margin), f"a true retrain passes: {chance(finding.chance)}")


def _references(scale: Scale, result: Measurement) -> Markup:
    if result.yardstick is not None:
        return two(scale.value(result.expected), designed(result))
    if not result.references:
        return join("none")
    values = result.references
    return two(scale.value(fmean(values)), f"{scale.values(min(values), max(values))}")


def _difference(scale: Scale, finding: Finding, result: Measurement) -> Markup:
    if not result.compared or finding.narrow is None:
        return join("not known")
    return two(scale.step(result.difference), scale.steps(finding.narrow.low, finding.narrow.high))


def _remarks(finding: Finding) -> Markup:
    measured = isinstance(finding.result, Measurement)
    details = getattr(finding.result, "details", {})
    return pairs(
        ("Why this decision", because(finding) if measured else None),
        ("Why this margin", prose(finding.reason) if finding.reason else None),
        ("Source", prose(finding.source) if finding.source else None),
        *((sentence(name), said) for name, said in sorted(details.items(), key=_natural)),
        class_="remarks",
    )


def _natural(entry: tuple[str, str]) -> list[str | int]:
    """Order names as people do: 5 % before 10 %."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", entry[0])]


def control_table(control: Audit) -> Markup:
    """Return what the same checks say of the original."""
    caption = f"The original model against {_yardstick(control)}{_at(list(control.findings))}"
    rows = tag("tbody", *(_control_row(finding) for finding in control.findings), role="rowgroup")
    return frame(caption, _CONTROL_HEADS, [rows])


def _control_row(finding: Finding) -> Markup:
    scale, result = Scale.of(finding), finding.result
    if isinstance(result, NotMeasured):
        return _gap(_CONTROL_HEADS, finding, result)
    figures: list[Child] = [
        _title(finding),
        scale.value(result.value),
        _references(scale, result),
        _difference(scale, finding, result),
        scale.margin(finding.margin),
        badge(finding.decision),
    ]
    return row(_CONTROL_HEADS, figures)


def _gap(heads: Sequence[str], finding: Finding, result: NotMeasured) -> Markup:
    """Return the row of a check without a value: the reason stands where the figures would."""
    said = tag("span", f"Not measured: {result.because}", class_="cell")
    gap = tag("td", said, role="cell", colspan=str(len(heads) - 2))
    head = tag("th", _title(finding), scope="row", role="rowheader")
    return tag("tr", head, gap, cell(heads[-1], badge(finding.decision)), role="row")


_SIGHT_HEADS = (
    "Check",
    "Retrained models differ by",
    "Retrained models that pass",
    "Fails when the difference is",
    "Cannot see",
)


def sight(audit: Audit | None) -> Markup:
    """Return what each check could and could not have seen, in the audit that is shown in full."""
    findings = audit.findings if audit is not None else ()
    rows = [_seen(finding, finding.result) for finding in findings if isinstance(finding.result, Measurement)]
    if not rows:
        return tag("p", "No check was measured.", class_="muted")
    said = (
        "What each check says when nothing is wrong: how far single retrained models lie from the others, and how "
        "many of them pass. Then the smallest true difference that it would have failed in most cases; a smaller "
        "one may go unseen."
    )
    return join(
        tag("p", said),
        table(
            "What the checks say of retrained models, and from where on they fail", _SIGHT_HEADS, rows, class_="sight"
        ),
    )


def _seen(finding: Finding, result: Measurement) -> list[Child]:
    scale = Scale.of(finding)
    smallest: Child = "not known"
    if finding.power is not None:
        most = room(finding)
        smallest = two(scale.size(finding.power.smallest), f"or more, in {chance(finding.power.power)} of cases")
        if most is not None and finding.power.smallest > most:
            smallest = two("never surely", "it would take more than is possible")
    return [
        _title(finding),
        scale.steps(*finding.null) if finding.null is not None else "not known",
        f"{count(finding.null_passes[0])} of {count(finding.null_passes[1])}" if finding.null_passes else "not known",
        smallest,
        prose(result.cannot_see) if result.cannot_see else "not stated",
    ]


def matrix(report: Report) -> Markup | None:
    """Return what every check said of every model, or None where no model was judged."""
    columns: list[tuple[str, Audit]] = [("Original", report.control)] if report.control is not None else []
    for attempt in report.attempts:
        for look, audit in enumerate(attempt.audits):
            columns.append((f"Attempt {attempt.number}{', second look' if look else ''}", audit))
    if not columns or not report.attempts:
        return None
    order: dict[str, str] = {}
    for _, audit in columns:
        for finding in audit.findings:
            order.setdefault(finding.check, finding.title)
    rows = [[title, *_said([audit for _, audit in columns], check)] for check, title in order.items()]
    heads = ("Check", *(name for name, _ in columns))
    caption = "What each check said of each model; below each decision the difference from retrained models"
    inner = table(caption, heads, rows, class_="matrix")
    return tag("div", inner, class_="scroll", role="region", tabindex="0", aria_label="Every check on every model")


def _said(audits: list[Audit], check: str) -> list[Child]:
    """Return what ``check`` said in each audit, all with the same digits."""
    found = [next((f for f in audit.findings if f.check == check), None) for audit in audits]
    scale = Scale.of(*(finding for finding in found if finding is not None))
    return [_short(finding, scale) if finding is not None else "not asked" for finding in found]


def _short(finding: Finding, scale: Scale) -> Markup:
    result = finding.result
    if isinstance(result, NotMeasured) or not result.compared:
        return badge(finding.decision)
    return two(badge(finding.decision), scale.step(result.difference))
