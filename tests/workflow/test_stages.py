"""Stages: done once, numbered for good, failed attempts counted."""

import json

import pytest

from expunge.core.errors import Diverged, InvalidProblem, Obstacle, StorageFailed
from expunge.methods.finetune import Finetune
from expunge.render.junit import suites
from expunge.render.text import summary
from tests.support.tiny import tiny_problem as tiny


def finished(result):
    lines = map(json.loads, (result.out / "events.jsonl").read_text().splitlines())
    return [event["stage"] for event in lines if event["event"] == "finished"]


def test_no_stage_is_done_twice(erase):
    erase("noop")
    first = erase("finetune")
    stages = finished(first)
    assert len(stages) == len(set(stages))
    assert {"trainer", "original", "control", "attempt-1", "attempt-1-audit", "attempt-2"} <= set(stages)
    assert sum(stage.startswith("retrained-") for stage in stages) == 6
    assert finished(erase("finetune")) == stages


def test_choosing_references_are_others_than_those_that_judge(erase):
    stages = finished(erase("neg_grad_plus"))
    assert sum(stage.startswith("retrained-") for stage in stages) == 8


def test_a_method_that_diverges_is_an_attempt_without_a_model(erase, monkeypatch):
    def diverge(self, problem, run):
        raise Diverged("training diverged", where="epoch 1")

    monkeypatch.setattr(Finetune, "unlearn", diverge)
    report = erase(configs={"finetune": {"epochs": 1}, "neg_grad_plus": {"epochs": 1}}).report
    (failed,) = [attempt for attempt in report.attempts if attempt.method == "finetune"]
    assert (failed.model, failed.audits, failed.claim) == ("", (), None)
    assert failed.outcome.stopped == "failed: training diverged (epoch 1)"
    assert failed.outcome.cost == Finetune({"epochs": 1}).cost(tiny.make()), "as if it had come to its end"
    assert failed.share > 0
    assert report.attempts[-1].method == "retrain"


def test_a_method_that_finds_it_cannot_act_is_a_failed_attempt_and_the_next_is_tried(erase, monkeypatch):
    def cannot(self, problem, run):
        raise InvalidProblem([Obstacle(what="no layer of that name"), Obstacle(what="no pixels", found="7")])

    monkeypatch.setattr(Finetune, "unlearn", cannot)
    report = erase("finetune", "retrain").report
    failed, tried = report.attempts
    assert (failed.model, failed.audits, failed.claim) == ("", (), None)
    assert failed.outcome.stopped == "failed: no layer of that name; no pixels"
    assert report.shipped.method == tried.method == "retrain"


def test_a_run_in_which_no_model_was_made_has_no_verdict(erase, monkeypatch):
    monkeypatch.setattr(Finetune, "unlearn", lambda self, problem, run: (_ for _ in ()).throw(Diverged("it diverged")))
    report = erase("finetune").report
    assert (report.verdict, report.claim, report.statement) == (None, None, "No model was judged. Nothing is claimed.")
    assert summary(report).startswith("Not shown to be erased: no model was judged\n")
    assert 'type="not judged"' in suites(report)


def test_what_is_wrong_with_the_machine_still_ends_the_run(erase, monkeypatch):
    monkeypatch.setattr(Finetune, "unlearn", lambda self, problem, run: (_ for _ in ()).throw(StorageFailed("full")))
    with pytest.raises(StorageFailed):
        erase("finetune", "retrain")


def test_what_is_judged_is_the_saved_model(erase):
    result = erase("retrain", keep=True)
    shipped = result.report.shipped
    assert shipped.audits[-1].model == shipped.model == result.report.model_after
    assert tiny.make().source.digest(result.model) == shipped.model


@pytest.mark.parametrize("references", [0, 2])
def test_too_few_references_measure_nothing(erase, references):
    report = erase("retrain", references=references).report
    assert report.verdict.value == "inconclusive"
    assert report.claim.value == "exact"
    assert {finding.decision.value for finding in report.control.findings} == {"not measured"}
