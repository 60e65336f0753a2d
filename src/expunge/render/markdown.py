"""The report as Markdown (GitHub's dialect), for tickets, wikis and pull requests.

Every text that came with the report is escaped, so that a title or a warning stays text: it makes no heading, no
link, no image, no HTML, no row of a table.

Source: CommonMark 0.31 (sections 2.4, 2.5) and GitHub Flavored Markdown 0.29 (tables, autolinks).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from expunge.core.check import NotMeasured
from expunge.core.digest import sha256
from expunge.core.report import Attempt, Audit, Finding, Report
from expunge.render._energy import used
from expunge.render._markup import printable
from expunge.render._numbers import Scale, confidence, count, error_rate, many, percent, retrainings
from expunge.render._times import moment
from expunge.render._words import (
    caution,
    claim_line,
    control_line,
    designed,
    ending,
    headline,
    judged,
    of_all,
    prose,
    sentences,
    shown_audit,
    vacuous,
    verdict_line,
    verdict_of,
)
from expunge.render.record import dump

# Characters that reorder what a reader sees: a text must not look like another one.
_REORDERING = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;"}
# Marks of CommonMark and GitHub; a colon or a full stop only where an address would be linked by itself.
_SPECIAL = re.compile(r"[&<>|\\`*_\[\]~#$@]|(?<=[A-Za-z]):(?=\S)|(?i:(?<=\bwww)\.)")
# At its start a text must begin no list and no rule: "1. x", "- x", "---".
_BULLET = re.compile(r"^(\d*)([-+](?=[\s-]|$)|(?<=\d)[.)](?=\s|$))")


def page(report: Report) -> str:
    """Return the report as Markdown."""
    blocks = [
        f"# {escape(headline(report))}",
        escape(report.statement),
        *([f"**Note.** {escape(said)}"] if (said := caution(report)) else []),
        escape(ending(report)),
        _table(("What", "Value"), _facts(report)),
        f"## What {'this report' if report.claim is None else 'the claim'} does not say",
        _bullets(sentences(report.limits)),
        "## What was not covered",
        _bullets(sentences(report.not_covered)),
        *(["## Also worth knowing", _bullets(sentences(report.notes))] if report.notes else []),
        "## What the audit found",
        *_audits(report),
        "## All attempts",
        _attempts(report),
        "## What it cost",
        *_costs(report),
        "## Copies that held the records",
        _table(("What", "Path"), _copies(report)),
        f"Made by expunge {escape(report.expunge)} from the report record with SHA-256 `{sha256(dump(report))}` and "
        "from nothing else. It holds no record and no record id.",
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def escape(text: str) -> str:
    """Return ``text`` so that Markdown shows it as it is, on one line."""
    words = " ".join(printable(_REORDERING.sub("\ufffd", text)).split())
    words = _SPECIAL.sub(lambda found: _ENTITIES.get(found[0], "\\" + found[0]), words)
    return _BULLET.sub(r"\1\\\2", words)


def _facts(report: Report) -> list[tuple[str, str]]:
    request = ", ".join(report.request[key] for key in ("reference", "ground") if report.request.get(key))
    return [
        ("Case", report.title),
        ("Request", request or "no reference given"),
        ("Claim", claim_line(report)),
        ("Verdict of the audit", verdict_line(verdict_of(report))),
        ("Control", control_line(report.control)),
        ("Records to forget", of_all(report)),
        ("Model before", report.model_before),
        ("Model that ships", report.model_after or "none"),
        ("Rules of judgement", f"{report.policy}, digest {report.policy_digest}"),
        ("Run", report.run),
        ("Finished", moment(report.finished)),
    ]


def _audits(report: Report) -> list[str]:
    attempt, blocks = judged(report), []
    for audit in attempt.audits if attempt is not None else ():
        look = "" if audit is shown_audit(attempt) else ", first look"
        blocks += [f"### The unlearned model ({escape(audit.subject)}{look})", *_audit(audit)]
    if not blocks:
        blocks.append("No model was judged.")
    if report.control is not None:
        blocks += [
            "### The original (control)",
            "The same checks on the model that was handed in. They must find the records in it, or they show nothing.",
            *_audit(report.control),
        ]
    return blocks


def _audit(audit: Audit) -> list[str]:
    heads = ("Question", "Check", "Decision", "Value", "Expected", "Difference", "Interval", "Margin", "Records")
    blind = {f.title: getattr(f.result, "cannot_see", "") for f in audit.findings}
    yardstick = (
        f"Against {many(len(audit.references), 'retrained model')}, at an error rate of {error_rate(audit.alpha)}; "
        f"judged in: {escape(audit.process)}."
        if audit.references
        else f"There were no retrained models to compare with; error rate {error_rate(audit.alpha)}; "
        f"judged in: {escape(audit.process)}."
    )
    cannot = [f"{title} cannot see: {prose(said)}" for title, said in blind.items() if said]
    return [yardstick, _table(heads, [_row(finding) for finding in audit.findings]), _bullets(cannot) if cannot else ""]


def _row(finding: Finding) -> tuple[str, ...]:
    result, scale = finding.result, Scale.of(finding)
    title = finding.title if finding.required else f"{finding.title} (for information)"
    margin = "; ".join(part for part in (scale.margin(finding.margin), vacuous(finding)) if part)
    head = (finding.question.value, title, finding.decision.value)
    if isinstance(result, NotMeasured):
        return (*head, f"not measured: {result.because}", "", "", "", margin, "")
    value, records = scale.value(result.value), count(result.n)
    if not result.compared or finding.narrow is None:
        return (*head, value, "none", "not known", "", margin, records)
    expected = scale.value(result.expected) + (f" ({by})" if (by := designed(result)) else "")
    interval = f"{scale.steps(finding.narrow.low, finding.narrow.high)} ({confidence(finding.narrow.level)})"
    return (*head, value, expected, scale.step(result.difference), interval, margin, records)


def _attempts(report: Report) -> str:
    heads = ("Attempt", "Method", "Guarantee", "Cost", "Verdict", "Claim", "Ended", "Warnings")
    rows = [_attempt(attempt, report) for attempt in report.attempts]
    return _table(heads, rows) if rows else "No method was run."


def _attempt(attempt: Attempt, report: Report) -> tuple[str, ...]:
    return (
        f"{attempt.number}{' (ships)' if attempt.number == report.chosen else ''}",
        f"{attempt.title} ({attempt.method})",
        attempt.guarantee.value,
        retrainings(attempt.share),
        ", then ".join(audit.verdict.value for audit in attempt.audits) or "not judged",
        attempt.claim.value if attempt.claim is not None else "none",
        attempt.outcome.stopped,
        " ".join(sentences(attempt.outcome.warnings)),
    )


def _costs(report: Report) -> list[str]:
    rows = [(line.what, count(line.cost.trained), count(line.cost.read), percent(line.share)) for line in report.costs]
    rows.append(("everything", "", "", retrainings(report.total)))
    heads = ("What", "Records trained on", "Records read", "Share of one retraining")
    spent = used(report)
    return [_table(heads, rows), _table(("Used up", "Measured"), spent) if spent else ""]


def _copies(report: Report) -> list[tuple[str, str]]:
    return [("destroyed", path) for path in report.destroyed] + [("kept", path) for path in report.kept]


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [tuple(escape(cell) for cell in row) for row in rows]
    if not lines:
        return "None."
    drawn = [heads, ["---"] * len(heads), *lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in drawn)


def _bullets(items: Sequence[str]) -> str:
    return "\n".join(f"- {escape(item)}" for item in items) or "Nothing stated."
