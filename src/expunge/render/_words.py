"""What a report says in words: headline, answers to the three questions, levels. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence

from expunge.core.check import Direction, Measurement, Question
from expunge.core.level import Level
from expunge.core.report import Attempt, Audit, Finding, Report
from expunge.core.verdict import Decision, Verdict, control_has_power
from expunge.core.wording import COPIES, KNOWN
from expunge.render._numbers import Scale, confidence, count, is_share, many

LEVELS = {
    Level.BITWISE: "Bitwise",
    Level.EXACT: "Exact",
    Level.CERTIFIED: "Certified",
    Level.AUDITED: "Audited",
    Level.SUPPRESSED: "Suppressed",
}
_HEADLINES = {
    Level.BITWISE: "Exact, byte for byte: as trained without the records",
    Level.EXACT: "Exact: as if retrained without the records",
    Level.CERTIFIED: "Certified: within a stated bound of retraining without the records",
    Level.AUDITED: "Erased: not distinguishable from retraining by the tests listed",
    Level.SUPPRESSED: "Not erased: the model is unchanged, only filtered",
}
_WITHOUT_CLAIM = {
    Verdict.ERASED: "No claim: the tests listed found no difference, but nothing may be claimed",
    Verdict.NOT_ERASED: "Not erased",
    Verdict.INCONCLUSIVE: "Not shown to be erased: the audit was inconclusive",
    None: "Not shown to be erased: no model was judged",
}
NOTHING_TO_DO = "Nothing to erase: the request covers no records of the training data"
_ORDER = (Decision.FAIL, Decision.NOT_MEASURED, Decision.INCONCLUSIVE, Decision.PASS)
"""Worst first: what one question says is what its worst required check says."""


def headline(report: Report) -> str:
    """Return the report in one line; it follows the claim, and only a claim may call the records erased."""
    if report.forget_count == 0:
        return NOTHING_TO_DO
    if report.claim is None:
        return _WITHOUT_CLAIM[verdict_of(report)]
    known = ", from a base that knows the forgotten answers" if KNOWN in report.statement else ""
    return f"{_claimed(report, report.claim)}{known}"


def _claimed(report: Report, level: Level) -> str:
    shipped = report.shipped
    if level is Level.AUDITED and not uses_references(shown_audit(judged(report))):
        shown = ", ".join(_GONE[name] for name in rests_on(shown_audit(judged(report)))) or "no trace was found"
        return f"Erased by the tests listed: {shown}; not compared with retraining"
    if level is Level.EXACT and shipped is not None and shipped.method == "retrain":
        return "Exact: retrained without the records"
    return _HEADLINES[level]


def tone(report: Report) -> Decision:
    """Return the sign and colour that the headline carries."""
    if report.forget_count == 0:
        return Decision.NOT_MEASURED
    if report.claim is not None:
        return Decision.FAIL if report.claim is Level.SUPPRESSED else Decision.PASS
    return Decision.FAIL if verdict_of(report) is Verdict.NOT_ERASED else Decision.INCONCLUSIVE


def ending(report: Report) -> str:
    """Return what the end of the run means for whoever waits for it."""
    if report.forget_count == 0:
        return "The run ended without work. The model that comes back is a copy of the original."
    if report.claim is None:
        return "The run ended without a claim. No certificate may be issued, and nothing may be called erased."
    if report.claim is Level.SUPPRESSED:
        return "The run ended with a filter. The records still shape the model, so nothing may be called erased."
    return "The run ended with its claim reached."


def caution(report: Report) -> str | None:
    """Return what a reader must know at once: copies that stay, and where claim and verdict differ."""
    copied = f"Not covered: {COPIES}." if COPIES in report.not_covered else None
    return " ".join(part for part in (_apart(report), copied) if part) or None


def _apart(report: Report) -> str | None:
    """Return what a reader must know where claim and verdict differ."""
    if report.claim is None or not report.claim.stands_alone:
        return None
    shown = judged(report)
    looks = [audit.verdict for audit in shown.audits] if shown is not None else []
    if looks == [Verdict.NOT_ERASED]:
        return (
            "The claim rests on the evidence of the method. The audit said “not erased”, without retrained models: "
            "there was nothing fresh to look again with."
        )
    if Verdict.NOT_ERASED in looks:
        return (
            "The claim rests on the evidence of the method. One audit said “not erased”; the model was "
            "looked at again with fresh references, and both audits are shown below."
        )
    if report.verdict is Verdict.ERASED:
        return None
    return "The claim rests on the evidence of the method, not on the audit, which was inconclusive."


def claim_line(report: Report) -> str:
    """Return the claim in a word or two."""
    return "None" if report.claim is None else LEVELS[report.claim]


def verdict_of(report: Report) -> Verdict | None:
    """Return the verdict; None where no model was judged, of which earlier versions wrote ``inconclusive``."""
    return report.verdict if any(attempt.audits for attempt in report.attempts) else None


def verdict_line(verdict: Verdict | None) -> str:
    """Return a verdict with a capital; where there is none, that no model was judged."""
    return "No model was judged" if verdict is None else verdict.value.capitalize()


def verdict_tone(verdict: Verdict | None) -> Decision:
    """Return the sign and colour of a verdict."""
    return {
        Verdict.ERASED: Decision.PASS,
        Verdict.NOT_ERASED: Decision.FAIL,
        Verdict.INCONCLUSIVE: Decision.INCONCLUSIVE,
        None: Decision.NOT_MEASURED,
    }[verdict]


def trained_on(report: Report) -> str:
    """Return how many records stay, or stand for those that stayed and are gone."""
    many_kept = many(report.retain_count, "record")
    return f"{many_kept} stand for what stayed" if report.problem.calibration else f"{many_kept} stay"


def of_all(report: Report) -> str:
    """Return how many records are forgotten, and of how many where the others are at hand."""
    if report.problem.calibration:
        return count(report.forget_count)
    return f"{count(report.forget_count)} of {count(report.forget_count + report.retain_count)}"


def judged(report: Report) -> Attempt | None:
    """Return the attempt that the page shows in full: the one that ships, else the last with the verdict, or at all."""
    if report.shipped is not None:
        return report.shipped
    said = [one for one in report.attempts if one.audits and one.audits[-1].verdict is report.verdict]
    return (said or report.attempts or [None])[-1]


def shown_audit(attempt: Attempt | None) -> Audit | None:
    """Return the audit that counts: the last look at this attempt."""
    return attempt.audits[-1] if attempt is not None and attempt.audits else None


def powerless(control: Audit | None) -> bool:
    """Return whether the checks could not tell the original from retrained models, or were never tried."""
    if control is None:
        return True
    return not control_has_power(_asked_of_control(control))


def unmeasured(control: Audit) -> bool:
    """Return whether nothing of what would show power could be measured on the original."""
    return all(decision is Decision.NOT_MEASURED for decision in _asked_of_control(control))


def uses_references(audit: Audit | None) -> bool:
    """Return whether any check of an audit compared with retrained models; true where nothing was measured."""
    results = [f.result for f in audit.findings if isinstance(f.result, Measurement)] if audit is not None else []
    return not results or any(result.references for result in results)


def rests_on(audit: Audit | None) -> tuple[str, ...]:
    """Return the checks that an audit without references rests on."""
    return tuple(f.check for f in audit.findings if f.check in _GONE) if audit is not None else ()


def others(audit: Audit) -> str:
    """Return in words what models an audit tells the one it judges from."""
    if uses_references(audit):
        return "retrained models"
    return f"models that never saw the {'canaries' if 'canaries' in rests_on(audit) else 'records'}"


def control_line(control: Audit | None) -> str:
    """Return what the audit of the original shows, in one line."""
    if control is None:
        return "the original was not audited"
    if unmeasured(control):
        return "nothing could be measured on the original: the checks show nothing here"
    if powerless(control):
        return f"the checks do not tell the original from {others(control)}: they show nothing here"
    return f"the checks tell the original from {others(control)}"


def yardstick(result: Measurement) -> str:
    """Return in words what a difference is a difference from."""
    return "retraining" if result.yardstick is None else result.yardstick.what


def designed(result: Measurement) -> str:
    """Return in words why a value is expected that no reference gave; empty where references gave it."""
    if result.yardstick is None:
        return ""
    said = "expected by design" if result.yardstick.retrained else "not of retrained models"
    return f"{said}: {result.yardstick.what}"


def _asked_of_control(control: Audit) -> list[Decision]:
    return [f.decision for f in control.findings if f.required and f.question is not Question.INTACT]


def answer(question: Question, findings: Sequence[Finding], *, blind: bool) -> tuple[Decision, str]:
    """Return what the checks of one question say together, and in words.

    ``blind`` says that the suite showed no power on the original; then a pass means nothing.
    """
    required = [finding for finding in findings if finding.required]
    if not findings:
        return Decision.NOT_MEASURED, "Not asked: no check of this question was run."
    if not required:
        return Decision.NOT_MEASURED, "No required check asks this; the figures below are for information."
    worst = next(decision for decision in _ORDER if any(f.decision is decision for f in required))
    number = sum(finding.decision is worst for finding in required)
    share = f"{count(number)} of {many(len(required), 'required check')}"
    compared = any(_references(f) for f in required)
    if worst is Decision.PASS and blind and question is not Question.INTACT:
        if not compared:
            return Decision.INCONCLUSIVE, (
                "Not known: these checks find no trace in the original model either, so that none here shows nothing."
            )
        return Decision.INCONCLUSIVE, (
            "Not known: these checks could not even tell the original model from retrained ones, "
            "so agreement with retraining shows nothing."
        )
    if worst is Decision.PASS:
        return worst, (_YES if compared else _YES_ALONE)[question]
    if worst is Decision.FAIL:
        differs = "differs" if number == 1 else "differ"
        return worst, f"{_NO[question]} {share} {differs} from {'retraining' if compared else 'what is expected'}."
    if worst is Decision.NOT_MEASURED:
        return worst, f"Not known: {share} could not be measured."
    return worst, f"Not known: {share} could neither pass nor fail."


_YES = {
    Question.GONE: "Yes, as far as these checks see: all agree with models retrained without the records.",
    Question.INTACT: "Yes, as far as these checks see: all agree with models retrained without the records.",
    Question.RECOVERABLE: "No more than from a retrained model, as far as these checks see.",
}
_GONE = {
    "canaries": "canaries are gone",
    "shard_members": "the members that held the records know them no better than the others",
}
"""What each check says that an audit without references can rest on."""
_YES_ALONE = {
    Question.GONE: "Yes, as far as these checks see: what chance dealt out before training can be told no more.",
    Question.INTACT: "Yes, as far as these checks see: the model is as good as the original.",
    Question.RECOVERABLE: "No, as far as these checks see.",
}
"""The same, where no required check compared with retrained models."""
_NO = {
    Question.GONE: "No:",
    Question.INTACT: "No:",
    Question.RECOVERABLE: "Not excluded:",
}


_BOUNDED = ("AUC", "probability", "distance")
"""Units besides shares of which no value lies below 0 or above 1."""
_ESTIMATED = ("usage",)
"""Checks whose share is estimated, and can come out beyond both."""


def room(finding: Finding) -> float | None:
    """Return the largest difference that is possible on a side that the margin bounds; None where that has no end."""
    result = finding.result
    if not isinstance(result, Measurement) or not result.compared or finding.check in _ESTIMATED:
        return None
    if not is_share(result.unit) and result.unit not in _BOUNDED:
        return None
    sides = {Direction.LOWER: result.expected, Direction.HIGHER: 1.0 - result.expected}
    return max(size for side, size in sides.items() if side is not finding.harmless)


def vacuous(finding: Finding) -> str:
    """Return words to say beside a margin that no difference can leave; empty for every other one."""
    most = room(finding)
    return "wider than any possible difference: cannot fail" if most is not None and finding.margin >= most else ""


def because(finding: Finding) -> str | None:
    """Return in words why a measured check passed, failed or did neither."""
    narrow, wide, scale = finding.narrow, finding.wide, Scale.of(finding)
    if finding.decision is Decision.PASS and finding.harmless is not None:
        loss = scale.margin(finding.margin)[1:]
        return f"The whole interval lies above a loss of {loss}; being better is no failure."
    if finding.decision is Decision.PASS:
        void = " No possible difference lies outside it: this check could not have failed." if vacuous(finding) else ""
        return f"The whole interval lies inside the margin of {scale.margin(finding.margin)}.{void}"
    if finding.decision is Decision.FAIL and wide is not None:
        return (
            f"The whole interval lies outside the margin, also at {confidence(wide.level)}, corrected for "
            f"the number of checks ({scale.steps(wide.low, wide.high)}): {_side(finding)}."
        )
    if finding.decision is Decision.INCONCLUSIVE and narrow is not None:
        return (
            "The interval is neither wholly inside the margin nor wholly outside it: this many records "
            f"{'and retrained models do' if _references(finding) else 'do'} not settle it."
        )
    return None


def _references(finding: Finding) -> bool:
    return bool(getattr(finding.result, "references", ()))


def _side(finding: Finding) -> str:
    centre = (finding.wide.low + finding.wide.high) / 2 if finding.wide is not None else 0.0
    better = getattr(finding.result, "better", Direction.HIGHER)
    beyond = (centre > 0) == (better is Direction.HIGHER)
    than = yardstick(finding.result) if isinstance(finding.result, Measurement) else "retraining"
    if finding.question is Question.INTACT:
        return f"better than {than}" if beyond else f"worse than {than}"
    if beyond:
        return "forgotten more than retraining would forget, which can itself give the records away"
    return "traces of the records remain"


def guarantee_line(level: Level) -> str:
    """Return what a method gives by construction."""
    if level is Level.AUDITED:
        return "None of its own; needs a passed audit"
    return LEVELS[level]


def sentence(name: str) -> str:
    """Return a name like ``hash_seed`` as words: ``Hash seed``."""
    words = name.replace("_", " ").strip()
    return words[:1].upper() + words[1:]


def sentences(texts: Sequence[str]) -> tuple[str, ...]:
    """Return every remark as a sentence."""
    return tuple(prose(text) for text in texts)


def prose(text: str) -> str:
    """Return a remark as a sentence, whether it came as one, as a fragment or as several lines."""
    said = "; ".join(line.strip() for line in text.splitlines() if line.strip())
    return said[:1].upper() + said[1:] + ("" if not said or said[-1] in ".!?:" else ".")
