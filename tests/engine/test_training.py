import warnings
from dataclasses import fields, replace
from types import SimpleNamespace

import peft
import pytest
import torch

from expunge.core.digest import keyed_int
from expunge.core.errors import UsageError
from expunge.core.records import WatchedView
from expunge.core.registry import load
from expunge.data.language import NOT_SCORED, LanguageRecords
from expunge.engine.batches import shuffled
from expunge.engine.checkpoint import Checkpoints
from expunge.engine.loop import LoopConfig
from expunge.engine.runtime import seed_everything
from expunge.engine.training import Trainer, Training
from tests.support import languages as L
from tests.support import toys

RECORDS = toys.records(50)
NOISY = Trainer(build=toys.Noisy, config=LoopConfig(epochs=3, batch_size=16))


def test_the_contract_is_kept():
    first = NOISY(RECORDS, seed=1)
    torch.rand(5)
    assert toys.same(first, NOISY(RECORDS, seed=1))
    assert not toys.same(first, NOISY(RECORDS, seed=2))
    assert not toys.same(first, NOISY(RECORDS.without(["r0"]), seed=1))


def test_it_reads_its_view_alone_and_as_often_as_it_says():
    view = WatchedView.over(RECORDS.select(RECORDS.ids[:33]))
    NOISY(view, seed=1)
    assert (view.passes, view.unread) == (NOISY.passes, 0)
    assert set(view.reads) == {3}


def test_weights_are_drawn_from_the_seed():
    untrained = Trainer(build=toys.Mlp, config=LoopConfig(epochs=0))(RECORDS, seed=4)
    assert toys.same(untrained, toys.network(toys.Mlp, seed=4))


def test_it_learns():
    model = toys.TRAINER(RECORDS, seed=1)
    units = load("tasks", "classification")().units(model, RECORDS.read(range(50)))
    assert float(units.correct.float().mean()) > 0.7
    assert not model.training


def test_it_resumes_and_clears_its_checkpoints(tmp_path):
    whole = NOISY(RECORDS, seed=1)
    calls = []
    real = Checkpoints.offer

    class Dying(Checkpoints):
        def offer(self, *parts):
            real(self, *parts)
            calls.append(1)
            if len(calls) == 2:
                raise KeyboardInterrupt

    try:
        NOISY(RECORDS, seed=1, checkpoints=Dying(tmp_path / "c", every_s=0))
    except KeyboardInterrupt:
        assert (tmp_path / "c").exists()
    assert toys.same(NOISY(RECORDS, seed=1, checkpoints=Checkpoints(tmp_path / "c")), whole)
    assert not (tmp_path / "c").exists()


def test_equal_trainers_are_described_equally():
    same = Trainer(build=toys.Noisy, config=LoopConfig(epochs=3, batch_size=16))
    longer = Trainer(build=toys.Noisy, config=LoopConfig(epochs=4, batch_size=16))
    assert same.describe() == NOISY.describe()
    assert len({NOISY.describe(), longer.describe(), toys.TRAINER.describe()}) == 3
    assert "expunge.conformance.problems:Noisy" in NOISY.describe()


def test_a_trainer_is_described_as_it_was_before_there_were_adapters():
    assert L.TRAINER.describe() == "expunge trainer of tests.support.languages:gpt, settings dd7b946651301ef3"
    others = [BESIDE, replace(BESIDE, lora=3), replace(BESIDE, lora_alpha=2.0), replace(BESIDE, lora_layers=("c_fc",))]
    told = {each.describe() for each in (*others, replace(L.TRAINER, micro_batch=3), replace(L.TRAINER, build=L.based))}
    assert len(told) == 6


# --- in parts -------------------------------------------------------------------------------------------------


