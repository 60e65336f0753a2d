"""The whole way through the Python API."""

import base64
import copy
import json
import shutil
from types import SimpleNamespace

import pytest
import torch

import expunge
from expunge.core.errors import ForeignRun, InvalidProblem, Tampered, UsageError
from expunge.core.plan import FORCED
from expunge.core.serial import canonical
from expunge.core.verdict import Verdict
from expunge.workflow import attempt, audit, plan
from expunge.workflow._finished import other_settings
from expunge.workflow.settings import Settings
from tests.support import running
from tests.support.tiny import tiny_problem as tiny

GOOD = {"finetune": {"epochs": 20, "lr": 0.05, "batch_size": 16}}
WEAK = {"finetune": {"epochs": 1}, "neg_grad_plus": {"epochs": 1}}


def events(result, kind):
    lines = (result.out / "events.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == kind]


def test_a_claim_is_reached(erase):
    live = tiny.original().train()
    before = copy.deepcopy(live.state_dict())
    result = erase("finetune", problem=tiny.make(model=live), configs=GOOD)
    assert (result.verdict, result.claim) == (Verdict.ERASED, expunge.Level.AUDITED)
    assert type(result.model) is tiny.Net
    assert result.certificate.is_file()
    assert result.page.read_text().startswith("<!DOCTYPE html>")
    assert live.training
    assert all(torch.equal(before[name], tensor) for name, tensor in live.state_dict().items())
    assert result.report.model_before == tiny.make(model=live).source.digest()
    assert result.report.model_after == tiny.make().source.digest(result.model) != result.report.model_before


def test_doing_nothing_is_not_erased(erase):
    result = erase("noop")
    assert (result.verdict, result.claim, result.certificate) == (Verdict.NOT_ERASED, None, None)
    assert (result.model, result.report.model_after) == (None, None)
    assert not (result.out / "certificate.json").exists()


def test_the_plan_is_tried_in_order_at_half_the_error_rate_each(erase):
    result = erase(configs=WEAK)
    report = result.report
    assert [attempt.method for attempt in report.attempts] == list(report.plan.order)
    assert [attempt.method for attempt in report.attempts][-1] == "retrain"
    assert [attempt.audits[0].alpha for attempt in report.attempts] == [0.1, 0.05, 0.025]
    assert report.control.alpha == 0.2
    assert result.claim is expunge.Level.EXACT
    shares = [option.share for option in report.plan.options if option.planned]
    assert shares == sorted(shares)


def test_a_second_command_counts_as_a_second_attempt(erase):
    first = erase("noop")
    second = erase("retrain")
    assert [(a.number, a.method, a.audits[0].alpha) for a in second.report.attempts] == [
        (1, "noop", 0.1),
        (2, "retrain", 0.05),
    ]
    assert second.claim is expunge.Level.EXACT
    assert any("2 attempts" in line for line in second.report.limits)
    assert len(events(second, "started")) == len({event["stage"] for event in events(second, "started")})
    assert first.out == second.out


def test_the_verdict_is_on_what_this_command_tried(erase, tmp_path):
    erase("noop")
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    tiny.make().source.save(tiny.train(tiny.make().retain_view, seed=77), theirs)
    good = audit(tiny.make(), model=theirs, out=tmp_path / "run", policy=running.TINY / "policy.toml")
    again = erase("noop")
    assert (good.verdict, again.verdict) == (Verdict.ERASED, Verdict.NOT_ERASED)
    assert [attempt.number for attempt in again.report.attempts] == [1, 2]


def test_other_settings_of_a_method_are_another_attempt(erase):
    erase("finetune", configs=WEAK)
    result = erase("finetune", configs=GOOD)
    assert [attempt.number for attempt in result.report.attempts] == [1, 2]
    assert result.report.attempts[1].audits[0].alpha == 0.05


def test_the_budget_stops_before_retraining(erase):
    result = erase(configs=WEAK, budget=0.2)
    assert [attempt.method for attempt in result.report.attempts] == list(result.report.plan.order)
    assert "retrain" not in result.report.plan.order
    (option,) = [option for option in result.report.plan.options if option.method == "retrain"]
    assert "over the budget of 20%" in option.why
    assert result.certificate is None


def test_without_escalation_the_first_attempt_is_the_last(erase):
    one = erase(configs=WEAK, escalate=False).report
    assert len(one.attempts) == 1
    assert any("Not tried, since the run was to stop after one attempt: " in note for note in one.notes)


def test_an_empty_request_gives_an_identical_model(erase):
    problem = tiny.make(request=expunge.Request())
    result = erase(problem=problem)
    assert (result.nothing_to_do, result.report, result.certificate) == (True, None, None)
    assert "names no records" in plan(problem).advice[0]
    assert not any("names no records" in text for text in plan(tiny.make()).advice)
    assert problem.source.digest(result.model) == problem.source.digest()
    assert [event["stage"] for event in events(result, "started")] == ["copy"], "no work"
    again = erase(problem=problem)
    assert problem.source.digest(again.model) == problem.source.digest()
    (again.folder / "more.bin").write_bytes(b"a pickle, say")
    with pytest.raises(Tampered, match=r"not the one that went in(.|\n)*fix: +take the file out"):
        erase(problem=problem)
    (again.folder / "more.bin").unlink()
    swapped(again, tiny.train(tiny.make().retain_view, seed=77))
    with pytest.raises(Tampered, match="not the one that went in"):
        erase(problem=problem)


def test_the_same_call_on_a_finished_run_changes_nothing(erase):
    first = erase("retrain")
    bytes_before = (first.out / "report.json").read_bytes()
    page = first.page.read_bytes()
    started = len(events(first, "started"))
    again = erase("retrain")
    assert (again.out / "report.json").read_bytes() == bytes_before
    assert (again.page.read_bytes(), len(events(again, "started"))) == (page, started)
    assert again.report == first.report


def swapped(result, model=None):
    """Put another model, the original by default, in the place of the one that ships."""
    folder = result.folder
    shutil.rmtree(folder)
    folder.mkdir()
    tiny.make().source.save(model or tiny.original(), folder)


def weights(result):
    with (result.folder / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        last = file.read()[0]
        file.seek(-1, 2)
        file.write(bytes([last ^ 1]))


def signature(result):
    envelope = json.loads(result.certificate.read_text())
    value = bytearray(base64.b64decode(envelope["signatures"][0]["sig"]))
    value[9] ^= 1
    envelope["signatures"][0]["sig"] = base64.b64encode(value).decode()
    result.certificate.write_bytes(canonical(envelope))


@pytest.mark.parametrize("certified", [True, False])
@pytest.mark.parametrize(
    "change",
    [
        swapped,
        weights,
        lambda result: (result.folder / "architecture.json").unlink(),
        lambda result: (result.folder / "more.txt").write_text("a file more"),
        lambda result: (result.folder / "README.md").write_text("a card, where none is written"),
    ],
)
def test_a_finished_run_hands_out_no_model_but_the_one_that_was_judged(erase, change, certified):
    result = erase("retrain")
    change(result)
    if not certified:  # killed before the end: what is certified is what was judged
        result.certificate.unlink()
    with pytest.raises(Tampered, match="not the one that was judged"):
        erase("retrain")
    assert result.certificate.exists() == certified


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (signature, "signature"),
        (lambda result: result.certificate.write_bytes(result.certificate.read_bytes()[:-9]), "certificate.json"),
        (lambda result: result.certificate.write_text("{}"), "certificate.json"),
        (lambda result: (result.out / "private" / "manifest-salt").write_text("0" * 64), "private/manifest-salt"),
    ],
)
def test_a_finished_run_hands_out_no_certificate_that_does_not_verify(erase, change, where):
    result = erase("retrain")
    change(result)
    changed = result.certificate.read_bytes()
    with pytest.raises(Tampered) as told:
        erase("retrain")
    assert told.value.obstacles[0].where == where
    assert result.certificate.read_bytes() == changed, "one that was handed out is never replaced"


