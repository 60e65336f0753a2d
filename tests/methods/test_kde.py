import numpy as np
import pytest
import torch
from scipy.special import softmax

from expunge.engine.passes import Batch
from expunge.methods.kde import KnowledgeDistillation
from expunge.numerics.units import Scored
from tests.support import toys

STILL = {"batch_size": 64, "lr": 1e-300, "warm_lr": 1e-300}


def test_the_first_layer_and_the_head_are_drawn_anew():
    problem = toys.problem(build=toys.Noisy)
    start = problem.source.open()
    model = KnowledgeDistillation(STILL).unlearn(problem, toys.context(problem)).model
    moved = [name for name, p in model.named_parameters() if not torch.equal(p, start.get_parameter(name))]
    assert moved == ["0.weight", "0.bias", "4.0.weight", "4.0.bias"]


@pytest.mark.parametrize("learning", [False, True])
def test_objectives_equal_arithmetic_in_float64(learning):
    method, draw, target = KnowledgeDistillation({"temperature": 4.0}), np.random.default_rng(2), np.array([0, 1, 2, 2])
    mine, theirs = 3 * draw.normal(size=(2, 4, 3))
    tensor = torch.tensor(mine, requires_grad=True)
    student, teacher = (Scored.of(z, torch.tensor(target), torch.arange(4), 4) for z in (tensor, torch.tensor(theirs)))
    batch = Batch(student, None, Batch(teacher, None))
    (method.learn if learning else method.follow)(batch).backward()
    # KL and soft cross entropy have the same slope in the student's logits.
    near = (softmax(mine / 4, axis=1) - softmax(theirs / 4, axis=1)) / 4 / 4
    plain = (softmax(mine, axis=1) - np.eye(3)[target]) / 4
    np.testing.assert_allclose(tensor.grad.numpy(), 2 * near + plain if learning else near, atol=1e-14)
    for wrong in (-near, 4 * near, 16 * near):  # swapped, a factor T, a factor T^2
        assert np.abs(tensor.grad.numpy() - wrong).max() > 0.01


def test_it_is_taught_on_held_out_records_of_the_choosing_part_and_says_what_that_costs():
    problem, settings = toys.problem(), {"epochs": 5, "warm": 2, "batch_size": 16}
    run = toys.context(problem)
    outcome = KnowledgeDistillation(settings).unlearn(problem, run)
    assert set(problem.held_out.seen) == set(run.choosing.holdout.ids)
    assert outcome.cost.trained == 2 * 8 + 3 * 48
    assert KnowledgeDistillation(settings).cost(problem).trained == outcome.cost.trained


def test_the_rate_is_constant_and_then_falls_by_epochs():
    method = KnowledgeDistillation()
    rates = [method.config.lr * method.passes(epoch)[0].rate for epoch in range(1, 7)]
    assert rates == pytest.approx([9e-4] * 3 + [1e-3, 0.75e-3, 0.25e-3])
    assert [method.passes(epoch)[0].moments for epoch in (3, 4)] == ["warm", ""]


def test_without_held_out_records_it_is_refused_before_work():
    problem = toys.problem(holdout=0)
    assert [o.what for o in KnowledgeDistillation().obstacles(problem)] == ["kde distils on held-out records"]
    assert KnowledgeDistillation({"warm": 0}).obstacles(problem) == []
    outcome = KnowledgeDistillation({"warm": 0, "epochs": 1}).unlearn(problem, toys.context(problem))
    assert outcome.cost.trained == 48


def test_a_network_without_a_layer_to_reset_is_an_obstacle():
    (told,) = KnowledgeDistillation().obstacles(toys.problem(build=toys.Alone))
    assert told.what == "kde resets the first layer and the head"
    assert not KnowledgeDistillation().obstacles(toys.problem(build=toys.Prototypes))