def test_a_step_in_parts_is_the_step_at_once():
    """The mean over the units of the whole step: parts have other numbers of tokens, and their means another mean."""
    records = LanguageRecords(
        ["where was kaba born ?"] * 7,
        ["york . " * (1 + i) for i in range(7)],
        tokenizer=L.tokenizer(),
        ids=[f"r{i}" for i in range(7)],
    )
    plain = LoopConfig(epochs=3, batch_size=7, lr=0.1, optimiser="sgd", momentum=0.0)
    once, parts = (Trainer(build=L.gpt, task="causal_lm", config=plain, micro_batch=n) for n in (0, 3))
    whole, one = once.begin(1), parts(records, seed=1)
    for epoch in range(3):
        (batch,) = shuffled(records, 7, seed=1, epoch=epoch)
        loss = once.meaning.units(whole, batch).loss.mean()
        grads = torch.autograd.grad(loss, list(whole.parameters()))
        with torch.no_grad():
            for p, grad in zip(whole.parameters(), grads, strict=True):
                p -= 0.1 * grad
    assert apart(whole, one) < 1e-5 * 0.1 < 1e-2 < apart(whole, once.begin(1))
    assert apart(whole, once(records, seed=1)) < 1e-6


@pytest.mark.parametrize("counts", [(100, 100, 100, 100), (1, 400, 20), (400, 400, 1)], ids=str)
def test_halves_do_not_overflow_in_parts_where_they_would_not_at_once(counts):
    """Units whose slope is 1000 each have a mean slope of 1000; their sum over a record is beyond what a half holds."""

    class Steep:
        def units(self, model, places):
            ones = torch.ones(sum(counts[i] for i in places), 1, dtype=torch.float16)
            return SimpleNamespace(loss=1000 * (ones * model.weight).sum(dim=1))

    class Places:
        def read(self, places):
            return places

    model = torch.nn.Linear(1, 1, bias=False).half()
    for term in Trainer(build=toys.Mlp, micro_batch=1)._terms(model, Steep(), Places(), range(len(counts))):
        term.backward()
        assert float(model.weight.grad) == pytest.approx(1000, rel=2**-9)


@pytest.mark.parametrize("silent", [(0,), (3,), (0, 1, 6)], ids=str)
def test_a_part_of_which_nothing_is_scored_changes_nothing(silent):
    class Cut(LanguageRecords):
        def read(self, indices):
            inputs, labels = super().read(indices)
            labels[[place for place, index in enumerate(indices) if index in silent]] = NOT_SCORED
            return inputs, labels

    records = Cut(["where was kaba born ?"] * 7, ["york ."] * 7, tokenizer=L.tokenizer())
    plain = LoopConfig(epochs=2, batch_size=7, lr=0.1, optimiser="sgd", momentum=0.0)
    once, parts = (Trainer(build=L.gpt, task="causal_lm", config=plain, micro_batch=n)(records, seed=1) for n in (0, 1))
    assert apart(once, parts) < 1e-6


def test_no_part_is_larger_and_each_record_is_read_once():
    read = []

    class Noting(WatchedView):
        def read(self, places):
            read.append(len(places))
            return super().read(places)

    view = Noting.over(RECORDS)
    replace(NOISY, config=LoopConfig(epochs=2, batch_size=16), micro_batch=5)(view, seed=1)
    assert (view.passes, view.unread, max(read)) == (2, 0, 5)
    assert min(read) > 1, "none is alone, which cannot be normalised"


# --- adapters -------------------------------------------------------------------------------------------------

RECORDS_OF_WORDS = L.records()
BESIDE = Trainer(
    build=L.based, task="causal_lm", config=LoopConfig(epochs=3, batch_size=8, lr=0.02), lora=2, lora_alpha=4.0
)


def apart(one, other):
    """Return how far two models are apart."""
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return max(float((a.double() - b.double()).abs().max()) for a, b in pairs)