def test_a_finished_run_takes_no_other_method(erase):
    erase("retrain")
    with pytest.raises(ForeignRun, match="finished"):
        erase("noop")


def test_a_finished_run_audits_no_other_model(erase):
    result = erase("retrain")
    with pytest.raises(ForeignRun, match="finished"):
        audit(tiny.make(), model=result.folder, out=result.out, policy=running.TINY / "policy.toml")


def test_another_job_is_refused(erase):
    erase("noop")
    with pytest.raises(ForeignRun, match="differs in seed"):
        erase("noop", seed=1)


def test_without_a_trainer_nothing_is_claimed(erase):
    result = erase("finetune", problem=tiny.make(trainer=None), configs=GOOD)
    assert (result.verdict, result.claim) == (Verdict.INCONCLUSIVE, None)
    assert result.report.control.references == ()


def test_an_audit_judges_what_others_made(erase, tmp_path):
    source = tiny.make().source
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    source.save(tiny.train(tiny.make().retain_view, seed=77), theirs)
    settings = {"out": tmp_path / "run", "policy": running.TINY / "policy.toml"}
    good = audit(tiny.make(), model=theirs, **settings)
    assert (good.verdict, good.claim) == (Verdict.ERASED, expunge.Level.AUDITED)
    assert (good.certificate, good.model) == (None, None)
    again = audit(tiny.make(), model=theirs, **settings)
    assert len(again.report.attempts) == 1
    (theirs / "model.safetensors").unlink()
    source.save(tiny.original(), theirs)
    bad = audit(tiny.make(), model=theirs, **settings)
    assert (bad.verdict, [a.audits[0].alpha for a in bad.report.attempts]) == (Verdict.NOT_ERASED, [0.1, 0.05])


