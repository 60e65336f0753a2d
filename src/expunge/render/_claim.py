"""The top of the page: what may be said, what it rests on, what it leaves open."""

from __future__ import annotations

from expunge.core.level import PROMISES, Level
from expunge.core.report import Report
from expunge.render._markup import Markup, bullets, join, pairs, tag
from expunge.render._numbers import SPACE, retrainings
from expunge.render._table import badge, sign, tone_class
from expunge.render._times import moment, timing
from expunge.render._words import (
    LEVELS,
    caution,
    claim_line,
    ending,
    headline,
    judged,
    of_all,
    sentences,
    tone,
    trained_on,
    verdict_line,
    verdict_of,
    verdict_tone,
)


def masthead(report: Report) -> Markup:
    """Return the headline, the claim in one sentence, and the facts that a reader looks for first."""
    return tag(
        "header",
        tag("p", "Deletion of training data: report", class_="eyebrow"),
        tag("h1", sign(tone(report)), tag("span", headline(report))),
        tag("p", report.statement, class_="lead"),
        _warning(caution(report)),
        tag("p", ending(report)),
        _facts(report),
        class_=f"masthead {tone_class(tone(report))}",
    )


def _warning(text: str | None) -> Markup | None:
    return tag("p", tag("strong", "Note. "), text, class_="caution") if text else None


def _facts(report: Report) -> Markup:
    return pairs(
        ("Case", report.title if report.title != report.request.get("reference") else None),
        ("Request", _request(report)),
        ("Claim", claim_line(report)),
        ("Verdict of the audit", badge(verdict_tone(verdict_of(report)), verdict_line(verdict_of(report)))),
        ("Records to forget", _records(report)),
        ("Model that ships", _ships(report)),
        ("Whole cost", retrainings(report.total)),
        ("Finished", _finished(report)),
        class_="facts",
    )


def _request(report: Report) -> str:
    received = moment(report.request.get("received", ""))
    known = [*(report.request.get(key, "") for key in ("reference", "ground")), received and f"received {received}"]
    return ", ".join(text for text in known if text) or "no reference given"


def _records(report: Report) -> str:
    return f"{of_all(report)}; {trained_on(report)}" if report.problem.calibration else f"{of_all(report)} trained on"


def _ships(report: Report) -> str:
    shipped = report.shipped
    if shipped is not None:
        return f"Attempt {shipped.number} of {len(report.attempts)}: {shipped.title}"
    if report.forget_count == 0:
        return "A copy of the original"
    if report.claim is Level.SUPPRESSED:
        return "None: the original stays as it was"
    return "None" if report.claim is None else "None: the model was judged where it lies"


def _finished(report: Report) -> str:
    late = timing(report.finished, report.request.get("due", ""))
    return moment(report.finished) + (f", {late}" if late else "")


def claim(report: Report) -> Markup:
    """Return the section on the claim: its place on the scale, its evidence and its limits."""
    what = "this report" if report.claim is None else "the claim"
    return tag(
        "section",
        tag("h2", "What is claimed, and what is not"),
        _scale(report),
        _evidence(report),
        tag(
            "div",
            tag(
                "div",
                tag("h3", f"What {what} does not say"),
                bullets(sentences(report.limits), otherwise="Nothing stated."),
            ),
            tag(
                "div",
                tag("h3", "What was not covered"),
                bullets(sentences(report.not_covered), otherwise="Nothing stated."),
            ),
            class_="columns",
        ),
        _notes(report.notes),
        id="claim",
    )


def _scale(report: Report) -> Markup:
    said = "None is claimed." if report.claim is None else "The one that is claimed is marked."
    steps = [_step(level, claimed=level is report.claim) for level in Level]
    return join(
        tag("p", f"There are five levels of what may be said of a model, the strongest first. {said}"),
        tag("ol", *steps, class_="scale"),
    )


def _step(level: Level, *, claimed: bool) -> Markup:
    mark = tag("span", f"claimed{SPACE}here", class_="here") if claimed else None
    words = tag("span", tag("strong", LEVELS[level]), ": the model ", tag("span", PROMISES[level], class_="promise"))
    return tag("li", words, mark, class_="claimed" if claimed else None)


def _evidence(report: Report) -> Markup | None:
    attempt = judged(report)
    if attempt is None or not attempt.outcome.evidence or report.claim is None:
        return None
    return join(
        tag("h3", "What the claim rests on"),
        bullets(sentences(attempt.outcome.evidence), otherwise=""),
    )


def _notes(notes: tuple[str, ...]) -> Markup | None:
    return join(tag("h3", "Also worth knowing"), bullets(sentences(notes), otherwise="")) if notes else None
