"""Several processes that hold one model come to what one process comes to, to the rounding of floats."""

import json
from dataclasses import replace

import pytest
import torch
import torch.distributed as dist
from torch import nn

from expunge.core.problem import Problem
from expunge.engine import ranks, spread
from expunge.engine.loop import LoopConfig
from expunge.engine.training import Trainer
from expunge.models.adapted import AdaptedModel
from expunge.numerics.losses import mean_loss
from tests.support import languages as L
from tests.support import toys
from tests.support.launching import TORCHRUN, launch

ROOT = toys.ROOT


@pytest.fixture(scope="module")
def alone():
    """One process that works as one of several does."""
    ranks.join_by(dist.HashStore(), 0, 1)
    yield
    ranks.leave()


@pytest.fixture(scope="module")
def pair(alone):
    """A problem, and the same spread."""
    problem = L.spoken(L.untrained(3), trainer=L.TRAINER)
    return problem, spread.spread(problem)


def test_a_spread_model_is_the_model(pair):
    problem, several = pair
    part = several.source.open()
    assert spread.is_spread(part)
    assert part.lm_head.weight is part.transformer.wte.weight, "what two layers share stays one weight"
    assert several.source.digest(part) == problem.source.digest()
    assert several.spec.digest == problem.spec.digest


def test_parameters_are_the_same_before_and_after_a_call(pair):
    _, several = pair
    part = several.source.open()
    before = list(map(id, part.parameters()))
    with torch.no_grad():
        several.meaning.units(part, several.records.read([0, 1])).loss.sum()
    assert list(map(id, part.parameters())) == before


def test_units_and_their_slopes_are_those_of_one_process(pair):
    problem, several = pair
    batch, whole, part = problem.records.read(range(5)), problem.source.open(), several.source.open()
    chosen = torch.tensor([True, False, True, True, False])

    def asked(problem, model):
        units = problem.meaning.units(model, batch)
        some = units.among(chosen)
        told = some.per_unit(lambda logits, target: logits.logsumexp(dim=1) * (target % 3))
        (mean_loss(units) + some.by_record(told).sum()).backward()
        slope = ranks.whole(model.transformer.wte.weight.grad)
        return [units.loss, units.target, units.record, units.correct, units.output, units.classes, told, slope]

    for one, other in zip(asked(problem, whole), asked(several, part), strict=True):
        torch.testing.assert_close(torch.as_tensor(other), torch.as_tensor(one), rtol=1e-5, atol=1e-6)


def test_the_gradients_of_a_spread_model_are_cut_as_one(pair):
    problem, several = pair
    batch, whole, part = problem.records.read(range(5)), problem.source.open(), several.source.open()
    for where, model in ((problem, whole), (several, part)):
        where.meaning.units(model, batch).loss.mean().backward()
        assert ranks.norm(p.grad for p in model.parameters()) > 0.5
        LoopConfig(clip=0.01).cut(model)
        assert ranks.norm(p.grad for p in model.parameters()) == pytest.approx(0.01, rel=1e-3)
    for one, other in zip(whole.parameters(), part.parameters(), strict=True):
        torch.testing.assert_close(ranks.whole(other.grad), one.grad, rtol=1e-4, atol=1e-8)


def test_a_task_that_deals_is_still_of_its_class(pair):
    problem, several = pair
    assert isinstance(several.meaning, type(problem.meaning))
    assert spread.dealing(several.meaning) is several.meaning


def test_a_model_of_which_each_has_all_is_not_dealt_out(pair):
    problem, several = pair
    batch, model = problem.records.read([0, 1]), problem.source.open()
    assert type(several.meaning.units(model, batch)) is type(problem.meaning.units(model, batch))


def test_what_several_processes_cannot_share_is_named(tmp_path):
    mixing = nn.Sequential(nn.Linear(20, 8), nn.BatchNorm1d(8), nn.Linear(8, 4))
    inputs, labels = toys.points(16)
    problem = Problem(model=mixing, train=(inputs, labels), forget=["0"], trainer=lambda records, *, seed: None)
    told = " ".join(each.what for each in spread.obstacles(problem))
    assert "batch normalisation" in told
    assert "trainer of your own" in told
    (told,) = spread.obstacles(L.spoken(AdaptedModel(L.adapted(tmp_path))))
    assert "base with adapters" in told.what
    assert not spread.obstacles(L.spoken(L.untrained(3), trainer=L.TRAINER))


def test_dropout_falls_otherwise_in_each_process(alone, monkeypatch):
    model, state = nn.Dropout(0.5).train(), torch.get_rng_state()
    model.weight = nn.Parameter(torch.zeros(1))

    def drawn(number):
        torch.set_rng_state(state)
        monkeypatch.setattr(ranks, "number", lambda: number)
        with spread._own_chance(model):
            found = model(torch.ones(64))
        return found, torch.get_rng_state()

    (one, after), (other, same), (again, _) = drawn(0), drawn(1), drawn(0)
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert torch.equal(after, same)
    assert not torch.equal(after, state)


def test_a_spread_trainer_is_known_by_the_same_name(pair):
    _, several = pair
    assert type(several.trainer) is not Trainer, "nothing is stacked"
    assert several.trainer.describe() == L.TRAINER.describe()


def test_a_spread_trainer_puts_adapters_where_the_other_does(alone):
    trainer = replace(L.TRAINER, build=L.based, config=LoopConfig(epochs=2, batch_size=8, lr=0.02, clip=0.5), lora=2)
    problem = L.spoken(L.untrained(3), trainer=trainer)
    several = spread.spread(problem)
    one, part = trainer(problem.retain_view, seed=1), several.trainer(problem.retain_view, seed=1)
    assert spread.is_spread(part)
    made = spread.gathered(several, part)
    for (name, mine), theirs in zip(made.named_parameters(), one.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-5, msg=name)
    assert not toys.same(one, L.based())


# --- two processes ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    out = tmp_path_factory.mktemp("together") / "found.json"
    code, _, err = launch(ROOT, *TORCHRUN, ROOT / "tests" / "support" / "together.py", out)
    assert code == 0, err[-3000:]
    return json.loads(out.read_text())


@pytest.mark.slow
def test_two_processes_unlearn_as_one(two):
    for name, (apart, moved, told, same) in two["methods"].items():
        assert apart < 1e-5 < 1e-3 < moved, f"{name}: {apart:.1g} apart, moved by {moved:.1g}"
        assert told < 1e-6, name
        assert same, name


@pytest.mark.slow
def test_two_processes_train_round_and_resume_as_one(two):
    assert two["trained"] < 1e-5
    assert two["adapted"][0] < 1e-5 < 1e-3 < two["adapted"][1]
    assert two["digest"]
    assert max(two["units"]) < 1e-6
    assert two["rounded"] < 1e-6
    apart, files = two["resumed"]
    assert apart == 0.0
    assert files == ["000001"], "what was resumed from, written by one process"
