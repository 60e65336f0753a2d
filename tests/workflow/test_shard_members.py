"""The quick policy on an ensemble in shards: its own members are the models that never saw a record."""

from dataclasses import replace
from importlib import resources

import pytest
import torch
from torch import nn

import expunge
from expunge.core.verdict import Decision, Verdict
from expunge.engine.ensemble import ShardedTrainer
from expunge.engine.loop import LoopConfig
from expunge.engine.recorded import recorded
from expunge.workflow import plan

TRAIN, FORGET, HELD = 220, 114, 240


class Net(nn.Sequential):
    """A perceptron that memorises the few records of a shard."""

    def __init__(self):
        super().__init__(nn.Linear(30, 48), nn.ReLU(), nn.Linear(48, 3))


def tables(count, *, prefix, seed):
    draw = torch.Generator().manual_seed(seed)
    y = torch.randint(0, 3, (count,), generator=draw)
    x = torch.randn(count, 30, generator=draw)
    x[torch.arange(count), y] += 3.0
    return expunge.ArrayRecords(x, y, ids=[f"{prefix}{i}" for i in range(count)])


@pytest.fixture(scope="module")
def sharded(tmp_path_factory):
    torch.set_num_threads(1)
    records, holdout = tables(TRAIN, prefix="r", seed=1), tables(HELD, prefix="h", seed=2)
    member = recorded(Net, config=LoopConfig(epochs=12, lr=0.02), steps=2, checkpoints=1)
    trainer, ledger = ShardedTrainer(member=member, shards=5), tmp_path_factory.mktemp("ledgers")
    model = expunge.train(trainer, records, seed=3, ledger=ledger)
    return expunge.Problem(
        model=model, train=records, forget=records.ids[:FORGET], holdout=holdout, trainer=trainer, ledger=ledger
    )


def decisions(audit):
    return {finding.check: finding.decision for finding in audit.findings}


def test_members_and_held_out_records_judge_without_references(sharded, tmp_path):
    result = expunge.erase(sharded, policy="quick", methods=("noop", "sharded"), out=tmp_path / "run", keep=True)
    report = result.report
    assert set(decisions(report.control)) == {"shard_members", "holdout_calibration", "holdout_kept"}
    assert decisions(report.control)["shard_members"] is Decision.FAIL
    noop, ours = report.attempts
    assert noop.audits[0].verdict is Verdict.NOT_ERASED
    assert decisions(ours.audits[0])["shard_members"] is Decision.PASS
    assert decisions(ours.audits[0])["holdout_calibration"] is not Decision.FAIL
    assert report.claim is expunge.Level.BITWISE
    assert report.control.references == ()


def test_a_model_from_elsewhere_rests_on_the_members_and_says_so(sharded, tmp_path):
    """An ensemble that was trained elsewhere without the records; the margins are widened for so few."""
    theirs, policy = tmp_path / "theirs", tmp_path / "policy.toml"
    theirs.mkdir()
    sharded.source.save(sharded.trainer(sharded.retain_view, seed=3), theirs)
    text = (resources.files("expunge.audit") / "quick.toml").read_text()
    policy.write_text(text.replace("margin = 0.15", "margin = 0.2").replace("margin = 0.04", "margin = 0.3"))
    result = expunge.audit(replace(sharded, trainer=None), model=theirs, policy=policy, out=tmp_path / "run")
    assert (result.verdict, result.claim) == (Verdict.ERASED, expunge.Level.AUDITED)
    assert "members of the ensemble that held the requested records" in result.report.statement
    assert any("nothing that all of them learnt alike" in line for line in result.report.limits)
    assert "planted" not in result.report.statement
    assert "the members that held the records know them no better" in result.page.read_text()


def test_held_out_records_alone_settle_nothing(sharded, tmp_path):
    """Without ledgers nobody knows who held what: however alike the records are answered, the verdict is open."""
    bare = replace(sharded, ledger=None, trainer=None)
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    sharded.source.save(sharded.trainer(sharded.retain_view, seed=3), theirs)
    result = expunge.audit(bare, model=theirs, policy="quick", out=tmp_path / "run")
    assert result.verdict is Verdict.INCONCLUSIVE
    assert decisions(result.report.control)["canaries"] is Decision.NOT_MEASURED


def test_the_plan_says_what_they_can_show(sharded):
    quick = next(seen for seen in plan(sharded, policy="quick").policies if seen.policy == "quick")
    assert quick.missing == {}
    assert any("76 forgotten subjects or records dealt to 5 members" in line for line in quick.shows)
    assert any("held-out ones of their classes" in line for line in quick.shows)
    few = replace(sharded, forget=sharded.records.ids[:30], train=sharded.records, model=sharded.source)
    quick = next(seen for seen in plan(few, policy="quick").policies if seen.policy == "quick")
    assert quick.missing == {"canaries": "planted canaries"}
