"""The whole way under the quick policy: canaries decide, and no model is retrained to compare with."""

import base64
import json
from dataclasses import replace

import pytest
import torch
from torch import nn

import expunge
from expunge.audit.policy import load
from expunge.certify.recheck import contradictions
from expunge.core.verdict import Decision, Verdict
from expunge.data.canaries import plant
from expunge.workflow.planning import plan_of
from expunge.workflow.settings import Settings

COUNT, HELD = 360, 240


class Net(nn.Sequential):
    """A perceptron that memorises some hundred points."""

    def __init__(self):
        super().__init__(nn.Linear(30, 96), nn.ReLU(), nn.Linear(96, 3))


def train(records, *, seed):
    """Train until everything is known by heart."""
    torch.manual_seed(seed)
    model = Net()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    x, y = records.read(range(len(records)))
    for _ in range(100):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model


def tables():
    draw = torch.Generator().manual_seed(2)
    y = torch.arange(COUNT + HELD) % 3
    x = torch.randn(len(y), 30, generator=draw)
    x[torch.arange(len(y)), y] += 4.0
    return x, y


@pytest.fixture(scope="module")
def problem():
    torch.set_num_threads(1)
    x, y = tables()
    records = expunge.ArrayRecords(x[:COUNT], y[:COUNT], ids=[f"r{i}" for i in range(COUNT)])
    holdout = expunge.ArrayRecords(x[COUNT:], y[COUNT:], ids=[f"h{i}" for i in range(HELD)])
    _, planted = plant(records, count=300, secret=bytes(range(32)))
    asked = [name for name in planted.train.ids if name not in planted.included][:4]
    return expunge.Problem(
        model=train(planted.train, seed=0),
        train=planted.train,
        forget=asked,
        holdout=holdout,
        trainer=train,
        canaries=planted,
    )


def decisions(audit):
    return {finding.check: finding.decision for finding in audit.findings}


def test_a_retrain_is_erased_and_the_original_is_not(problem, tmp_path):
    result = expunge.erase(
        problem, policy="quick", methods=("noop", "retrain"), out=tmp_path / "run", also=("markdown",)
    )
    report = result.report
    assert decisions(report.control) == {"canaries": Decision.FAIL, "holdout_kept": Decision.PASS}
    noop, retrain = report.attempts
    assert noop.audits[0].verdict is Verdict.NOT_ERASED
    assert (retrain.audits[0].verdict, report.claim) == (Verdict.ERASED, expunge.Level.EXACT)
    assert (report.control.references, report.plan.references) == ((), 0)
    assert not any("references" in line.what and "(" in line.what for line in report.costs), "none was trained"
    assert contradictions(report) == []
    certified = json.loads(result.certificate.read_text())
    assert "expected by design" in base64.b64decode(certified["payload"]).decode()


def test_an_audited_claim_rests_on_the_canaries_and_says_so(problem, tmp_path):
    """A model from elsewhere: retrained without the records, judged without references."""
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    problem.source.save(train(problem.retain_view, seed=9), theirs)
    result = expunge.audit(replace(problem, trainer=None), model=theirs, policy="quick", out=tmp_path / "run")
    assert (result.verdict, result.claim) == (Verdict.ERASED, expunge.Level.AUDITED)
    assert "not compared with retrained models" in result.report.statement
    assert any("rests on planted records" in line for line in result.report.limits)


def test_methods_see_canaries_to_forget_and_none_of_those_kept_out(problem, tmp_path, monkeypatch):
    from expunge.methods.noop import Noop

    seen = []
    unlearn = Noop.unlearn

    def spy(self, given, run):
        seen.append(given)
        return unlearn(self, given, run)

    monkeypatch.setattr(Noop, "unlearn", spy)
    expunge.erase(problem, policy="quick", methods=("noop",), out=tmp_path / "run")
    (given,) = seen
    assert given.canaries is None
    assert set(given.forget_ids) == set(problem.forget_ids)
    assert set(problem.canaries.included) <= set(given.forget_ids)
    assert not set(given.records.ids) & set(problem.canaries.aside.ids)


def test_without_canaries_the_verdict_is_open(problem, tmp_path):
    bare = replace(problem, canaries=None)
    result = expunge.erase(bare, policy="quick", methods=("noop",), out=tmp_path / "run")
    assert result.verdict is Verdict.INCONCLUSIVE
    assert decisions(result.report.control)["canaries"] is Decision.NOT_MEASURED


def test_the_plan_says_what_each_policy_costs_and_shows(problem):
    found = plan_of(problem, Settings(policy="quick"), load("quick"), passes=100)
    offers = {seen.policy: seen for seen in found.policies}
    assert {"quick", "standard"} <= set(offers)
    assert [seen.policy for seen in found.policies if seen.chosen] == ["quick"]
    assert offers["quick"].share < 0.1
    assert offers["standard"].share > 20
    assert list(found.policies) == sorted(found.policies, key=lambda seen: (seen.references, seen.checks, seen.policy))
    bare = plan_of(replace(problem, canaries=None), Settings(policy="quick"), load("quick"), passes=100)
    assert any("All that standard" in line and "--policy standard" in line for line in bare.advice)
    assert any("planted canaries" in line and "inconclusive" in line for line in bare.advice)


def test_without_a_trainer_quick_is_what_is_left(problem):
    found = plan_of(replace(problem, trainer=None), Settings(), load("standard"), passes=None)
    assert any("nothing can be called erased" in line for line in found.advice)
    assert any("--policy quick" in line for line in found.advice)