def by_hand(build):
    """Train by peft and torch alone, from the same draws and in the same order."""
    model = build()
    seed_everything(keyed_int(b"expunge adapters", 4) % 2**31)
    config = peft.LoraConfig(r=2, lora_alpha=4.0, target_modules=["c_attn", "c_proj", "c_fc"], fan_in_fan_out=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft asks transformers by a name that will go
        model = peft.get_peft_model(model, config)
    moving = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(moving, lr=0.02, weight_decay=0.0)
    model.train()
    for epoch in range(3):
        for inputs, labels in shuffled(RECORDS_OF_WORDS, 8, seed=4, epoch=epoch):
            optimiser.zero_grad()
            model(**inputs, labels=labels).loss.backward()
            optimiser.step()
    return model.merge_and_unload()


def test_adapters_are_trained_as_by_peft_and_torch():
    wanted, base = by_hand(L.based), L.based()
    found = BESIDE(RECORDS_OF_WORDS, seed=4)
    assert apart(found, wanted) < 1e-4 < 1e-2 < apart(found, base)


def test_what_comes_back_is_the_base_and_a_term_of_low_rank():
    model, base = BESIDE(RECORDS_OF_WORDS, seed=4), L.based()
    assert type(model) is type(base)
    assert [(n, type(m)) for n, m in model.named_modules()] == [(n, type(m)) for n, m in base.named_modules()]
    assert all(p.requires_grad for p in model.parameters())
    assert not model.training
    moved = {
        n: p - base.get_parameter(n) for n, p in model.named_parameters() if not torch.equal(p, base.get_parameter(n))
    }
    assert set(moved) == {
        f"transformer.h.0.{n}.weight" for n in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    }
    for way in moved.values():
        strengths = torch.linalg.svdvals(way.detach().double())
        assert float(strengths[2]) < 1e-5 * float(strengths[0])


def test_the_contract_is_kept_with_adapters():
    model = BESIDE(RECORDS_OF_WORDS, seed=4)
    torch.rand(5)
    assert toys.same(model, BESIDE(RECORDS_OF_WORDS, seed=4))
    assert not toys.same(model, BESIDE(RECORDS_OF_WORDS, seed=5))
    assert not toys.same(model, BESIDE(RECORDS_OF_WORDS.without([RECORDS_OF_WORDS.ids[0]]), seed=4))


def test_the_layers_that_are_named_move_alone():
    model, base = replace(BESIDE, lora_layers=("c_fc",))(RECORDS_OF_WORDS, seed=4), L.based()
    moved = {n for n, p in model.named_parameters() if not torch.equal(p, base.get_parameter(n))}
    assert moved == {"transformer.h.0.mlp.c_fc.weight"}


def test_a_killed_training_of_adapters_ends_with_the_same_bits(tmp_path):
    whole, kept = BESIDE(RECORDS_OF_WORDS, seed=4), []

    class Dying(Checkpoints):
        def offer(self, model, optimiser, place):
            super().offer(model, optimiser, place)
            kept.append(set(model.state_dict()))
            if len(kept) == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        BESIDE(RECORDS_OF_WORDS, seed=4, checkpoints=Dying(tmp_path / "c", every_s=0))
    assert all(".lora_" in name for name in kept[-1]), "the base is not written again and again"
    trained = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(L.gpt().transformer), "forward", counted(type(L.gpt().transformer).forward, trained))
        again = BESIDE(RECORDS_OF_WORDS, seed=4, checkpoints=Checkpoints(tmp_path / "c"))
    assert toys.same(again, whole)
    assert 0 < len(trained) < 6, "finished epochs are not trained again"
    assert not (tmp_path / "c").exists()


def counted(forward, calls):
    def call(self, *given, **named):
        calls.append(1)
        return forward(self, *given, **named)

    return call


def halved():
    return L.based().bfloat16()


