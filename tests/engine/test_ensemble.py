"""An ensemble of recorded members: how it votes, who is in which shard, and what its ledgers say."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from joblib.externals.loky import get_reusable_executor
from safetensors.torch import load_file
from scipy.stats import entropy

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


def test_a_vote_by_sureness_weighs_each_answer_by_one_over_its_entropy():
    members = [torch.nn.Linear(6, 3), torch.nn.Linear(6, 3), torch.nn.Linear(6, 3)]
    x, _ = own.table(5)
    shares = [torch.softmax(member(x), 1).detach().double().numpy() for member in members[:2]]
    trust = [
        w / np.array([entropy(row) for row in each])[:, None] for w, each in zip((0.25, 0.75), shares, strict=True)
    ]
    wanted = sum(t * each for t, each in zip(trust, shares, strict=True)) / sum(trust)
    made = Ensemble(members, [0.25, 0.75, 0.0], vote="sure")
    np.testing.assert_allclose(made(x).exp().detach().numpy(), wanted, rtol=1e-5)
    assert np.abs(wanted - (0.25 * shares[0] + 0.75 * shares[1])).max() > 1e-3, "not the even vote"


def test_one_that_is_certain_outvotes_those_that_guess_and_leaves_them_a_vote():
    class Says(torch.nn.Module):
        def __init__(self, *logits):
            super().__init__()
            self.logits = torch.tensor([logits])

        def forward(self, x):
            return self.logits.expand(len(x), -1)

    x = torch.zeros(2, 1)
    certain, guessing = Says(-float("inf"), 0.0, -float("inf")), Says(1.0, 0.0, 0.5)
    said = Ensemble([certain, guessing], [0.1, 0.9], vote="sure")(x).exp()
    assert torch.isfinite(said).all()
    assert (said.argmax(1) == 1).all()
    assert (said[:, 0] > 0).all()
    torch.testing.assert_close(said.sum(1), torch.ones(2))
    assert (Ensemble([certain, guessing], [0.1, 0.9])(x).argmax(1) == 0).all(), "the even vote guesses"


@pytest.mark.parametrize("vote", ["even", "sure"])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float16])
def test_a_vote_has_gradients_where_an_answer_is_certain(kind, vote):
    logits = torch.tensor([[0.0, 120.0, -float("inf")], [1.0, 2.0, 0.5]], dtype=kind, requires_grad=True)
    members = [torch.nn.Identity(), torch.nn.Identity()]
    said = Ensemble(members, [0.5, 0.5], vote=vote)(logits)
    assert said.dtype == kind
    said.float().exp()[:, :2].sum().backward()
    assert torch.isfinite(logits.grad).all()


def test_how_members_vote_is_part_of_the_model():
    trainer = ShardedTrainer(member=MEMBER, shards=3, vote="sure")
    even, sure = TRAINER(own.records(), seed=1), trainer(own.records(), seed=1)
    assert set(sure.state_dict()) - set(even.state_dict()) == {"by_sureness"}
    with pytest.raises(RuntimeError, match="by_sureness"):
        even.load_state_dict(sure.state_dict())
    assert trainer.describe() != TRAINER.describe()
    gone = [own.records().ids[0]]
    assert trainer.switched_off(sure, own.records(), gone, seed=1).vote == "sure"


def test_numbers_do_not_say_how_sure_they_are():
    numbers = own.recorded(own.dropped, config=own.config(), steps=2, task="regression")
    with pytest.raises(UsageError, match="how sure"):
        ShardedTrainer(member=numbers, shards=2, vote="sure")
    with pytest.raises(UsageError, match="no such vote"):
        Ensemble([torch.nn.Linear(4, 1)], [1.0], vote="SURE")
    with pytest.raises(UsageError, match="how sure"):
        Ensemble([torch.nn.Linear(4, 1)] * 2, [0.5, 0.5], vote="sure")(torch.randn(3, 4))


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


@pytest.mark.parametrize("more", [{"shards": 0}, {"shards": 2, "slices": 0}, {"shards": 2, "vote": "loud"}])
def test_settings_that_mean_nothing(more):
    with pytest.raises(UsageError, match="no such"):
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


STACKED = ShardedTrainer(
    member=own.recorded(languages.based, config=own.config(epochs=4), steps=2, task="causal_lm", lora=2),
    shards=2,
    slices=2,
    by_layer=True,
)
SHARDS = STACKED.shards_of(1)
PEOPLE = languages.records(languages.NAMES[:8])


def of_slice(number):
    """Return a person of shard 0 whose facts enter with this slice, and their ids."""
    who = next(
        each
        for each in PEOPLE.subjects
        if (SHARDS.shard(f"subject {each}"), SHARDS.slice(f"subject {each}")) == (0, number)
    )
    return [name for name, subject in zip(PEOPLE.ids, PEOPLE.subjects, strict=True) if subject == who]


@pytest.fixture(scope="module")
def stacked():
    return STACKED(PEOPLE, seed=1)


def adapters(model):
    return {name: p.detach() for name, p in model.named_parameters() if "lora_" in name}


def test_what_met_a_record_is_switched_off_bit_for_bit(stacked):
    """As the training without the records stood before their slice entered: a run of its own says so."""
    gone = of_slice(1)
    before = {name: tensor.clone() for name, tensor in stacked.state_dict().items()}
    made = STACKED.switched_off(stacked, PEOPLE, gone, seed=1)
    rest = PEOPLE.without(gone)
    trainer, part = STACKED.of(rest, seed=1, shard=0), STACKED.parts(rest, seed=1)[0]
    halfway = trainer.run(part, seed=SHARDS.member_seed(0), until=2 * 2).model
    found, wanted, ended = adapters(made.members[0]), adapters(halfway), adapters(stacked.members[0])
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    assert any(not torch.equal(found[name], ended[name]) for name in wanted), "the second part had been trained"
    assert any(bool(tensor.any()) for name, tensor in found.items() if "lora_B" in name), "the first part is there"
    assert all(torch.equal(a, b) for a, b in zip(*(m.members[1].parameters() for m in (made, stacked)), strict=True))
    left = sum(SHARDS.slice(f"subject {who}") == 0 for who in STACKED.parts(PEOPLE, seed=1)[0].subjects)
    whole = len(STACKED.parts(PEOPLE, seed=1)[1])
    assert made.weights.tolist() == pytest.approx([left / (left + whole), whole / (left + whole)])
    assert all(torch.equal(tensor, before[name]) for name, tensor in stacked.state_dict().items()), "nothing is changed"
    assert not {p.data_ptr() for p in made.parameters()} & {p.data_ptr() for p in stacked.parameters()}, "nor shared"


def test_of_the_first_slice_the_whole_member_goes(stacked):
    made = STACKED.switched_off(stacked, PEOPLE, of_slice(0), seed=1)
    assert made.weights.tolist() == [0.0, 1.0]
    found, other, own_ = (adapters(m) for m in (made.members[0], stacked.members[1], stacked.members[0]))
    assert all(torch.equal(found[name], other[name]) for name in other), "no weight of it is kept"
    assert any(not torch.equal(found[name], own_[name]) for name in other)


def test_where_nothing_is_left_it_is_said(stacked):
    with pytest.raises(UsageError, match="nothing is left"):
        STACKED.switched_off(stacked, PEOPLE, PEOPLE.ids, seed=1)
    with pytest.raises(UsageError, match="cannot be told"):
        STACKED.switched_off(stacked, PEOPLE, ["nobody"], seed=1)


def test_an_ensemble_of_other_records_or_seed_is_not_switched_off(stacked):
    """Else what met a record would be looked for in another shard, and kept."""
    once = STACKED.switched_off(stacked, PEOPLE, of_slice(0), seed=1)
    for ensemble, records, seed in ((stacked, PEOPLE, 3), (once, PEOPLE, 1), (stacked, PEOPLE.without(of_slice(1)), 1)):
        with pytest.raises(UsageError, match="not what these records make"):
            STACKED.switched_off(ensemble, records, of_slice(0), seed=seed)


def test_a_longer_run_by_layer_is_no_continuation():
    """Its parts begin elsewhere: a replay would train what an earlier slice alone has met with a later one."""
    longer = replace(STACKED, member=own.recorded(languages.based, config=own.config(epochs=8), steps=2,
                                                  task="causal_lm", lora=2))  # fmt: skip
    programs = {each.of(PEOPLE, seed=1, shard=0).program for each in (STACKED, longer)}
    assert len(programs) == 2


def test_layers_of_their_own_need_adapters_and_epochs_for_each_slice():
    with pytest.raises(UsageError, match="layer by layer"):
        ShardedTrainer(member=MEMBER, shards=2, slices=2, by_layer=True)
    with pytest.raises(UsageError, match="layer by layer"):
        ShardedTrainer(member=STACKED.member, shards=2, slices=3, by_layer=True)
