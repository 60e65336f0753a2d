"""The course of the run: the control, all attempts, what was possible, what it cost."""

from __future__ import annotations

from collections.abc import Sequence

from expunge.core.method import Cost
from expunge.core.report import Attempt, Audit, Report
from expunge.core.verdict import Decision
from expunge.render import _lanes
from expunge.render._chart import found, histories
from expunge.render._checks import control_table, matrix, sight
from expunge.render._energy import used
from expunge.render._markup import Child, Markup, bullets, join, pairs, tag
from expunge.render._numbers import count, error_rate, many, percent, plain, retrainings
from expunge.render._table import badge, frame, more, row, table
from expunge.render._words import (
    LEVELS,
    guarantee_line,
    judged,
    others,
    powerless,
    prose,
    sentence,
    sentences,
    shown_audit,
    unmeasured,
    uses_references,
    verdict_line,
    verdict_tone,
)

_NARROW = tag("span", "Attempt ", class_="narrow")  # a narrow screen shows no column heads
_ATTEMPT_HEADS = (
    "Attempt",
    "Method",
    "Guarantee by construction",
    "Cost",
    "Error rate allowed",
    "Verdict",
    "Claim",
)


def control(report: Report) -> Markup:
    """Return what the suite says of the original: whether it could have seen the records at all."""
    if report.control is None:
        body: Markup = tag(
            "p",
            badge(Decision.NOT_MEASURED),
            tag(
                "span",
                "Not known, because the original model was not audited.",
            ),
            class_="answer",
        )
        return tag("section", tag("h2", _CONTROL), body, id="control")
    decision, word, said = _power(report.control)
    line = tag("p", badge(decision, word), tag("span", said), class_="answer")
    return tag("section", tag("h2", _CONTROL), line, control_table(report.control), id="control")


def _power(control_: Audit) -> tuple[Decision, str, str]:
    if unmeasured(control_):
        return (
            Decision.NOT_MEASURED,
            "Not measured",
            (
                "Not known. No required check of what is gone or recoverable could be measured on the "
                "original, so the verdict is inconclusive."
            ),
        )
    if powerless(control_):
        return (
            Decision.INCONCLUSIVE,
            "No power shown",
            (
                "No. The checks do not tell the original, which was trained on the records, from "
                f"{others(control_)}. Agreement with {'retraining' if uses_references(control_) else 'these'} "
                "therefore shows nothing, and the verdict is inconclusive."
            ),
        )
    return (
        Decision.PASS,
        "Power shown",
        (f"Yes. The same checks tell the original, which was trained on the records, from {others(control_)}."),
    )


_CONTROL = "Control: could these checks see the records at all?"


def seen(report: Report) -> Markup:
    """Return what each check could and could not have seen."""
    heading = tag("h2", "What each check could and could not have seen")
    return tag("section", heading, sight(shown_audit(judged(report))), id="sight")


def attempts(report: Report) -> Markup:
    """Return every attempt that the run saw, and every check on every model."""
    if not report.attempts:
        body: Child = tag("p", "No method was run.", class_="muted")
    else:
        rows = [_attempt(attempt, ships=attempt.number == report.chosen) for attempt in report.attempts]
        said = (
            "All attempts of this run are listed, not only the best. Each further attempt is judged at half "
            "the error rate of the one before, so that trying often buys nothing."
        )
        caption = f"{many(len(report.attempts), 'attempt')}, in the order they were made"
        body = join(
            tag("p", said),
            frame(caption, _ATTEMPT_HEADS, rows, class_="attempts"),
            matrix(report),
            _training(report),
            _found(report),
        )
    return tag("section", tag("h2", "All attempts"), body, _tuning(report), id="attempts")


def _training(report: Report) -> Markup | None:
    drawn = histories(report.attempts, report.retain_count)
    return join(tag("h3", "Training, epoch by epoch"), drawn) if drawn is not None else None


def _found(report: Report) -> Markup | None:
    drawn = found(report.attempts)
    return join(tag("h3", "Where the records sit"), drawn) if drawn is not None else None


def _tuning(report: Report) -> Markup | None:
    if not report.tuned:
        return None
    heads = ("Method", "Trials", "Cut short", "Failed", "Best", "Match", "Match of the original", "Harm", "Cost")
    rows: list[list[Child]] = [
        [
            one.title,
            *(count(number) for number in (one.trials, one.cut, one.failed)),
            count(one.best) if one.best is not None else "None",
            *(plain(each, 3) if one.best is not None else "" for each in (one.match, one.original, one.harm)),
            percent(one.share),
        ]
        for one in report.tuned
    ]
    beside = (
        "in the tokens of forgotten texts lies from that in texts that were held out"
        if report.problem.task == "causal_lm"
        else "in the labels of forgotten records lies from that in the same labels of held-out records of their classes"
    )
    said = (
        "Settings were searched by the choosing part alone, without any retrained model. Match: how far the confidence "
        f"{beside}, 0 where they cannot be told apart. Harm: confidence lost on what stays. Both are "
        "shares; neither is a verdict."
    )
    caption = "Trials of each method; cost as a share of one retraining"
    return join(tag("h3", "Tuning"), tag("p", said), table(caption, heads, rows, class_="sums"))


