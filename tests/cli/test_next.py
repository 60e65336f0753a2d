"""What to do next: fits what happened, and names numbers where something is missing."""

import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from expunge.cli import _next
from expunge.core.level import Level
from expunge.core.method import Cost
from expunge.core.outcome import Outcome
from expunge.core.plan import FORCED, TUNED
from expunge.core.report import Tuned
from expunge.core.verdict import Decision, Verdict
from expunge.workflow import Result
from tests.render.conftest import sample_report
from tests.render.test_junit import shown
from tests.support import toys

AGAIN = ["erase", "my job.toml", "--seed", "3"]


def steps(report, *, again=AGAIN):
    return _next.steps(Result(Path("run"), report, None), again)


def commands(found):
    return [shlex.split(step.command)[1:] for step in found if step.command]


def test_not_erased_names_what_was_not_tried():
    found = commands(steps(sample_report("noop")))
    assert [words[-1] for words in found] == ["finetune", "scrub", "retrain"]
    assert all(words[:2] == ["erase", "my job.toml"] for words in found)


def forced(report):
    options = (replace(report.plan.options[0], method="noop", why=FORCED),)
    attempts = (replace(report.attempts[-1], method="noop"),)
    return replace(report, plan=replace(report.plan, options=options), attempts=attempts)


def test_what_was_named_is_not_advised_again():
    report = forced(sample_report("noop"))
    flag = steps(report, again=[*AGAIN, "--method", "noop"])
    assert commands(flag) == [AGAIN, [*AGAIN, "--method", "retrain"]]
    # Named in the job file, the same command would do the same.
    file = steps(report)
    assert commands(file) == [[*AGAIN, "--method", "retrain"]]
    assert any("take `method` out of my job.toml" in step.why for step in file)
    assert ["demo", "--method", "retrain"] in commands(steps(report, again=["demo"]))
    assert ["demo"] not in commands(steps(report, again=["demo"]))


def test_not_erased_says_what_failed_and_what_that_asks_for():
    report = sample_report("noop")
    audit = report.attempts[-1].audits[-1]
    fails = [f.title for f in audit.findings if f.required and f.decision is Decision.FAIL]
    (said,) = [step.why for step in steps(report) if "what failed" in step.why]
    assert fails
    assert all(title in said for title in fails)
    harmed = shown(report, lambda f: replace(f, decision=Decision.FAIL) if f.check == "retain_accuracy" else f)
    assert any("what stays was harmed: Accuracy on the records that stay" in step.why for step in steps(harmed))


def test_a_method_that_came_to_no_model_is_told_why():
    report = sample_report("noop")
    failed = Outcome(stopped="failed: x")
    stopped = replace(report.attempts[-1], model="", audits=(), config={"lr": 1.0}, outcome=failed)
    report = replace(report, attempts=(*report.attempts[:-1], stopped), verdict=Verdict.INCONCLUSIVE)
    why = steps(report)[1].why
    assert "came to no model (failed: x)" in why
    assert f"[methods.{stopped.method}]" in why


def test_tuning_is_advised_where_it_can_be_done():
    problem = toys.problem()
    found = _next.steps(Result(Path("run"), sample_report("noop"), None, problem=problem), AGAIN)
    assert [*AGAIN, "--method", "auto"] in commands(found)
    found = _next.steps(Result(Path("run"), sample_report("noop"), None, problem=toys.problem(trainer=None)), AGAIN)
    assert [*AGAIN, "--method", "auto"] not in commands(found)


def test_a_budget_that_held_nothing_is_not_advised_again():
    report = sample_report("noop")
    small = replace(report, attempts=(), plan=replace(report.plan, budget=0.03))
    found = commands(steps(small, again=[*AGAIN, "--budget", "3%", "--method", "auto"]))
    wider = [*AGAIN, "--budget", "100%"]
    assert found
    assert all(words[: len(wider)] == wider for words in found)
    tried = replace(small, attempts=report.attempts)
    assert all("--budget" not in words for words in commands(steps(tried))), "that one held something"


def test_what_was_tuned_and_waits_is_gone_on_with_and_not_named_alone():
    """By its name a method has settings of its own: those that were paid for would be lost."""
    report = sample_report("noop")
    option = replace(report.plan.options[0], method="finetune", why=TUNED)
    one = Tuned(
        method="finetune", title="Fine-tuning", start="x", searched=("lr",), trials=4, cut=0, failed=0, best=2,
        config={}, match=0.1, harm=0.0, accuracy=0.9, original=0.5, floor=0.8, missing=0, cost=Cost(), share=0.2,
    )  # fmt: skip
    waiting = replace(report, plan=replace(report.plan, options=(option,)), tuned=(one,))
    again = [*AGAIN, "--method", "auto"]
    assert again in commands(steps(waiting, again=again))
    assert not any(words[-1] == "finetune" for words in commands(steps(waiting, again=again)))
    dear = replace(waiting, notes=("finetune was tuned and not tried: one run of it is more than the budget",))
    assert any(words[-1] == "finetune" for words in commands(steps(dear, again=again)))


