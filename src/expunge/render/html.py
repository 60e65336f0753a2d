"""The report as one self-contained HTML page: no network, no script, the same bytes for the same report.

Source: WCAG 2.2 for contrast, headings, table heads and reflow; the page holds aggregates only, because the
report does.
"""

from __future__ import annotations

from expunge.core.digest import sha256
from expunge.core.report import Report
from expunge.render import _checks, _claim, _course, _done, _lanes
from expunge.render._document import document
from expunge.render._markup import Markup, code, join, tag
from expunge.render._table import signs
from expunge.render._words import headline, judged, shown_audit
from expunge.render.record import dump

_READERS = (
    (
        "For the person who signs",
        (("claim", "What is claimed, and what is not"), ("audit", "What the audit found"), ("state", "Copies")),
    ),
    (
        "For the engineer",
        (
            ("drawings", "Accuracies"),
            ("gone", "Gone?"),
            ("intact", "Intact?"),
            ("recoverable", "Recoverable?"),
            ("attempts", "All attempts"),
            ("cost", "What it cost"),
        ),
    ),
    (
        "For the auditor",
        (
            ("control", "Control"),
            ("sight", "What each check could see"),
            ("plan", "What was possible"),
            ("done", "Settings, seeds, digests, environment"),
        ),
    ),
)


def page(report: Report) -> str:
    """Return the page."""
    main = tag(
        "main",
        _claim.masthead(report),
        _readers(report),
        _claim.claim(report),
        _audit(report),
        _course.control(report),
        _course.seen(report),
        _course.attempts(report),
        _course.plan(report),
        _course.costs(report),
        _done.done(report),
        _done.state(report),
    )
    body = tag("body", signs(), main, _footer(report))
    return document(f"{headline(report)} – {report.title}", body)


def _readers(report: Report) -> Markup:
    """Return where each of the three readers finds what is meant for them."""
    judged_one = judged(report) is not None
    there = [(who, [link for link in links if judged_one or link[0] not in _OF_A_MODEL]) for who, links in _READERS]
    columns = [
        tag("div", tag("p", who), tag("ul", *(tag("li", tag("a", words, href=f"#{to}")) for to, words in links)))
        for who, links in there
    ]
    return tag("nav", *columns, aria_label="Contents, by reader")


_OF_A_MODEL = ("drawings", "gone", "intact", "recoverable")
"""Parts that are there only where a model was judged."""


def _audit(report: Report) -> Markup:
    attempt = judged(report)
    if attempt is None:
        body = join(tag("p", "No model was judged, because no method was run.", class_="muted"))
    else:
        which = "which ships" if report.shipped is not None else "the last one; none ships"
        body = join(
            tag("p", f"Shown in full: attempt {attempt.number} ({attempt.title}), {which}."),
            _checks.cards(report),
            tag("h3", "How to read the tables"),
            _guide(),
            tag("div", _lanes.accuracies(shown_audit(attempt)), id="drawings"),
            _checks.questions(report),
        )
    return tag("section", tag("h2", "What the audit found"), body, id="audit")


def _guide() -> Markup:
    said = (
        "The yardstick is not zero. It is a set of models retrained from scratch without the records, called "
        "references, each from another random seed: what any model knows that never saw them.",
        "A check passes when the whole interval of the difference between the unlearned model and the "
        "retrained ones lies inside a margin that was fixed before any method was run. It fails when the "
        "whole interval lies outside. Otherwise it is inconclusive. Forgetting too much fails like "
        "forgetting too little. Below each margin stands the chance that a true retrain passes, computed from how far "
        "retrained models differ: where it is low, the margin is too narrow for this problem, and a failure says "
        "little. How many of the few that there are did pass, each judged against the others, is counted further "
        "below.",
        "Some checks need no reference: what they are compared with is known by design (a coin decided which canaries "
        "were trained on, or a keyed hash which member of an ensemble held a record, so a model that saw none of them "
        "can only guess which), or is the original’s own value. "
        "Where only damage is judged, being better is no failure.",
        "Values of retrained models are given as mean, with the lowest and the highest below. “Points” are "
        "percentage points. In the drawings the dot is the measured difference, the thick line its "
        "interval, and the thin line the wider interval that is used for failing; the grey bar shows how "
        "far single retrained models lie from the others, and the ring (or the arrow, where it lies "
        "outside) the original model.",
    )
    return join(*(tag("p", sentence) for sentence in said))


def _footer(report: Report) -> Markup:
    said = join(
        f"Made by expunge {report.expunge} from the report record with SHA-256 ",
        code(sha256(dump(report))),
        " and from nothing else. This page holds no record and no record id.",
    )
    return tag("footer", tag("p", said))
