import numpy as np
import pytest
import torch
from scipy.special import softmax

from expunge.core.method import Need
from expunge.methods.finetune import Finetune
from expunge.methods.l1_sparse import L1Sparse
from tests.support import toys

LOOP = {"epochs": 4, "batch_size": 16, "lr": 0.05, "weight_decay": 0.01}


def size(model):
    return sum(float(p.detach().abs().sum()) for p in model.parameters())


@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
def test_without_penalty_it_is_fine_tuning_to_the_bit(optimiser):
    """L1-1."""
    problem = toys.problem(build=toys.Noisy)
    one = L1Sparse({**LOOP, "penalty": 0.0, "optimiser": optimiser}).unlearn(problem, toys.context(problem)).model
    other = Finetune({**LOOP, "optimiser": optimiser}).unlearn(problem, toys.context(problem)).model
    assert toys.same(one, other)


def test_the_weight_falls_in_a_line_and_is_never_negative():
    """L1-2."""
    weights = [L1Sparse({"epochs": 6, "free_epochs": 2, "penalty": 0.8}).weight(epoch) for epoch in range(1, 7)]
    assert weights == pytest.approx([0.8, 0.6, 0.4, 0.2, 0.0, 0.0])
    whole = [L1Sparse({"epochs": 5, "penalty": 1.0}).weight(epoch) for epoch in range(1, 6)]
    assert whole == pytest.approx([1.0, 0.8, 0.6, 0.4, 0.2])
    for free in (3, 4):
        assert [L1Sparse({"epochs": 3, "free_epochs": free}).weight(epoch) for epoch in range(1, 4)] == [0.0] * 3


def test_epochs_equal_arithmetic_in_float64():
    problem = toys.problem(build=toys.Softmax, dtype=torch.float64)
    settings = {"epochs": 3, "free_epochs": 1, "batch_size": 64, "lr": 0.1, "momentum": 0.0, "weight_decay": 0.0}
    model = L1Sparse({**settings, "penalty": 0.3}).unlearn(problem, toys.context(problem)).model
    inputs, labels = (part.numpy() for part in problem.retain_view.read(range(48)))

    def by_hand(weights, biases=1.0):
        weight, bias = (p.detach().numpy() for p in problem.source.open().parameters())
        for gamma in weights:
            apart = (softmax(inputs @ weight.T + bias, axis=1) - np.eye(3)[labels]) / 48
            weight, bias = (
                weight - 0.1 * (apart.T @ inputs + gamma * np.sign(weight)),
                bias - 0.1 * (apart.sum(0) + biases * gamma * np.sign(bias)),
            )
        return weight, bias

    def distance(values):
        return max(float(np.abs(p.detach().numpy() - v).max()) for p, v in zip(model.parameters(), values, strict=True))

    assert distance(by_hand([0.3, 0.15, 0.0])) < 1e-14
    slips = {
        "constant": by_hand([0.3, 0.3, 0.3]),
        "no free epoch": by_hand([0.3, 0.2, 0.1]),
        "counted from 1": by_hand([0.15, 0.0, 0.0]),
        "growing": by_hand([0.15, 0.3, 0.0]),
        "flipped sign": by_hand([-0.3, -0.15, 0.0]),
        "biases left out": by_hand([0.3, 0.15, 0.0], biases=0.0),
    }
    for name, values in slips.items():
        assert distance(values) > 1e-3, name


def test_weights_end_smaller_than_by_fine_tuning_and_more_of_them_are_tiny():
    """L1-3."""
    problem = toys.problem()
    settings = {**LOOP, "epochs": 10, "lr": 0.02}
    sparse = L1Sparse({**settings, "penalty": 0.02}).unlearn(problem, toys.context(problem)).model
    plain = Finetune({**settings, "optimiser": "sgd"}).unlearn(problem, toys.context(problem)).model
    assert size(sparse) < 0.9 * size(plain)
    tiny = [sum(int((p.abs() < 1e-2).sum()) for p in model.parameters()) for model in (sparse, plain)]
    assert tiny[0] > tiny[1]


def test_the_forget_set_is_never_read():
    problem = toys.problem()
    L1Sparse(LOOP).unlearn(problem, toys.context(problem))
    assert set(problem.records.seen) == set(problem.retain_view.ids)
    assert L1Sparse.needs == {Need.RETAIN}
