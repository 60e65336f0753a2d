import math
from functools import cache

import numpy as np
import pytest
import torch
from scipy.special import softmax

from expunge.core.errors import Diverged
from expunge.core.method import Need
from expunge.engine.loop import LoopConfig
from expunge.engine.training import Trainer
from expunge.methods.gradient_ascent import GradientAscent
from tests.support import toys

STEP = {"epochs": 1, "batch_size": 64, "lr": 0.05, "momentum": 0.0, "weight_decay": 0.0}


LONG = Trainer(build=toys.Mlp, config=LoopConfig(epochs=120, batch_size=16, lr=0.02))


def mislabelled():
    """Records of which the first 12 have wrong labels."""
    records = toys.records(60)
    records.y[:12] = (records.y[:12] + 1) % 3
    return records


@cache
def original():
    """A network that knows wrong labels by heart."""
    return LONG(mislabelled(), seed=1)


def trained(**more):
    return toys.problem(model=original(), train=mislabelled(), trainer=None, **more)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_one_step_is_the_rate_times_the_gradient_of_the_forget_loss(decay):
    """GA-1; decay pulls to zero as in descent."""
    problem = toys.problem(build=toys.Softmax, dtype=torch.float64, holdout=0)
    run = toys.context(problem)
    outcome = GradientAscent({**STEP, "weight_decay": decay}).unlearn(problem, run)
    weight, bias = (p.detach().numpy() for p in problem.source.open().parameters())
    inputs, labels = (part.numpy() for part in problem.forget_view.read(range(12)))
    apart = (softmax(inputs @ weight.T + bias, axis=1) - np.eye(3)[labels]) / 12
    for found, start, slope in zip(
        outcome.model.parameters(), (weight, bias), (apart.T @ inputs, apart.sum(0)), strict=True
    ):
        np.testing.assert_allclose(found.detach().numpy(), start + 0.05 * (slope - decay * start), atol=1e-14)
    assert run.mean_loss(outcome.model, problem.forget_view) > run.mean_loss(problem.source.open(), problem.forget_view)


def test_retained_records_are_never_read():
    problem = toys.problem()
    GradientAscent({"epochs": 2}).unlearn(problem, toys.context(problem))
    assert set(problem.records.seen) == set(problem.forget_ids)
    assert GradientAscent.needs == {Need.FORGET}
    everything = toys.problem(forget=60)
    assert not GradientAscent().obstacles(everything)


def right(model, records, ids):
    inputs, labels = records.read([records.position[name] for name in ids])
    with torch.no_grad():
        return float((model.eval()(inputs).argmax(1) == labels).double().mean())


def test_it_stops_where_forgotten_records_are_answered_as_held_out_ones_of_their_classes():
    """GA-2."""
    problem = trained(holdout=90)
    run = toys.context(problem)
    models = []

    class Keeping(GradientAscent):
        def stop(self, model, epoch, run):
            models.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
            return super().stop(model, epoch, run)

    outcome = Keeping({"epochs": 60, "lr": 1e-3, "batch_size": 8, "margin": 1e3}).unlearn(problem, run)
    labels = {int(problem.records.y[problem.records.position[name]]) for name in run.choosing.forget.ids}
    held = [n for n in run.choosing.holdout.ids if int(problem.held_out.y[problem.held_out.position[n]]) in labels]
    over = []
    for state in models:
        model = problem.source.open()
        model.load_state_dict(state)
        over.append(right(model, problem.records, run.choosing.forget.ids) <= right(model, problem.held_out, held))
    assert over == [False] * (len(models) - 1) + [True]
    assert 1 < len(models) < 60
    assert "of forgotten records answered right" in outcome.stopped


@pytest.mark.parametrize("margin", [0.0, 0.4])
def test_it_stops_above_the_loss_of_an_even_guess(margin):
    """GA-2, without held-out records."""
    problem = trained(holdout=0)
    run = toys.context(problem)
    outcome = GradientAscent({"epochs": 90, "lr": 0.02, "margin": margin}).unlearn(problem, run)
    assert run.mean_loss(outcome.model, run.choosing.forget) > math.log(3) + margin
    assert outcome.stopped.startswith("forget loss ")
    assert "that of an even guess" in outcome.stopped
    fewer = len(outcome.history) - 1
    assert fewer > 0
    before = GradientAscent({"epochs": fewer, "lr": 0.02, "margin": margin}).unlearn(problem, run).model
    assert run.mean_loss(before, run.choosing.forget) <= math.log(3) + margin


def test_without_choosing_records_it_goes_to_the_end():
    problem = trained(forget=2)
    assert GradientAscent({"epochs": 2}).unlearn(problem, toys.context(problem)).stopped == "after 2 epochs"


def test_a_loss_that_is_not_finite_raises_and_returns_no_model():
    """GA-3."""
    problem = toys.problem(trainer=None, holdout=0, forget=2)
    with pytest.raises(Diverged):
        GradientAscent({"epochs": 60, "lr": 1e12}).unlearn(problem, toys.context(problem))


def test_batch_statistics_become_those_of_forgotten_records_unless_kept():
    problem = toys.problem(build=toys.Noisy)
    start = problem.source.open()[1].running_mean
    for statistics, stay in (("move", False), ("keep", True)):
        model = (
            GradientAscent({"epochs": 1, "batch_statistics": statistics}).unlearn(problem, toys.context(problem)).model
        )
        assert torch.equal(model[1].running_mean, start) == stay
