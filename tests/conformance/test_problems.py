"""The problems that methods are tried on: new each time, and what they say they are."""

import pytest
import torch

from expunge.conformance import _language
from expunge.conformance import problems as own
from expunge.engine.references import check_trainer


@pytest.mark.parametrize("build", own.RENAMED)
def test_renamed_networks_are_the_same_network(build):
    one, other = build(), own.RENAMED[build]()
    for mine, theirs in zip(other.state_dict().values(), one.state_dict().values(), strict=True):
        mine.copy_(theirs)
    inputs = own.records(8).x
    assert torch.equal(one.eval()(inputs), other.eval()(inputs))


def test_problems_are_new_each_time():
    first, other = own.problem(), own.problem()
    first.records.y[0] += 1
    assert not torch.equal(first.records.y, other.records.y)
    assert own.same(first.model, other.model)


@pytest.mark.parametrize(
    "build", [own.Noisy, own.Renamed, own.Seen, own.SeenRenamed, own.Mlp, own.Convolution, own.Headless]
)
def test_problems_are_valid_and_their_trainer_keeps_its_contract(build):
    problem = own.problem(build=build)
    assert not [obstacle for obstacle in problem.validate() if obstacle.fatal]
    assert check_trainer(problem).passes == 3


def test_no_batch_of_the_trial_divides_the_records():
    problem = own.problem()
    assert len(problem.retain_view) % 16 != 0
    assert len(problem.forget_view) % 16 != 0
    assert len(problem.records) == own.TRAIN


def test_a_witness_remembers_what_was_read():
    records = own.records(5)
    records.read([1, 3])
    records[3]
    assert records.seen == {"r1": 1, "r3": 2}


@pytest.mark.parametrize("build", [_language.gpt, _language.renamed, _language.llama, _language.Recurrent])
def test_language_problems_are_valid_and_their_trainer_keeps_its_contract(build):
    problem = own.problem(language=True, build=build)
    assert not [obstacle for obstacle in problem.validate() if obstacle.fatal]
    assert check_trainer(problem).passes == 3


def test_a_renamed_language_model_is_the_same_model():
    one, other = _language.gpt().eval(), _language.renamed().eval()
    assert set(one.state_dict()) != set(other.state_dict())
    for mine, theirs in zip(other.state_dict().values(), one.state_dict().values(), strict=True):
        mine.copy_(theirs)
    batch = own.talk(8).read(range(8))
    task = own.problem(language=True).meaning
    assert torch.equal(task.units(one, batch).loss, task.units(other, batch).loss)


def test_language_records_are_told_apart_and_remember_what_was_read():
    records, held = own.talk(own.TRAIN), own.talk(24, prefix="h", seed=1)
    rows = {tuple(tokens.tolist()) for part in (records, held) for tokens, _ in part.held()}
    assert len(rows) == own.TRAIN + 24, "no row is another's beginning or its like"
    assert all(0 not in row for row in rows), "padding stands in no record"
    records.read([1, 3])
    records[3]
    assert records.seen == {"r1": 1, "r3": 2}
    before = held.content(4)
    held.spoil(["h4"])
    assert held.content(4) != before