def test_a_model_made_elsewhere_never_ships(erase, tmp_path):
    source = tiny.make().source
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    source.save(tiny.train(tiny.make().retain_view, seed=77), theirs)
    audit(tiny.make(), model=theirs, out=tmp_path / "run", policy=running.TINY / "policy.toml")
    result = erase("noop")
    assert (result.verdict, result.claim, result.certificate) == (Verdict.NOT_ERASED, None, None)
    assert erase("retrain").report.shipped.number == 3


def test_an_attempt_that_was_never_finished_is_no_hindrance(erase, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("expunge.methods.finetune.Finetune.unlearn", interrupt)
        with pytest.raises(KeyboardInterrupt):
            erase("finetune")
    result = erase("retrain")
    assert [attempt.number for attempt in result.report.attempts] == [2]
    assert result.claim is expunge.Level.EXACT


def interrupt(self, problem, run):
    raise KeyboardInterrupt


def test_a_plan_trains_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = plan(tiny.make(), policy=running.TINY / "policy.toml")
    assert set(found.order) == {"finetune", "neg_grad_plus", "retrain"}
    assert list(tmp_path.iterdir()) == []


def test_settings_are_checked_before_work(erase, tmp_path):
    for wrong in ({"budget": -1.0}, {"references": -1}, {"configs": {"finetune": {"epoch": 3}}}):
        with pytest.raises(UsageError):
            erase(**wrong)
    assert not (tmp_path / "run").exists()


def test_a_setting_that_a_method_gained_since_is_not_another_one():
    config = {"lr": 0.5}  # of finetune, before it had its other settings
    attempt = SimpleNamespace(method="finetune", config=config, tuned=False)
    shipped = SimpleNamespace(report=SimpleNamespace(shipped=attempt, plan=SimpleNamespace(budget=1.0, floor=None)))

    def asked(configs):
        return Settings.of({"budget": 1.0, "methods": ("finetune",), "configs": configs})

    assert not other_settings(shipped, asked({"finetune": {"lr": 0.5}}))
    assert other_settings(shipped, asked({"finetune": {"lr": 0.1}})) == {"methods.finetune.lr": (0.5, 0.1)}
    assert other_settings(shipped, asked({"finetune": {"lr": 0.5, "epochs": 2}})).keys() == {"methods.finetune.epochs"}


def test_what_finds_nothing_to_act_on_is_refused_before_any_work_and_measured_where_it_is_attempted(erase, tmp_path):
    """A third of both clouds, with its labels as they are, is a random sample."""
    names = tuple(f"zebra-{i:03d}" for i in range(tiny.WRONG, tiny.TRAINING, 3))
    sample = tiny.make(request=expunge.Request(ids=names, reference="TINY-2"))
    with pytest.raises(InvalidProblem, match=r"ssd finds nothing to act on(.|\n)*24 records that look like a random"):
        erase("ssd", problem=sample)
    assert not (tmp_path / "run").exists()
    (option,) = plan(sample, methods=("ssd",)).options
    assert (option.planned, "random sample" in option.why) == (False, True)
    result = erase("ssd", "retrain", problem=sample)
    assert [each.method for each in result.report.attempts] == ["retrain"]
    assert "ssd" in {each.method for each in result.report.plan.options if not each.planned}
    (note,) = [each for each in result.report.notes if "was not tried" in each]
    assert "random sample" in note


def test_what_was_attempted_without_hope_is_in_the_plan_and_goes_on(erase, tmp_path):
    """As a benchmark runs it, or a version that did not know: the report shows no attempt that was not planned."""
    names = tuple(f"zebra-{i:03d}" for i in range(tiny.WRONG, tiny.TRAINING, 3))
    sample = tiny.make(request=expunge.Request(ids=names, reference="TINY-2"))
    out = attempt(sample, out=tmp_path / "run", methods=("ssd",), policy=running.TINY / "policy.toml")
    assert list(out.glob("artefacts/attempt-1/model.safetensors"))
    result = erase("ssd", problem=sample)
    assert [each.method for each in result.report.attempts] == ["ssd"]
    assert result.verdict is not None
    (option,) = [each for each in result.report.plan.options if each.method == "ssd"]
    assert (option.planned, option.why) == (True, FORCED)
    assert any("finds nothing to act on" in each and "random sample" in each for each in result.report.plan.advice)


def test_an_attempt_with_what_cannot_act_is_refused_before_it_begins(tmp_path):
    with pytest.raises(InvalidProblem, match="unsir forgets whole classes"):
        attempt(tiny.make(), out=tmp_path / "run", methods=("unsir",), policy=running.TINY / "policy.toml")
    assert not list((tmp_path / "run").glob("artefacts/*"))