def test_an_audit_tried_no_method():
    report = sample_report("noop")
    external = replace(report.attempts[-1], method="external")
    judged = replace(report, attempts=(external,), plan=replace(report.plan, options=()))
    judged = replace(judged, problem=replace(report.problem, trainer=None))
    assert any("no method was tried" in step.why for step in steps(judged))


def test_without_a_trainer_it_asks_for_one():
    report = sample_report("inconclusive")
    report = replace(report, problem=replace(report.problem, trainer=None))
    assert "give it one" in steps(report)[1].why


def test_without_references_it_names_a_directory_of_its_own():
    report = sample_report("inconclusive")
    given = [*AGAIN, "--references", "2", "--out", "run"]
    assert commands(steps(report, again=given))[0] == [*AGAIN, "--out", "run-references"]


def test_without_power_it_says_what_to_look_at():
    report = sample_report("powerless")
    more, look = steps(report)[1:3]
    count = report.plan.references
    assert f"cannot tell the original from {count} retrained models; intervals are narrower" in more.why
    assert more.command.endswith(f"--references {2 * count} --out run-{2 * count}")
    assert look.why.startswith("or see that the trainer starts from new weights, or from what the original itself")
    alone = steps(replace(report, problem=replace(report.problem, trainer=None)))
    assert f"from {count} retrained models: see that" in alone[1].why, "more of them cannot be trained"


def test_without_power_nothing_is_named_that_rests_on_the_audit():
    """Any of these would end as it did: not tried, since no verdict on it would mean anything."""
    report = sample_report("powerless")
    seeing = replace(report, control=sample_report("noop").control)
    audited = {option.method for option in report.plan.options if option.guarantee is Level.AUDITED}
    named = {words[-1] for words in commands(steps(report))}
    assert named.isdisjoint({*audited, "auto"})
    assert {words[-1] for words in commands(steps(seeing))} & audited


@pytest.fixture
def unsettled():
    """The second attempt, with one check whose margin is just too narrow for the spread."""

    def change(finding):
        if finding.check != "forget_accuracy":
            return finding
        half = (finding.narrow.high - finding.narrow.low) / 2
        centre = abs(finding.narrow.high + finding.narrow.low) / 2
        return replace(finding, decision=Decision.INCONCLUSIVE, margin=centre + 0.98 * half)

    report = shown(sample_report("erased"), change)
    last = replace(report.attempts[-1], claim=None)
    attempts = (*report.attempts[:-1], last)
    inconclusive = sample_report("powerless").verdict
    return replace(report, attempts=attempts, claim=None, chosen=None, verdict=inconclusive)


def test_an_unsettled_check_names_how_many_references_and_records(unsettled):
    found = steps(unsettled)
    (said,) = [step.why for step in found if "would be settled" in step.why]
    references = int(said.split("about ")[1].split()[0])
    assert references > 20
    assert " records instead of 420" in said
    assert [*AGAIN, "--references", str(references), "--out", f"run-{references}"] in commands(found)


@pytest.mark.parametrize("name", ["erased", "noop"])
def test_an_erasure_after_an_audit_is_given_no_flag_that_it_does_not_have(name):
    report = sample_report(name)
    audit = ["audit", "job.toml", "--model", "m", "--seed", "3"]
    found = [words for words in commands(steps(report, again=audit)) if words[0] == "erase"]
    assert found
    assert all(words[:4] == ["erase", "job.toml", "--seed", "3"] and "--model" not in words for words in found)
    # References that were given by a flag make another run.
    for words in commands(steps(report, again=[*audit, "--out", "run", "--reference", "a", "--reference", "b"])):
        assert words[:6] == ["erase", "job.toml", "--seed", "3", "--out", "run-erase"]
        assert not {"--reference", "a", "b"} & {*words}


def test_the_demo_is_given_no_flag_that_it_does_not_have(unsettled):
    for report in (unsettled, sample_report("inconclusive")):
        for words in commands(steps(report, again=["demo", "--out", "runs/demo"])):
            assert "--references" not in words
            assert words[0] == "demo"


def test_paths_below_here_are_short(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert _next.near(tmp_path / "run" / "report.html") == "run/report.html"
    assert _next.near(tmp_path.parent / "other") == str(tmp_path.parent / "other")


def test_called_as_a_module_it_is_called_so_again(monkeypatch):
    monkeypatch.setattr(_next.shutil, "which", lambda name: None)
    monkeypatch.setattr(_next.sys, "argv", ["/somewhere/expunge/__main__.py", "erase"])
    assert _next.line("erase", "job.toml") == f"{_next.shlex.quote(_next.sys.executable)} -m expunge erase job.toml"
