import math

import numpy as np
import pytest
import torch
from torch import nn

from expunge.engine.passes import Batch
from expunge.engine.visits import Side
from expunge.methods.finetune import Finetune
from expunge.methods.uam import UnlearningAware
from tests.support import regressions, toys

STEP = {"batch_size": 64, "lr": 0.3, "optimiser": "sgd", "momentum": 0.0}
RHO = 0.8


def by_hand(problem, *, epochs, sign=1.0, normed=True, stays=False, constant=False):
    """Return the parameters after steps over whole sets, one an epoch."""
    values = regressions.parameters(problem.source.open())
    for epoch in range(epochs):
        rho = RHO * (1.0 if constant else 0.5 * (1 + math.cos(math.pi * epoch / epochs)))
        up = regressions.slope(values, problem.forget_view)
        norm = np.sqrt(sum((g**2).sum() for g in up)) if normed else 1.0
        above = [v + sign * rho * g / norm for v, g in zip(values, up, strict=True)]
        slopes = regressions.slope(above, problem.retain_view)
        values = [v - 0.3 * g for v, g in zip(above if stays else values, slopes, strict=True)]
    return values


@pytest.mark.parametrize("epochs", [1, 3])
def test_steps_equal_arithmetic_in_float64(epochs):
    problem = toys.problem(build=toys.Softmax, dtype=torch.float64)
    model = UnlearningAware({**STEP, "epochs": epochs, "rho": RHO}).unlearn(problem, toys.context(problem)).model
    assert regressions.distance(model, by_hand(problem, epochs=epochs)) < 1e-13
    slips = [{"sign": -1.0}, {"sign": 0.0}, {"normed": False}, {"stays": True}]
    for slip in slips + ([{"constant": True}] if epochs > 1 else []):
        assert regressions.distance(model, by_hand(problem, epochs=epochs, **slip)) > 1e-3, slip


def test_without_a_way_up_it_is_fine_tuning_to_the_bit():
    problem = toys.problem()
    config = {"epochs": 3, "batch_size": 16, "lr": 0.01}
    one = UnlearningAware({**config, "rho": 0.0}).unlearn(problem, toys.context(problem)).model
    assert toys.same(one, Finetune(config).unlearn(problem, toys.context(problem)).model)


class Uneven(toys.Softmax):
    """A parameter that only the twelve forgotten records meet."""

    def __init__(self):
        super().__init__()
        self.more = nn.Parameter(torch.ones(toys.CLASSES))

    def forward(self, x):
        return super().forward(x) + (self.more * torch.arange(3.0) if len(x) == 12 else 0)


def test_the_way_is_taken_back_from_every_parameter():
    problem = toys.problem(build=Uneven)
    model, method = problem.source.open(), UnlearningAware({"batch_size": 64, "rho": 1.0})
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    method.prepare(model, problem, toys.context(problem))
    method.before_epoch(model, 1, None)
    retain, forget = (Side.read(part, range(len(part))) for part in (problem.retain_view, problem.forget_view))
    loss = method.objective(Batch(None, problem.meaning.units(model, forget.batch), None, retain, forget))
    moved = [name for name, p in model.named_parameters() if not torch.equal(p, start[name])]
    assert moved == ["weight", "bias", "more"]
    loss.backward()
    assert model.more.grad is None
    method.before_update(model, 0, 1)
    assert all(torch.equal(p, start[name]) for name, p in model.named_parameters())


def test_each_record_is_visited_once_a_step():
    problem = toys.problem()
    outcome = UnlearningAware({"epochs": 2, "batch_size": 16}).unlearn(problem, toys.context(problem))
    assert outcome.cost.trained == 2 * (48 + 3 * 12)
    assert sum(problem.records.seen[name] for name in problem.retain_view.ids) == 2 * 48
