"""What to do next: fits what happened, and names numbers where something is missing."""

import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from expunge.cli import _next
from expunge.core.verdict import Decision
from expunge.workflow import Result
from tests.render.conftest import sample_report
from tests.render.test_junit import shown

AGAIN = ["erase", "my job.toml", "--seed", "3"]


def steps(report, *, again=AGAIN):
    return _next.steps(Result(Path("run"), report, None), again)


def commands(found):
    return [shlex.split(step.command)[1:] for step in found if step.command]


def test_not_erased_names_what_was_not_tried():
    found = commands(steps(sample_report("noop")))
    assert [words[-1] for words in found] == ["finetune", "scrub", "retrain"]
    assert all(words[:2] == ["erase", "my job.toml"] for words in found)


def test_without_a_trainer_it_asks_for_one():
    report = sample_report("inconclusive")
    report = replace(report, problem=replace(report.problem, trainer=None))
    assert "give it one" in steps(report)[1].why


def test_without_references_it_names_a_directory_of_its_own():
    report = sample_report("inconclusive")
    given = [*AGAIN, "--references", "2", "--out", "run"]
    assert commands(steps(report, again=given))[0] == [*AGAIN, "--out", "run-references"]


def test_without_power_it_says_what_to_look_at():
    assert "cannot tell the original from retrained models" in steps(sample_report("powerless"))[1].why


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
