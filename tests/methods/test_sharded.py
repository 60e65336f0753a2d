"""Sharded networks: touched members are those of a run from scratch, the others are not read."""

from dataclasses import replace

import pytest
import torch

import expunge
from expunge.conformance import problems
from expunge.engine.ensemble import ShardedTrainer, ledgers
from expunge.methods.delta_grad import DeltaGrad
from expunge.methods.replay import Replay
from expunge.methods.sharded import Sharded
from tests.support import languages, running
from tests.support import recordings as own

in_process = running.in_process

TRAINER = ShardedTrainer(member=own.recorded(own.dropped, config=own.config(), steps=4, checkpoints=8), shards=4)
SLICED = ShardedTrainer(
    member=own.recorded(own.dropped, config=own.config(), steps=6, checkpoints=24), shards=2, slices=4
)


@pytest.fixture
def posed(tmp_path, in_process):
    """Return a function that trains an ensemble and poses a problem."""

    def make(trainer=TRAINER, forget=("r3",), records=None):
        records = own.records() if records is None else records
        model = expunge.train(trainer, records, seed=2, ledger=tmp_path / "ledgers")
        return expunge.Problem(
            model=model, train=records, forget=list(forget), trainer=trainer, ledger=tmp_path / "ledgers"
        )

    return make


def same(one, other):
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


@pytest.mark.parametrize(
    "trainer", [TRAINER, SLICED, replace(TRAINER, vote="sure")], ids=["shards", "slices", "a vote by sureness"]
)
def test_it_equals_an_ensemble_trained_from_scratch(posed, trainer):
    problem = posed(trainer, forget=("r3", "r50", "r51"))
    method = Sharded()
    assert method.obstacles(problem) == []
    outcome = method.unlearn(problem, problems.context(problem))
    assert same(outcome.model, trainer(problem.retain_view, seed=2))
    assert any("how sure" in line for line in outcome.evidence) == (trainer.vote == "sure")
    assert outcome.cost.trained == method.cost(problem).trained
    whole = sum(line.count for ledger in ledgers(problem.ledger) for line in ledger.lines())
    assert outcome.cost.trained < whole


def test_only_touched_members_change(posed):
    problem = posed()
    outcome = Sharded().unlearn(problem, problems.context(problem))
    before, after = problem.source.open(), outcome.model
    changed = [not same(one, other) for one, other in zip(before.members, after.members, strict=True)]
    assert sum(changed) == 1
    assert len(Sharded().forecasts(problem)) == 1


def test_an_emptied_shard_has_no_vote(posed, tmp_path):
    """P-19: all records of one shard go."""
    problem = posed()
    lonely = [entry.id for entry in ledgers(problem.ledger)[1].entries]
    again = expunge.Problem(
        model=problem.source, train=own.records(), forget=lonely, trainer=TRAINER, ledger=tmp_path / "ledgers"
    )
    outcome = Sharded().unlearn(again, problems.context(again))
    assert outcome.model.weights[1] == 0
    assert same(outcome.model, TRAINER(again.retain_view, seed=2))
    x, _ = own.table()
    assert torch.isfinite(outcome.model(x)).all()


def test_a_person_touches_one_shard(posed):
    """P-24."""
    x, y = own.table()
    people = [f"p{i % 10}" for i in range(own.N)]
    records = expunge.ArrayRecords(x, y, ids=own.records().ids, subjects=people)
    problem = posed(
        records=records, forget=[name for name, who in zip(records.ids, people, strict=True) if who == "p4"]
    )
    assert len(Sharded().forecasts(problem)) == 1


def test_the_whole_way_twice(posed, tmp_path):
    """The claim is bitwise, and the next request starts from the new ledgers."""
    problem = posed()
    found = expunge.erase(problem, out=tmp_path / "run", methods=("sharded",), references=0)
    assert found.claim is expunge.Level.BITWISE
    assert all("r3" not in {entry.id for entry in ledger.entries} for ledger in ledgers(tmp_path / "ledgers"))
    more = expunge.Problem(
        model=found.model, train=problem.retain_view, forget=["r9"], trainer=TRAINER, ledger=tmp_path / "ledgers"
    )
    again = expunge.erase(more, out=tmp_path / "again", methods=("sharded",), references=0)
    assert again.claim is expunge.Level.BITWISE
    assert same(again.model, TRAINER(own.records().without(["r3", "r9"]), seed=2))


def test_other_ledgers_are_refused(posed):
    problem = posed()
    other = expunge.Problem(
        model=TRAINER(own.records(), seed=3), train=own.records(), forget=["r3"], trainer=TRAINER, ledger=problem.ledger
    )
    assert "not the ensemble" in Sharded().obstacles(other)[0].what
    other.trainer = replace(TRAINER, vote="sure")
    assert any("different rules" in one.what for one in Sharded().obstacles(other))
    other.trainer = SLICED
    assert "another number of shards" in Sharded().obstacles(other)[0].what
    other.trainer = own.TRAINERS["late"]
    assert "needs the trainer of the shards" in Sharded().obstacles(other)[0].what


def test_members_that_vote_are_of_these_records(posed, tmp_path):
    """A retained record that changed in an untouched shard: training on these data would give another ensemble."""
    problem = posed()
    members = ledgers(problem.ledger)
    touched = next(shard for shard, ledger in enumerate(members) if "r3" in {entry.id for entry in ledger.entries})
    other = next(e.id for shard, ledger in enumerate(members) if shard != touched for e in ledger.entries)
    x, y = own.table()
    x[int(other[1:])] += 1
    again = expunge.Problem(
        model=problem.source,
        train=expunge.ArrayRecords(x, y, ids=own.records().ids),
        forget=["r3"],
        trainer=TRAINER,
        ledger=tmp_path / "ledgers",
    )
    assert any("have changed" in wrong.what for wrong in Sharded().obstacles(again))


@pytest.mark.parametrize("slices", [{}, {"slices": 2, "by_layer": True}], ids=["shards", "and layer by layer"])
def test_adapters_of_one_shard_are_trained_anew(tmp_path, slices):
    """A person's facts lie in one shard; base and other adapters stay as they are, bit for bit."""
    config = own.config(epochs=slices.get("slices", 1))
    member = own.recorded(languages.based, config=config, steps=2, task="causal_lm", lora=2)
    trainer, records = ShardedTrainer(member=member, shards=3, **slices), languages.records(languages.NAMES[:6])
    model = expunge.train(trainer, records, seed=1, ledger=tmp_path / "ledgers")
    problem = expunge.Problem(
        model=model,
        train=records,
        task="causal_lm",
        trainer=trainer,
        ledger=tmp_path / "ledgers",
        request=expunge.Request(subjects=(languages.NAMES[2],)),
    )
    assert Sharded().obstacles(problem) == []
    outcome = Sharded().unlearn(problem, problems.context(problem))
    assert same(outcome.model, trainer(problem.retain_view, seed=1))
    before = problem.source.open().state_dict()
    moved = {name for name, tensor in outcome.model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert {name.split(".")[1] for name in moved - {"weights"}} == {str(min(Sharded().forecasts(problem)))}
    assert all("lora_" in name for name in moved - {"weights"})


@pytest.mark.parametrize("method", [Replay, DeltaGrad])
def test_what_makes_one_recorded_run_anew_says_that_there_is_none(posed, method):
    (found,) = method().obstacles(posed())
    assert (found.what, found.found) == ("no ledger", "no head.json")
