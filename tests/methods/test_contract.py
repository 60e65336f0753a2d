"""What holds for every method, found by discovery: a new method is tested here without a line."""

import dataclasses

import pytest
import torch

from expunge.core import registry
from expunge.core.digest import tree_digests
from expunge.core.level import Level
from expunge.core.method import Cost, Need
from expunge.core.serial import plain
from expunge.engine.checkpoint import Checkpoints
from expunge.engine.loop import LoopConfig
from expunge.engine.references import Retrained
from expunge.engine.runs import Artefact
from expunge.engine.split import split
from expunge.engine.training import Trainer
from tests.support import toys

NAMES = registry.names("methods")
NOISY = Trainer(build=toys.Noisy, config=LoopConfig(epochs=3, batch_size=16, lr=0.01))


def noisy(**more):
    """A problem whose model has batch statistics and dropout, and was trained."""
    model = NOISY(toys.records(60), seed=1).train()
    model.zero_grad()
    model[0].bias.requires_grad_(False)
    return toys.problem(model=model, **{"trainer": NOISY, **more})


def context(problem, **more):
    def retrain(seed):
        return NOISY(problem.retain_view, seed=seed), Retrained(Artefact("a", "1", {}), seed, Cost(trained=1.0))

    return toys.context(problem, retrain=retrain, **more)


def method_of(name):
    cls = registry.load("methods", name)
    return cls({"epochs": 2, "batch_size": 16} if issubclass(cls.Config, LoopConfig) else None)


@pytest.fixture(params=NAMES)
def method(request):
    return method_of(request.param)


def unlearn(method, problem, **more):
    return method.unlearn(problem, context(problem, **more))


def test_methods_are_found():
    assert {"finetune", "neg_grad_plus", "noop", "retrain"} <= set(NAMES)


def test_what_the_user_holds_is_not_changed(method):
    problem = noisy()
    before = toys.state(problem.model)
    labels, inputs = problem.records.y.clone(), problem.records.x.clone()
    held = problem.held_out.x.clone()
    unlearn(method, problem)
    after = toys.state(problem.model)
    assert all(torch.equal(before[0][name], after[0][name]) for name in before[0]), "parameters and buffers"
    assert before[1:] == after[1:], "training flags and requires_grad"
    assert all(p.grad is None for p in problem.model.parameters())
    assert torch.equal(problem.records.y, labels)
    assert torch.equal(problem.records.x, inputs)
    assert torch.equal(problem.held_out.x, held)
    assert problem.source.digest() == noisy().source.digest(), "the source opens the original still"


def test_the_models_share_no_memory(method):
    problem = noisy()
    made, mine, original = unlearn(method, problem).model, problem.model, problem.source.open()
    places = [{t.data_ptr() for t in model.state_dict().values()} for model in (made, mine, original)]
    assert not places[0] & (places[1] | places[2])
    assert type(made) is type(mine), "the class that went in"
    assert not any(module.training for module in made.modules())


def test_the_same_seed_gives_the_same_bits_whatever_was_drawn_before(method):
    first = unlearn(method, noisy())
    torch.rand(10)
    again = unlearn(method, noisy())
    assert toys.same(first.model, again.model)
    assert plain(dataclasses.replace(first, model=None)) == plain(dataclasses.replace(again, model=None))


def test_another_seed_gives_another_model(method):
    first, other = (unlearn(method, noisy(), seed=seed).model for seed in (3, 4))
    assert toys.same(first, other) == method.control


def test_an_empty_forget_set_changes_nothing(method):
    if Need.TRAINER in method.needs:
        return  # the workflow asks no method then
    problem = noisy(forget=0)
    outcome = unlearn(method, problem)
    assert toys.same(outcome.model, problem.source.open())
    assert (outcome.cost.trained, outcome.touched) == (0, 0)


def test_work_is_counted_and_known_before(method):
    problem = noisy()
    estimate, outcome = method.cost(problem), unlearn(method, problem)
    assert (estimate.trained > 0) == (outcome.cost.trained > 0) == (not method.control)
    assert 0 <= outcome.touched <= 1
    assert (outcome.touched == 0) == any("no parameter changed" in text for text in outcome.warnings)
    assert outcome.stopped
    assert method.cost(noisy(count=120)).trained >= estimate.trained


def test_forgotten_records_are_read_only_where_that_is_declared(method):
    problem = noisy()
    unlearn(method, problem)
    read = set(problem.records.seen) & set(problem.forget_ids)
    assert bool(read) == (Need.FORGET in method.needs)


def test_judging_records_decide_nothing(method):
    """Other judging holdout records, the same model: they are out of the method's reach."""
    first = noisy()
    _, judging = split(first, 1)
    other = noisy()
    hidden = [other.held_out.position[name] for name in judging.holdout.ids]
    other.held_out.x[hidden] += 100
    assert toys.same(unlearn(method, first).model, unlearn(method, other).model)
    assert not set(judging.holdout.ids) & set(other.held_out.seen)


def test_an_interrupted_method_ends_with_the_same_bits(method, tmp_path):
    class Dying(Checkpoints):
        def offer(self, *parts):
            super().offer(*parts)
            raise KeyboardInterrupt

    whole = unlearn(method, noisy())
    try:
        unlearn(method, noisy(), checkpoints=Dying(tmp_path / "c", every_s=0))
    except KeyboardInterrupt:
        assert tree_digests(tmp_path / "c")
    resumed = unlearn(method, noisy(), checkpoints=Checkpoints(tmp_path / "c", every_s=0))
    assert toys.same(resumed.model, whole.model)
    # What is looked at may be looked at again, and is counted then.
    assert resumed.cost.trained == whole.cost.trained
    assert resumed.cost.read >= whole.cost.read
    kept = ("epoch", "objective", "trained")
    assert [[row[k] for k in kept] for row in resumed.history] == [[row[k] for k in kept] for row in whole.history]
    assert resumed.stopped == whole.stopped


@pytest.mark.parametrize("name", NAMES)
def test_settings_go_round(name):
    method = method_of(name)
    values = plain(method.config)
    again = registry.load("methods", name)(values)
    assert again.config == method.config
    assert plain(again.config) == values
    assert all(field.metadata.get("doc") for field in dataclasses.fields(method.config)), "every field is documented"


def test_it_says_what_it_is(method):
    assert method.title
    assert method.source
    assert isinstance(method.guarantee, Level)
    assert method.name in NAMES


def test_needs_that_are_not_met_are_refused_before_work(method):
    problem = toys.problem(trainer=None, count=12, forget=12)
    found = {obstacle.what for obstacle in method.obstacles(problem)}
    assert (f"{method.name} needs a trainer" in found) == (Need.TRAINER in method.needs)
    assert (f"{method.name} needs retained records" in found) == (Need.RETAIN in method.needs)
    assert not problem.records.seen