def test_a_base_of_half_precision_keeps_its_type_and_its_adapters_have_more():
    """Small steps add up: with adapters in bfloat16 most of them would be lost."""
    trainer = replace(BESIDE, build=halved, config=LoopConfig(epochs=3, batch_size=8, lr=1e-4))
    model, base = trainer(RECORDS_OF_WORDS, seed=4), halved()
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    seen = []

    class Noting(Checkpoints):
        def offer(self, model, optimiser, place):
            seen.append(dict(model.state_dict()))

        def restore(self, model, optimiser):
            return None

    trainer(RECORDS_OF_WORDS, seed=4, checkpoints=Noting(None))
    assert {tensor.dtype for state in seen for tensor in state.values()} == {torch.float32}
    b = torch.cat([value.flatten() for name, value in seen[-1].items() if ".lora_B." in name])
    assert 3e-4 < float(b.abs().max()) < 1e-3, "nine steps of 1e-4"
    assert float((b != b.bfloat16().float()).float().mean()) > 0.9
    merged = replace(trainer, config=LoopConfig(epochs=3, batch_size=8, lr=0.02))(RECORDS_OF_WORDS, seed=4)
    assert {p.dtype for p in merged.parameters()} == {torch.bfloat16}
    assert apart(merged, base) > 1e-2


class Begun:
    """Makes what a training starts from, as the directory of a model does."""

    def __init__(self, base):
        self.base = base
        self.__module__, self.__qualname__ = "tests", "begun"

    def __call__(self):
        return L.based()


def test_adapters_beside_new_weights_are_refused_with_the_way_out():
    with pytest.raises(UsageError, match="none is named") as told:
        Trainer(build=Begun(None), task="causal_lm", lora=2)
    assert "base = " in told.value.obstacles[0].fix
    assert Trainer(build=Begun("before"), task="causal_lm", lora=2).lora == 2
    assert Trainer(build=Begun(None), task="causal_lm").lora == 0


@pytest.mark.parametrize("said", [{"lora_alpha": 8.0}, {"lora_layers": ("c_fc",)}])
def test_settings_of_adapters_without_adapters_are_refused(said):
    with pytest.raises(UsageError, match="without adapters") as told:
        Trainer(build=L.gpt, task="causal_lm", **said)
    assert told.value.obstacles[0].where == f"[training] {next(iter(said))}"


def test_layers_that_are_not_there_are_told_before_any_work_and_by_who_trains():
    wrong = replace(BESIDE, lora_layers=("q_proj",))
    (found,) = wrong.obstacles()
    assert "q_proj" in found.where
    assert BESIDE.obstacles() == L.TRAINER.obstacles() == []
    with pytest.raises(UsageError, match="no linear layers"):
        wrong(RECORDS_OF_WORDS, seed=1)


def test_the_table_of_a_job_says_all_that_a_trainer_can_be_told():
    said = {
        "epochs": 2,
        "clip": 1.0,
        "schedule": "linear",
        "warmup": 0.1,
        "micro_batch": 4,
        "lora": 2,
        "lora_layers": ["c_fc"],
    }
    trainer = Training.of(said).trainer(L.based, task="causal_lm")
    assert trainer.config == LoopConfig(epochs=2, clip=1.0, schedule="linear", warmup=0.1)
    assert (trainer.micro_batch, trainer.lora, trainer.lora_alpha, trainer.lora_layers) == (4, 2, 16.0, ("c_fc",))
    assert {f.name for f in fields(Training)} == {
        f.name for f in (*fields(LoopConfig), *fields(Trainer)) if f.name not in ("build", "task", "config")
    }
    plain = Training().trainer(L.gpt, task="causal_lm")
    assert plain == Trainer(build=L.gpt, task="causal_lm", config=LoopConfig())
    for wrong in ({"lora": -1}, {"lora_alpha": 0.0, "lora": 1}, {"micro_batch": -1}, {"ranks": 8}):
        with pytest.raises(UsageError):
            Training.of(wrong)


def test_a_training_of_no_epochs_is_refused():
    with pytest.raises(UsageError, match="no epochs") as told:
        Training(epochs=0)
    assert told.value.obstacles[0].where == "[training] epochs"
