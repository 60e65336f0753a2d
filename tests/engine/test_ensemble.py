"""An ensemble of recorded members: how it votes, who is in which shard, and what its ledgers say."""

import numpy as np
import pytest
import torch
from joblib.externals.loky import get_reusable_executor
from safetensors.torch import load_file

import expunge
from expunge.core.errors import Tampered, UsageError
from expunge.engine.ensemble import FILE, Ensemble, ShardedTrainer, held, ledgers, read_about, voting
from expunge.tasks.causal_lm import CausalLM
from tests.support import languages, toys
from tests.support import recordings as own

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


# --- adapters on one base -----------------------------------------------------------------------------------------

SPEAKING = ShardedTrainer(
    member=own.recorded(languages.based, config=own.config(epochs=1), steps=2, task="causal_lm", lora=2), shards=3
)


def test_members_are_adapters_on_one_base_that_stays(tmp_path):
    records = languages.records(languages.NAMES[:6])
    made = SPEAKING(records, seed=1)
    base = dict(languages.based().named_parameters())
    adapters = sum(p.numel() for name, p in made.members[0].named_parameters() if "lora_" in name)
    assert sum(p.numel() for p in made.parameters()) == sum(p.numel() for p in base.values()) + 3 * adapters
    for member in made.members:
        held = {n.replace("base_layer.", ""): p for n, p in member.named_parameters() if "lora_" not in n}
        assert held.keys() == base.keys()
        assert all(torch.equal(p, base[name]) for name, p in held.items())
    source = expunge.TorchModel.adopt(made)
    source.save(made, tmp_path)
    reopened = source.reopen(tmp_path)
    assert source.digest(reopened) == source.digest()
    written = load_file(tmp_path / "model.safetensors").values()
    assert sum(t.numel() for t in written) == sum(p.numel() for p in made.parameters()) + len(made.weights)
    inputs, labels = records.read(range(4))
    said = [member(**inputs).logits.double().softmax(-1).detach() for member in made.members]
    wanted = sum(float(w) * p for w, p in zip(made.weights, said, strict=True))
    np.testing.assert_allclose(reopened(**inputs).detach().exp().numpy(), wanted.numpy(), atol=1e-6)
    units = CausalLM().units(reopened, (inputs, labels))
    row, column = (labels[:, 1:] != -100).nonzero(as_tuple=True)
    np.testing.assert_allclose(
        units.loss.detach().numpy(), -wanted[row, column, labels[row, column + 1]].log().numpy(), atol=1e-5
    )
