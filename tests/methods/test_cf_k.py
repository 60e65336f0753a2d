import pytest
import torch

from expunge.core.errors import UsageError
from expunge.methods.cf_k import CfK
from expunge.methods.finetune import Finetune
from tests.support import toys

LOOP = {"epochs": 2, "batch_size": 16, "lr": 0.05}


class Tower(torch.nn.Sequential):
    """Three blocks, the middle one with batch statistics, and a parameter that is in none of them."""

    def __init__(self):
        super().__init__(
            torch.nn.Linear(4, 8),
            torch.nn.BatchNorm1d(8),
            torch.nn.ReLU(),
            torch.nn.Sequential(torch.nn.Linear(8, 6), torch.nn.BatchNorm1d(6), torch.nn.ReLU()),
            torch.nn.Linear(6, 3),
        )
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, x):
        return self.scale * super().forward(x)


def moved(k):
    problem = toys.problem(build=Tower, trainer=None, holdout=0)
    model = CfK({**LOOP, "k": k}).unlearn(problem, toys.context(problem)).model
    before = problem.source.open().state_dict()
    return {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}


def test_what_comes_before_keeps_its_bits_and_its_statistics():
    assert moved(0) == {"4.weight", "4.bias"}
    assert {name.split(".")[0] for name in moved(1)} == {"3", "4"}
    assert "3.1.running_mean" in moved(1)
    everything = moved(2)
    assert {"0.weight", "1.running_mean", "scale"} <= everything
    assert moved(9) == everything


@pytest.mark.parametrize("build", [toys.Mlp, toys.Noisy, Tower])
def test_with_all_blocks_it_is_fine_tuning_to_the_bit(build):
    problem = toys.problem(build=build)
    more = {**LOOP, "optimiser": "sgd"}
    both = [method.unlearn(problem, toys.context(problem)).model for method in (CfK({**more, "k": 9}), Finetune(more))]
    assert toys.same(*both)


def test_only_the_head_of_a_step_moves_as_its_slope_says():
    """One step over all records with k = 0 moves the head by the rate times its gradient at the start."""
    problem = toys.problem(dtype=torch.float64)
    config = {"epochs": 1, "batch_size": 64, "lr": 0.1, "momentum": 0.0, "k": 0}
    model = CfK(config).unlearn(problem, toys.context(problem)).model
    start = problem.source.open()
    inputs, labels = problem.retain_view.read(range(48))
    hidden = torch.relu(start[0](inputs))
    share = torch.softmax(start[2](hidden), 1) - torch.nn.functional.one_hot(labels, 3)
    torch.testing.assert_close(model[2].weight, start[2].weight - 0.1 * share.T @ hidden / 48, rtol=0, atol=1e-14)
    torch.testing.assert_close(model[2].bias, start[2].bias - 0.1 * share.mean(0), rtol=0, atol=1e-14)


def test_the_caller_may_move_all_of_the_model_that_comes_back():
    problem = toys.problem()
    model = CfK({**LOOP, "k": 0}).unlearn(problem, toys.context(problem)).model
    assert all(p.requires_grad for p in model.parameters())


def test_forgotten_records_are_never_read():
    problem = toys.problem(trainer=None, holdout=0)
    CfK(LOOP).unlearn(problem, toys.context(problem))
    assert set(problem.records.seen) == set(problem.retain_view.ids)


def test_a_negative_number_of_blocks_is_refused():
    with pytest.raises(UsageError):
        CfK({"k": -1})
