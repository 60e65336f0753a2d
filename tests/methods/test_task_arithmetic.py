"""Its formula; what is shared with others is tested with ``engine/task_vectors``."""

import numpy as np
import torch
from scipy.special import softmax

from expunge.core.method import Need
from expunge.methods.task_arithmetic import TaskArithmetic
from tests.support import toys

STEP = {"epochs": 1, "batch_size": 64, "lr": 0.1, "optimiser": "sgd", "momentum": 0.0}


def test_of_one_step_it_is_ascent():
    """theta0 - s ((theta0 - lr g) - theta0) = theta0 + s lr g, in NumPy."""
    problem = toys.problem(build=toys.Softmax, dtype=torch.float64)
    run = toys.context(problem)
    model = TaskArithmetic({**STEP, "scale": 1.5}).unlearn(problem, run).model
    weight, bias = (p.detach().numpy() for p in problem.source.open().parameters())
    inputs, labels = (part.numpy() for part in problem.forget_view.read(range(12)))
    apart = (softmax(inputs @ weight.T + bias, axis=1) - np.eye(3)[labels]) / 12
    for found, start, slope in zip(model.parameters(), (weight, bias), (apart.T @ inputs, apart.sum(0)), strict=True):
        np.testing.assert_allclose(found.detach().numpy(), start + 0.15 * slope, atol=1e-14)
    assert run.mean_loss(model, problem.forget_view) > run.mean_loss(problem.source.open(), problem.forget_view)


def test_without_scale_or_epochs_it_is_the_original_and_says_so():
    for settings in ({"scale": 0.0}, {"epochs": 0}):
        problem = toys.problem(build=toys.Noisy)
        outcome = TaskArithmetic({**STEP, **settings}).unlearn(problem, toys.context(problem))
        assert toys.same(outcome.model, problem.source.open())
        assert any("no effect" in text for text in outcome.warnings)


def test_it_needs_the_forgotten_records_alone():
    assert TaskArithmetic.needs == {Need.FORGET}
    assert not TaskArithmetic().obstacles(toys.problem(forget=60))
