"""How it was done, so that another can do it again, and what became of the copies."""

from __future__ import annotations

import json
from collections.abc import Mapping

from expunge.core.report import Attempt, Report
from expunge.render._markup import Child, Markup, code, tag
from expunge.render._numbers import count
from expunge.render._table import table
from expunge.render._times import duration, moment, timing
from expunge.render._words import judged, sentence


def done(report: Report) -> Markup:
    """Return how it was done: settings, seeds, digests, policy, environment, times."""
    return tag(
        "section",
        tag("h2", "How it was done"),
        _times(report),
        tag("h3", "Method and settings"),
        *(_settings(attempt) for attempt in report.attempts),
        tag("p", "No method was run.", class_="muted") if not report.attempts else None,
        tag("h3", "Rules of judgement"),
        _rules(report),
        tag("h3", "Digests and seeds"),
        _digests(report),
        _seeds(report),
        tag("h3", "Environment"),
        _mapping("Where it ran", ("Part", "Value"), report.environment),
        id="done",
    )


def _times(report: Report) -> Markup:
    due = report.request.get("due", "")
    took = duration(report.started, report.finished)
    rows: list[list[Child]] = [
        ["Request received", moment(report.request.get("received", "")) or "not given", ""],
        ["Run started", moment(report.started), ""],
        ["Run finished", moment(report.finished), f"took {took}" if took else ""],
        [
            "Due",
            moment(due) or "not given",
            f"finished {late}" if (late := timing(report.finished, due)) else "",
        ],
    ]
    return table("Request and run", ("Step", "When", "Remark"), rows, class_="names")


def _settings(attempt: Attempt) -> Markup:
    rows: list[list[Child]] = [[code(name), code(_literal(value))] for name, value in sorted(attempt.config.items())]
    rows.append([code("seed"), code(str(attempt.seed))])
    caption = f"Attempt {attempt.number}: {attempt.title} ({attempt.method})"
    return table(caption, ("Setting", "Value"), rows, class_="names")


def _literal(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)


def _rules(report: Report) -> Markup:
    rows: list[list[Child]] = [
        ["Policy", report.policy],
        ["Digest of the policy", code(report.policy_digest)],
        ["Audited in", sentence(_process(report))],
    ]
    return table("Fixed before any method was run", ("What", "Value"), rows, class_="names")


def _process(report: Report) -> str:
    audits = [audit for attempt in report.attempts for audit in attempt.audits]
    ways = [audit.process for audit in ([report.control] if report.control is not None else []) + audits]
    return "; ".join(dict.fromkeys(ways)) or "no audit was run"


def _digests(report: Report) -> Markup:
    spec, shown = report.problem, judged(report)
    rows: list[tuple[str, str | None]] = [
        ("Run", report.run),
        ("Original model", report.model_before),
        ("Model that ships", report.model_after),
        ("Model judged last", shown.model if shown is not None and report.model_after is None else None),
        (f"Training records ({count(spec.train_count)})", spec.train),
        (f"Records to forget ({count(spec.forget_count)})", spec.forget),
        (f"Holdout, never trained on ({count(spec.holdout_count)})", spec.holdout),
        ("Calibration records, in place of the retained ones", spec.calibration),
        ("Request", spec.request),
    ]
    cells: list[list[Child]] = [[what, code(digest) if digest else "none"] for what, digest in rows if digest]
    return table("Digests (SHA-256)", ("What", "Digest"), cells, class_="names")


def _seeds(report: Report) -> Markup | None:
    rows: list[list[Child]] = [[sentence(name), code(str(seed))] for name, seed in sorted(report.seeds.items())]
    audits = [report.control, *(audit for attempt in report.attempts for audit in attempt.audits)]
    used = dict.fromkeys(audit.references for audit in audits if audit is not None and audit.references)
    for look, seeds in enumerate(used):
        name = "Retrained models, second look" if look else "Retrained models"
        rows.append([name, code(", ".join(str(seed) if seed >= 0 else "made elsewhere" for seed in seeds))])
    return table("Seeds", ("Of what", "Seed"), rows, class_="names") if rows else None


def _mapping(caption: str, heads: tuple[str, str], values: Mapping[str, str]) -> Markup:
    rows: list[list[Child]] = [[sentence(name), value or "not given"] for name, value in sorted(values.items())]
    return table(caption, heads, rows, class_="names") if rows else tag("p", "Not recorded.", class_="muted")


def state(report: Report) -> Markup:
    """Return what became of everything that held the records."""
    return tag(
        "section",
        tag("h2", "Copies that held the records"),
        tag("h3", "Destroyed"),
        _paths(report.destroyed, otherwise="Nothing was destroyed."),
        tag("h3", "Kept"),
        _paths(report.kept, otherwise="Nothing was kept."),
        tag("h3", "Not reached"),
        tag("p", "What was not covered stands with the ", tag("a", "claim", href="#claim"), "."),
        id="state",
    )


def _paths(paths: tuple[str, ...], *, otherwise: str) -> Markup:
    if not paths:
        return tag("p", otherwise, class_="muted")
    return tag("ul", *(tag("li", code(path)) for path in paths), class_="paths")
