import numpy as np
import pytest
import torch
from scipy.special import softmax

import expunge
from expunge.core.method import Cost
from expunge.methods.fisher import Fisher, variance
from expunge.plan.auto import candidates
from tests.support import toys


def information(problem):
    """Closed form for softmax regression: x_j^2 sum_y p_y (1[y = k] - p_k)^2, the mean over retained records."""
    weight, bias = (p.detach().numpy() for p in problem.source.open().parameters())
    inputs = problem.retain_view.read(range(len(problem.retain_view)))[0].numpy()
    p = softmax(inputs @ weight.T + bias, axis=1)
    slope = ((np.eye(3)[None] - p[:, None, :]) ** 2 * p[:, :, None]).sum(1)
    return (slope[:, :, None] * inputs[:, None, :] ** 2).mean(0), slope.mean(0)


def spread(method, problem, draws):
    """The sample variance of every parameter over seeds, and its mean."""
    models = [method.unlearn(problem, toys.context(problem, seed=s)).model for s in range(draws)]
    stacked = [torch.stack(parts).detach().numpy() for parts in zip(*(m.parameters() for m in models), strict=True)]
    return [part.var(axis=0, ddof=1) for part in stacked], [part.mean(axis=0) for part in stacked]


def test_the_variance_is_that_of_the_closed_form():
    """Over 120 seeds, in a head that is all there is: inverse information, its mean over inputs, ten times alpha."""
    problem = toys.problem(build=toys.Softmax, dtype=torch.float64, trainer=None, holdout=0, count=13, forget=8)
    of_weight, of_bias = information(problem)
    alpha = 1e-3
    wanted = [np.repeat((1 / of_weight).mean(1, keepdims=True), 4, axis=1) * 10 * alpha, 10 * alpha / of_bias]
    found, means = spread(Fisher({"alpha": alpha}), problem, 120)
    for mine, theirs in zip(found, wanted, strict=True):
        assert mine.mean() == pytest.approx(theirs.mean(), rel=0.15)
        np.testing.assert_allclose(mine, theirs, rtol=0.6)
    for mine, start in zip(means, problem.source.open().parameters(), strict=True):
        assert np.abs(mine - start.detach().numpy()).max() < 4 * np.sqrt(wanted[0].max() / 120)
    squared_mean = 1 / (np.square(problem.retain_view.read(range(5))[0].numpy().mean(0)))
    assert np.abs(squared_mean * 10 * alpha / wanted[0][0, 0] - 1).max() > 0.5  # a batch's gradient, squared: far off


def test_bounds_means_and_factors_of_the_variance():
    numbers = torch.tensor([[1.0, 0.25], [0.0, 1e9]])
    # Rows: mean(1, 4) = 2.5 and mean(1000, ~0) = 500; of the head mean(100, ~0) = 50, ten times.
    torch.testing.assert_close(variance(numbers, alpha=0.1, head=False), torch.tensor([[0.25] * 2, [50.0] * 2]))
    torch.testing.assert_close(variance(numbers, alpha=0.1, head=True), torch.tensor([[2.5] * 2, [50.0] * 2]))
    torch.testing.assert_close(variance(numbers[:, 0], alpha=0.1, head=False), torch.tensor([1.0, 1000.0]))
    torch.testing.assert_close(variance(numbers[:, 0], alpha=0.1, head=True), torch.tensor([1.0, 100.0]))
    # The largest standard deviation is the root of 10 alpha 1000, as the setting says.
    assert float(variance(torch.zeros(1), alpha=1e-6, head=False)) == pytest.approx(0.1**2)


def test_alpha_zero_is_the_original_and_noise_grows_with_its_root():
    problem = toys.problem(build=toys.Noisy, trainer=None, holdout=0)
    start = problem.source.open()
    assert toys.same(Fisher({"alpha": 0.0}).unlearn(problem, toys.context(problem)).model, start)
    one, four = (Fisher({"alpha": a}).unlearn(problem, toys.context(problem)).model for a in (1e-8, 4e-8))
    for p, q, o in zip(one.parameters(), four.parameters(), start.parameters(), strict=True):
        torch.testing.assert_close(q - o, 2 * (p - o), rtol=1e-2, atol=1e-5)
    assert all(torch.equal(b, c) for b, c in zip(one.buffers(), start.buffers(), strict=True))


def test_a_class_without_retained_records_gets_a_new_row_and_no_forgotten_record_is_read():
    train = toys.records(36)
    problem = toys.problem(train=train, trainer=None, holdout=0)
    problem.forget = [name for name, label in zip(train.ids, train.y.tolist(), strict=True) if label == 1]
    head, start = [], problem.source.open()
    for seed in range(6):
        outcome = Fisher({"alpha": 1e-9}).unlearn(problem, toys.context(problem, seed=seed))
        head.append(outcome.model[2].weight.detach())
    rows = torch.stack(head)
    assert rows[:, 1].var().item() == pytest.approx(1e-3, rel=0.4)
    torch.testing.assert_close(rows[0][[0, 2]], start[2].weight.detach()[[0, 2]], atol=5e-3, rtol=0)
    assert "rows of 1 classes" in outcome.stopped
    assert not set(problem.forget_ids) & set(problem.records.seen)


def test_a_hidden_layer_as_wide_as_there_are_classes_is_no_head():
    class Narrow(torch.nn.Sequential):
        def __init__(self):
            super().__init__(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 3))

    train = toys.records(90)
    problem = toys.problem(train=train, build=Narrow, trainer=None, holdout=0)
    problem.forget = [name for name, label in zip(train.ids, train.y.tolist(), strict=True) if label == 1]
    model, start = Fisher({"alpha": 1e-12}).unlearn(problem, toys.context(problem)).model, problem.source.open()
    torch.testing.assert_close(model[0].weight, start[0].weight, atol=1e-3, rtol=0)
    assert not torch.allclose(model[2].weight[1], start[2].weight[1], atol=1e-2)


def test_noise_that_leaves_nothing_is_announced():
    problem = toys.problem(trainer=None, holdout=0)
    loud = Fisher({"alpha": 0.2}).unlearn(problem, toys.context(problem))
    assert loud.warnings == ("alpha 0.2 allows noise of a standard deviation up to 45: weights of that size are gone",)
    assert not Fisher({"alpha": 1e-6}).unlearn(problem, toys.context(problem)).warnings


def test_the_work_is_one_visit_and_a_backward_pass_more_for_each_further_class():
    problem = toys.problem(trainer=None, holdout=0)
    outcome = Fisher().unlearn(problem, toys.context(problem))
    assert outcome.cost == Fisher().cost(problem) == Cost(trained=48, read=2 * 2 * 48)


def test_a_task_without_classes_is_an_obstacle_and_auto_goes_on():
    x = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    train = expunge.ArrayRecords(x, x.sum(1), ids=[f"r{i}" for i in range(20)])
    network = torch.nn.Linear(4, 1)
    problem = expunge.Problem(
        model=network, train=train, forget=["r0", "r1"], task="regression", trainer=lambda records, *, seed: network
    )
    assert [each.found for each in Fisher().obstacles(problem)] == ["task regression, which has none"]
    assert not Fisher().obstacles(toys.problem())
    assert candidates(problem, {})


def test_a_network_without_a_head_whose_rows_are_the_classes_is_an_obstacle():
    for build in (toys.Prototypes, toys.Alone):
        (told,) = Fisher().obstacles(toys.problem(build=build))
        assert told.what == "the network has no head whose rows are the classes"
    assert not Fisher().obstacles(toys.problem())