def _attempt(attempt: Attempt, *, ships: bool) -> Markup:
    cells: list[Child] = [
        join(_NARROW, count(attempt.number), tag("span", " ships", class_="second") if ships else None),
        attempt.title,
        guarantee_line(attempt.guarantee),
        percent(attempt.share),
        error_rate(attempt.audits[0].alpha) if attempt.audits else "not judged",
        _verdicts(attempt.audits),
        LEVELS[attempt.claim] if attempt.claim is not None else "None",
    ]
    head = row(_ATTEMPT_HEADS, cells, scope="rowgroup")
    course = _course(attempt)
    below = more(len(_ATTEMPT_HEADS), course) if course else None
    return tag("tbody", head, below, role="rowgroup")


def _verdicts(audits: Sequence[Audit]) -> Markup:
    if not audits:
        return badge(Decision.NOT_MEASURED, "Not judged")
    lines = []
    for look, audit in enumerate(audits):
        lines.append(tag("span", badge(verdict_tone(audit.verdict), verdict_line(audit.verdict)), class_="first"))
        if look:
            lines.append(tag("span", "with fresh references", class_="second"))
    return join(*lines)


def _course(attempt: Attempt) -> Markup:
    outcome = attempt.outcome
    return pairs(
        ("Did not pass", "; ".join(_not_passed(attempt.audits)) or None),
        ("Warnings", " ".join(sentences(outcome.warnings)) or None),
        ("Evidence", " ".join(sentences(outcome.evidence)) or None),
        ("Settings", sentence(attempt.tuned) if attempt.tuned else None),
        ("Course", f"{sentence(outcome.stopped)}; {_touched(outcome.touched)}" if outcome.stopped else None),
        class_="remarks",
    )


def _not_passed(audits: Sequence[Audit]) -> list[str]:
    """Return the required checks that did not pass, with what they said, once each."""
    findings = [finding for audit in audits for finding in audit.findings if finding.required]
    said = [f"{f.title} ({f.decision.value})" for f in findings if f.decision is not Decision.PASS]
    return list(dict.fromkeys(said))


def _touched(share: float) -> str:
    return "no parameter changed" if share == 0 else f"{percent(share)} of the parameters changed"


def plan(report: Report) -> Markup:
    """Return what was possible here, before anything was run."""
    heads = ("Method", "Guarantee by construction", "Cost", "Planned", "Why")
    rows: list[list[Child]] = [
        [
            option.title,
            guarantee_line(option.guarantee),
            f"up to {percent(option.share)}" if option.tuned and option.share is not None else percent(option.share),
            badge(Decision.PASS, "Yes") if option.planned else badge(Decision.NOT_MEASURED, "No"),
            prose(option.why),
        ]
        for option in report.plan.options
        if option not in (*report.plan.on_request, *report.plan.of_networks)
    ]
    beyond = [option.method for option in report.plan.of_networks]
    others = [f"{option.title} ({option.method})" for option in report.plan.on_request]
    caption = "Methods in the order they would be tried; cost as a share of one retraining"
    return tag(
        "section",
        tag("h2", "What was possible"),
        bullets(sentences(report.plan.advice), otherwise="") if report.plan.advice else None,
        table(caption, heads, rows, class_="plan") if rows else tag("p", "No method was considered.", class_="muted"),
        tag("p", f"Also possible, where named: {'; '.join(others)}.", class_="muted") if others else None,
        tag("p", f"On networks alone, and this model is none: {', '.join(beyond)}.", class_="muted")
        if beyond
        else None,
        _foreseen(report),
        id="plan",
    )


def _foreseen(report: Report) -> Markup:
    plan_ = report.plan
    return pairs(
        (
            "Retrained models planned",
            f"{count(plan_.references)} to judge by, {count(plan_.choosing_references)} to choose by",
        ),
        ("Budget for attempts", retrainings(plan_.budget)),
        ("Of which for tuning, at the most", retrainings(plan_.tuning) if plan_.tuning else None),
        ("Lowest accuracy of a trial", percent(plan_.floor) if plan_.tuning and plan_.floor is not None else None),
        ("One audit", retrainings(plan_.audit_share) if plan_.audit_share is not None else None),
        ("Dearest course", retrainings(plan_.whole) if plan_.whole is not None else None),
        class_="remarks",
    )


def costs(report: Report) -> Markup:
    """Return the whole cost, line by line."""
    heads = ("What", "Records trained on", "Records read", "Share of one retraining")
    rows = [[sentence(line.what), *_visits(line.cost), percent(line.share)] for line in report.costs]
    total = sum((line.cost for line in report.costs), Cost())
    foot = ["Whole cost", *_visits(total), percent(report.total)]
    body = (
        table(
            "Work in record visits; a trained visit weighs as much as three read ones",
            heads,
            rows,
            class_="sums",
            foot=foot,
        )
        if rows
        else tag("p", "Nothing was spent.", class_="muted")
    )
    return tag(
        "section",
        tag("h2", "What it cost"),
        tag("p", _against(report)),
        _lanes.costs(report.costs),
        body,
        pairs(*((what, prose(said)) for what, said in used(report)), class_="remarks"),
        id="cost",
    )


def _visits(cost: Cost) -> tuple[str, str]:
    return count(cost.trained), count(cost.read)


def _against(report: Report) -> str:
    whole = report.plan.retraining
    one = (
        f"One retraining without the records visits {many(whole.trained, 'record')}."
        if whole is not None
        else "What one retraining costs is not known here."
    )
    if report.total is None:
        return one
    more_ = " This is more than one retraining: see what it was spent on." if report.total > 1 else ""
    return f"{one} Everything together cost {_times_that(report.total)}.{more_}"


def _times_that(share: float) -> str:
    return f"{plain(share, 1)} times that" if share >= 2.0 else f"{percent(share)} of that"
