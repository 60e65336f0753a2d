"""What to do next: one sentence each, with the command that does it."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from expunge.core.check import NotMeasured
from expunge.core.level import Level
from expunge.core.plan import FORCED, OVER_BUDGET, Option
from expunge.core.report import Finding, Report
from expunge.core.suppression import FILTERS
from expunge.core.verdict import Verdict

if TYPE_CHECKING:
    from expunge.workflow import Result

_FEWEST = 3


@dataclass(frozen=True)
class Step:
    """One thing to do; ``command`` is empty where no command does it."""

    why: str
    command: str = ""


def near(path: Path) -> str:
    """Return a path as seen from here, where that is below here; else as it is."""
    below = os.path.relpath(path)
    return str(path) if below.startswith("..") else below


def program() -> str:
    """Return the words by which expunge is called here."""
    if shutil.which("expunge"):
        return "expunge"
    as_module = Path(sys.argv[0]).name == "__main__.py"  # python -m expunge
    return f"{shlex.quote(sys.executable)} -m expunge" if as_module else shlex.quote(sys.argv[0])


def line(*words: str) -> str:
    """Return a command line that can be pasted."""
    return f"{program()} {shlex.join(words)}"


def steps(result: Result, again: Sequence[str]) -> list[Step]:
    """Return what to do after a run; ``again`` are the words of a command that goes on in its directory."""
    report = result.report
    if report is None:
        return []
    if result.certificate is not None:
        return [_opening(result), _verifying(result)]
    if report.claim is Level.SUPPRESSED:
        there = " and ".join(name for name in FILTERS if (result.out / name).exists())
        why = f"nothing was erased: let {there} stand around the model, and erase the records by another method"
        return [_opening(result), Step(why)]
    if report.claim is not None:
        why = "no certificate, because how this model was made is not known; one for a model of its own comes from"
        return [_opening(result), *([Step(why, line(*_erasing(again, result.out)))] if again[:1] != ["demo"] else [])]
    found = [_opening(result), *_broken(report)]
    if report.verdict in (Verdict.INCONCLUSIVE, None):
        found += _missing(report, again, result.out)
    else:
        found += _failed(report)
    return [*found, *_untried(result, report, again if again[:1] != ["audit"] else _erasing(again, result.out))]


def _without(words: Sequence[str], *flags: str) -> list[str]:
    """Return words without these flags and the values that follow them."""
    return [word for place, word in enumerate(words) if not {word, *words[max(place - 1, 0) : place]} & {*flags}]


def _erasing(again: Sequence[str], out: Path) -> list[str]:
    """Return the words of an erasure for those of an audit, whose model and given references are no flags of it."""
    words = ["erase", *_without(again[1:], "--model")]
    if "--reference" not in words:
        return words
    # Other references are another run; those of the audit can be named in the job file.
    return [*_without(words, "--reference", "--out"), "--out", f"{near(out)}-erase"]


def _opening(result: Result) -> Step:
    return Step(f"open the report: {near(result.page)}")


def _verifying(result: Result) -> Step:
    assert result.certificate is not None
    assert result.folder is not None
    development = result.out / "development-key.pub"
    key = [near(development), "--allow-development-key"] if development.exists() else ["YOUR-KEY.pub"]
    base = getattr(result.problem.source, "base", None) if result.problem is not None else None
    beside = ["--base", near(base)] if base is not None else []
    words = ["verify", near(result.certificate), "--model", near(result.folder), *beside, "--key", *key]
    return Step("check the certificate as a stranger would:", line(*words))


def _broken(report: Report) -> list[Step]:
    """Return why the last attempt came to no model, where it did not."""
    last = report.attempts[-1] if report.attempts else None
    if last is None or last.model:
        return []
    where = f"smaller steps, in [methods.{last.method}] of the job file" if last.config else "another method"
    return [Step(f"{last.title} came to no model ({last.outcome.stopped}): try {where}")]


def _failed(report: Report) -> list[Step]:
    """Return what failed, and what that asks for: more forgetting (or less), or more care for what stays."""
    from expunge.core.check import Question
    from expunge.core.verdict import Decision
    from expunge.render._words import judged, shown_audit

    audit = shown_audit(judged(report))
    failed = [f for f in audit.findings if f.required and f.decision is Decision.FAIL] if audit is not None else []
    harmed = [f.title for f in failed if f.question is Question.INTACT]
    shows = [f.title for f in failed if f.question is not Question.INTACT]
    found = []
    if shows:
        found.append(Step(f"what failed on the records: {', '.join(shows)}. A method that reaches further is needed"))
    if harmed:
        found.append(Step(f"what stays was harmed: {', '.join(harmed)}. Fewer or smaller steps are needed"))
    return found


def _missing(report: Report, again: Sequence[str], out: Path) -> list[Step]:
    from expunge.audit.needed import needed, sentence
    from expunge.render._words import judged, powerless, shown_audit, uses_references

    count = report.plan.references
    if report.control is not None and not uses_references(report.control):
        return _alone(report, again, out)
    if report.problem.trainer is None and count < _FEWEST:
        why = (
            f"the problem has no trainer: give it one, so that {_FEWEST} references or more can be trained, or give "
            "the audit as many that were retrained elsewhere (given_references in the job file)"
        )
        return [Step(why)]
    if count < _FEWEST:
        return [
            _with_references("without references nothing is measured; the policy's number of them:", None, again, out)
        ]
    if powerless(report.control):
        said = f"the checks cannot tell the original from {count} retrained models"
        more = _with_references(f"{said}; intervals are narrower with more of them:", 2 * count, again, out)
        few = f"too few of them are judged ({report.forget_count} to forget)"
        why = f"the records left no trace that these checks see, or {few}"
        start = "from new weights, or from what the original itself was trained from"
        if report.problem.trainer is not None:
            why = f"see that the trainer starts {start}; or {why}"
        else:
            why = f"see that the references were trained {start}; or {why}"
        return [more, Step(f"or {why}")] if report.problem.trainer is not None else [Step(f"{said}: {why}")]
    audit = shown_audit(judged(report))
    findings = [f for f in audit.findings if f.required] if audit is not None else []
    found = [Step(f"{f.title} could not be measured: {f.result.because}") for f in findings if _unmeasured(f)]
    told = [(f, need) for f in findings if (need := needed(f)) is not None]
    found += [Step(sentence(f, need)) for f, need in told]
    wanted = [need.references for _, need in told]
    if wanted and report.problem.trainer is not None and all(number is not None for number in wanted):
        most = max(number for number in wanted if number is not None)
        found.append(
            _with_references(f"the audit with {most} references, in a directory of its own:", most, again, out)
        )
    return found


def _alone(report: Report, again: Sequence[str], out: Path) -> list[Step]:
    """Return what to do where the verdict needs no references, and is open."""
    from expunge.audit.needed import needed, sentence
    from expunge.render._words import judged, powerless, rests_on, shown_audit, unmeasured

    audit = shown_audit(judged(report)) or report.control
    findings = [f for f in audit.findings if f.required] if audit is not None else []
    found = [Step(f"{f.title} could not be measured: {f.result.because}") for f in findings if _unmeasured(f)]
    planted = report.control is not None and "canaries" in rests_on(report.control)
    if planted and powerless(report.control) and not unmeasured(report.control):
        found.append(Step("the original shows no trace of the canaries: plant more before the next training"))
    found += [Step(sentence(f, need)) for f in findings if (need := needed(f)) is not None]
    if report.problem.trainer is not None:
        kept = _without(again, "--policy", "--out")
        from expunge.audit.policy import for_task

        policy = for_task(report.problem.task)
        words = (*kept, "--policy", policy, "--out", f"{near(out)}-{policy}")
        found.append(Step("judge against retrained models instead:", line(*words)))
    return found


def _unmeasured(finding: Finding) -> bool:
    return isinstance(finding.result, NotMeasured)


def _with_references(why: str, count: int | None, again: Sequence[str], out: Path) -> Step:
    if again[:1] == ["demo"]:
        return Step(why.rstrip(":"))
    number = ["--references", str(count)] if count is not None else []
    # Another number of references is another run: what was given for this one goes.
    kept = _without(again, "--references", "--out")
    return Step(why, line(*kept, *number, "--out", f"{near(out)}-{count or 'references'}"))


def _untried(result: Result, report: Report, again: Sequence[str]) -> list[Step]:
    """Return the methods that this run did not try, the strongest first.

    Where the audit cannot tell the original from retrained models none is named that rests on what the audit says.
    """
    from expunge.plan import auto
    from expunge.render._words import powerless
    from expunge.workflow.stages import EXTERNAL

    blind = report.control is not None and powerless(report.control)
    tried = {attempt.method for attempt in report.attempts}
    left = [option for option in report.plan.options if option.method not in tried and _possible(option)]
    options = [option for option in left if not (blind and option.guarantee is Level.AUDITED)]
    words, found = _without(again, "--method"), []
    if not tried and report.plan.budget < 1:  # the same budget would hold nothing again
        words = [*_without(words, "--budget"), "--budget", "100%"]
    named = any(option.tuned or option.why == FORCED for option in report.plan.options)
    # What was tuned goes with what was found for it; by name a method has settings of its own.
    tuned = [option for option in options if option.tuned and _waits(report, option.method)]
    if tuned:
        why = f"go on with what was tuned as well ({', '.join(option.method for option in tuned)}):"
        found.append(Step(why, line(*again)))
    for option in options:
        if option in tuned:
            continue
        known = option.share is not None and not option.tuned  # by itself that costs what it costs
        share = f", {option.share:.0%} of one retraining" if known else ""
        why = f"{option.title} ({option.guarantee.value}{share}):"
        found.append(Step(why, line(*words, "--method", option.method)))
    problem = result.problem
    if problem is not None and not report.tuned and not blind:
        if not auto.obstacles(problem) and auto.candidates(problem, {}):
            found.append(Step("let methods be chosen and tuned for this problem:", line(*words, "--method", auto.AUTO)))
    if named:
        said = "try what the plan would try, the cheapest first"
        if "--method" in again:
            found.append(Step(f"{said}:", line(*words)))
        elif again[:1] != ["demo"]:  # the same command would do the same again
            found.append(Step(f"{said}: take `method` out of {again[1]}"))
        if "retrain" not in tried and report.problem.trainer is not None:
            found.append(Step("retrain without the records, which is exact:", line(*words, "--method", "retrain")))
    if not found:
        done = "every method that is possible here was tried; the report says how far each came"
        none = "no method was tried; the plan in the report says what keeps each back"
        found.append(Step(done if tried - {EXTERNAL} else none))
    return found


def _waits(report: Report, method: str) -> bool:
    """Return whether settings were found for a method that was told to wait, by a run that stops after one attempt."""
    found = any(one.method == method and one.best is not None for one in report.tuned)
    return found and not any(note.startswith(f"{method} was ") for note in report.notes)


def _possible(option: Option) -> bool:
    return option.planned or option.why.startswith(OVER_BUDGET)
