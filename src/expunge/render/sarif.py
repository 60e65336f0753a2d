"""The report as SARIF 2.1.0, for viewers of findings: a rule per check, a result per check and model.

A result is ``fail`` where a required check of the model that counts failed (level ``error``; ``note`` where it is
for information), ``open`` where it was inconclusive or, though required, not measured, ``notApplicable`` where it
was for information and not measured, and ``pass``. The standard allows a level beside ``fail`` only, so that what is
open shows up as a notification of level ``error`` as well. The original and attempts that do not ship are
``informational``. One rule more, ``claim``, fails with level ``error`` where nothing may be claimed: who looks at
levels alone cannot take an audit that settled nothing for a good one.

Source: OASIS SARIF 2.1.0, sections 3.11 (messages), 3.20 (invocations), 3.27.9 (kind), 3.27.10 (level).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from expunge.core.check import NotMeasured
from expunge.core.digest import sha256
from expunge.core.level import Level
from expunge.core.report import Attempt, Audit, Finding, Report
from expunge.core.verdict import Decision
from expunge.render._markup import printable
from expunge.render._numbers import SPACE, Scale, many
from expunge.render._words import because, headline, judged, prose, verdict_of, yardstick
from expunge.render.record import dump

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
CLAIM = "claim"
_FILE = "report.json"  # viewers want a place; this one lies beside, whatever the folder is called
_KINDS = {Decision.PASS: "pass", Decision.FAIL: "fail", Decision.INCONCLUSIVE: "open"}


def log(report: Report) -> str:
    """Return the report as a SARIF log."""
    rules = [_claim_rule(), *_rules(report)]
    places = {rule["id"]: place for place, rule in enumerate(rules)}
    results = [_claim(report), *_results(report)]
    verdict = verdict_of(report)
    for result in results:
        result["ruleIndex"] = places[result["ruleId"]]
        result["partialFingerprints"] = {"expunge/v1": _fingerprint(report, result)}
    run = {
        "tool": {"driver": {"name": "expunge", "version": printable(report.expunge), "rules": rules}},
        "automationDetails": {"id": f"expunge/{report.run}"},
        "invocations": [
            {
                "executionSuccessful": True,
                "startTimeUtc": report.started,
                "endTimeUtc": report.finished,
                "toolExecutionNotifications": _notifications(report),
            }
        ],
        "results": results,
        "properties": {
            "title": printable(report.title),
            "verdict": verdict.value if verdict is not None else None,
            "claim": report.claim.value if report.claim is not None else None,
            "reportDigest": sha256(dump(report)),
        },
    }
    document = {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(document, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _audits(report: Report) -> Iterator[tuple[str, Audit, Attempt | None]]:
    if report.control is not None:
        yield "original", report.control, None
    for attempt in report.attempts:
        for look, audit in enumerate(attempt.audits):
            yield f"attempt {attempt.number}{', second look' if look else ''}", audit, attempt


def _claim_rule() -> dict[str, Any]:
    return {
        "id": CLAIM,
        "name": "Claim",
        "shortDescription": {"text": "What may be claimed of the model"},
        "help": {"text": "Fails where nothing may be claimed: the audit said not erased, or settled nothing."},
        "defaultConfiguration": {"level": "error"},
    }


def _rules(report: Report) -> list[dict[str, Any]]:
    found: dict[str, list[Finding]] = {}
    for _, audit, _ in _audits(report):
        for finding in audit.findings:
            found.setdefault(finding.check, []).append(finding)
    return [_rule(findings) for _, findings in sorted(found.items())]


def _rule(findings: list[Finding]) -> dict[str, Any]:
    first = findings[0]
    blind = next((said for f in findings if (said := getattr(f.result, "cannot_see", ""))), "")
    lines = [
        f"Margin {Scale.of(*findings).margin(first.margin)}: {prose(first.reason)}",
        *([f"Source: {prose(first.source)}"] if first.source else []),
        *([f"Cannot see: {prose(blind)}"] if blind else []),
    ]
    return {
        "id": first.check,
        "name": "".join(part.capitalize() for part in first.check.split("_")),
        "shortDescription": {"text": _message(first.title)},
        "fullDescription": {"text": _message(f"{first.question.value} {first.title}, against {_against(first)}.")},
        "help": {"text": _message(" ".join(lines))},
        "defaultConfiguration": {"level": "error" if first.required else "note"},
        "properties": {"required": first.required, "question": first.question.value},
    }


def _claim(report: Report) -> dict[str, Any]:
    good = report.forget_count == 0 or report.claim not in (None, Level.SUPPRESSED)
    said = f"{headline(report)}. {report.statement}"
    return _result(CLAIM, "pass" if good else "fail", "none" if good else "error", said, "claim", report.model_after)


def _results(report: Report) -> Iterator[dict[str, Any]]:
    counted = judged(report)
    for name, audit, attempt in _audits(report):
        counts = attempt is not None and attempt is counted
        for finding in audit.findings:
            kind, level = _sign(finding) if counts else ("informational", "none")
            yield _result(finding.check, kind, level, f"{name}: {_said(finding)}", name, audit.model)


def _sign(finding: Finding) -> tuple[str, str]:
    """Return (kind, level) of a finding on the model that counts."""
    if finding.decision is Decision.NOT_MEASURED:
        # The standard's "not applicable" would say that nothing is missing; a required check is missing.
        return ("open" if finding.required else "notApplicable"), "none"
    kind = _KINDS[finding.decision]
    return kind, ("error" if finding.required else "note") if kind == "fail" else "none"


def _result(rule: str, kind: str, level: str, said: str, where: str, model: str | None) -> dict[str, Any]:
    return {
        "ruleId": rule,
        "kind": kind,
        "level": level,
        "message": {"text": _message(said)},
        "locations": [
            {
                "physicalLocation": {"artifactLocation": {"uri": _FILE}},
                "logicalLocations": [{"name": where, "kind": "resource"}],
            }
        ],
        "properties": {"subject": where, "model": model},
    }


def _notifications(report: Report) -> list[dict[str, Any]]:
    """Return what a reader of levels must not miss: required checks of the model that counts that are open."""
    counted = judged(report)
    if counted is None:
        return []
    if not counted.audits:
        return [_notification(f"attempt {counted.number} was not judged: {counted.outcome.stopped}", CLAIM)]
    open_ = [f for audit in counted.audits for f in audit.findings if f.required and _sign(f)[0] == "open"]
    return [_notification(f"{f.title}: {_said(f)}", f.check) for f in open_]


def _notification(said: str, rule: str) -> dict[str, Any]:
    return {"level": "error", "message": {"text": _message(said)}, "associatedRule": {"id": rule}}


def _against(finding: Finding) -> str:
    known = getattr(finding.result, "yardstick", None)
    return known.what if known is not None else "retrained models"


def _said(finding: Finding) -> str:
    result, scale = finding.result, Scale.of(finding)
    if isinstance(result, NotMeasured):
        return f"not measured: {result.because}"
    said = f"{finding.decision.value}, {scale.value(result.value)} on {many(result.n, 'record')}"
    if result.compared and finding.narrow is not None:
        away = scale.step(result.difference)
        interval = scale.steps(finding.narrow.low, finding.narrow.high)
        said += f", {away} from {yardstick(result)} ({interval}; margin {scale.margin(finding.margin)})"
    why = because(finding)
    return f"{said}. {why}" if why else f"{said}."


def _message(text: str) -> str:
    """Return ``text`` as a message: braces would be placeholders, brackets links (3.11.5, 3.11.6)."""
    words = printable(text.replace(SPACE, " ")).replace("\\", "\\\\")
    for character in "[]":
        words = words.replace(character, "\\" + character)
    return words.replace("{", "{{").replace("}", "}}")


def _fingerprint(report: Report, result: dict[str, Any]) -> str:
    return sha256("\n".join((report.run, result["ruleId"], result["properties"]["subject"])).encode())
