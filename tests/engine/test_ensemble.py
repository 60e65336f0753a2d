"""An ensemble of recorded members: how it votes, who is in which shard, and what its ledgers say."""

import pytest
import torch
from joblib.externals.loky import get_reusable_executor

import expunge
from expunge.core.errors import Tampered, UsageError
from expunge.engine.ensemble import FILE, Ensemble, ShardedTrainer, held, ledgers, read_about, voting
from tests.support import recordings as own
from tests.support import toys

MEMBER = own.recorded(own.dropped, config=own.config(epochs=2), steps=3, checkpoints=2)
TRAINER = ShardedTrainer(member=MEMBER, shards=3)


def test_the_vote_is_the_weighted_mean_of_probabilities():
    members = [torch.nn.Linear(6, 3), torch.nn.Linear(6, 3), torch.nn.Linear(6, 3)]
    x, _ = own.table(5)
    wanted = 0.25 * torch.softmax(members[0](x), 1) + 0.75 * torch.softmax(members[1](x), 1)
    made = Ensemble(members, [0.25, 0.75, 0.0])
    torch.testing.assert_close(torch.exp(made(x)), wanted)
    assert torch.isfinite(made(x)).all()


def test_numbers_are_averaged_and_not_taken_for_logits():
    members = [torch.nn.Linear(4, 1) for _ in range(3)]
    x, weights = torch.randn(7, 4), [0.25, 0.75, 0.0]
    said = sum(w * member(x) for w, member in zip(weights, members, strict=True))
    torch.testing.assert_close(Ensemble(members, weights)(x), said)
    flat = [torch.nn.Sequential(member, torch.nn.Flatten(0)) for member in members]
    torch.testing.assert_close(Ensemble(flat, weights)(x), said[:, 0])


def test_it_is_its_members_trained_apart():
    made = TRAINER(own.records(), seed=5)
    for shard, part in enumerate(TRAINER.parts(own.records(), seed=5)):
        alone = MEMBER(part, seed=TRAINER.shards_of(5).member_seed(shard))
        for one, other in zip(alone.parameters(), made.members[shard].parameters(), strict=True):
            assert torch.equal(one, other)
    assert float(made.weights.sum()) == pytest.approx(1)


def test_members_trained_at_once_are_the_same(tmp_path, monkeypatch):
    # The processes of joblib find the classes of this test as the user's would be found: by the module search path.
    monkeypatch.syspath_prepend(toys.ROOT)
    get_reusable_executor().shutdown(wait=True)
    one = expunge.train(TRAINER, own.records(), seed=5, ledger=tmp_path / "one")
    two = expunge.train(
        ShardedTrainer(member=MEMBER, shards=3, n_jobs=2), own.records(), seed=5, ledger=tmp_path / "two"
    )
    again = TRAINER(own.records(), seed=5)
    for other in (two, again):
        assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_every_record_is_in_one_ledger(tmp_path):
    expunge.train(TRAINER, own.records(), seed=5, ledger=tmp_path)
    assert held(ledgers(tmp_path)).keys() == set(own.records().ids)
    assert read_about(tmp_path) == {"shards": 3, "slices": 1, "seed": 5}


def test_other_ledgers_are_left_alone(tmp_path):
    expunge.train(TRAINER, own.records(), seed=5, ledger=tmp_path)
    with pytest.raises(UsageError, match="another ensemble"):
        expunge.train(TRAINER, own.records(), seed=6, ledger=tmp_path)
    (tmp_path / FILE).write_text("{")
    with pytest.raises(Tampered, match="broken"):
        read_about(tmp_path)
    with pytest.raises(UsageError, match="no ledgers"):
        read_about(tmp_path / "nowhere")


def test_slices_enter_one_after_the_other():
    sliced = ShardedTrainer(member=MEMBER, shards=2, slices=4)
    shards = sliced.shards_of(1)
    trainer = sliced.of(own.records(), seed=1, shard=0)
    assert {trainer.enters(name) for name in own.records().ids} == {0.0, 0.5, 1.0, 1.5}
    assert trainer.enters("r3") == shards.slice("id r3") * 0.5


def test_an_empty_ensemble_weighs_all_alike():
    assert voting([0, 0]) == [0.5, 0.5]
    assert voting([3, 1, 0]) == [0.75, 0.25, 0.0]


@pytest.mark.parametrize("more", [{"shards": 0}, {"shards": 2, "slices": 0}])
def test_settings_that_mean_nothing(more):
    with pytest.raises(UsageError, match="no such ensemble"):
        ShardedTrainer(member=MEMBER, **more)


def test_two_rules_for_who_enters_when():
    late = own.recorded(own.dropped, config=own.config(), steps=3, enters=own.late)
    with pytest.raises(UsageError, match="both say"):
        ShardedTrainer(member=late, shards=2, slices=2)
