import numpy as np
import torch

from expunge.core.method import Cost
from expunge.engine.gradients import by_batch, gathered, mean_gradient
from tests.support import toys


def by_hand(problem, records):
    """The gradient of the mean cross entropy of softmax regression, in float64."""
    weight, bias = (p.detach().numpy() for p in problem.source.open().parameters())
    inputs, labels = (part.numpy() for part in records.read(range(len(records))))
    logits = inputs @ weight.T + bias
    share = np.exp(logits - logits.max(1, keepdims=True))
    share /= share.sum(1, keepdims=True)
    share[np.arange(len(labels)), labels] -= 1
    return share.T @ inputs / len(labels), share.mean(0)


def test_the_mean_gradient_is_the_one_by_hand_whatever_the_batches():
    problem = toys.problem(build=toys.Softmax, dtype=torch.float64)
    run = toys.context(problem)
    wanted = by_hand(problem, problem.forget_view)
    for size in (1, 5, 100):
        found = mean_gradient(problem.source.open(), problem, problem.forget_view, run, size=size)
        for one, other in zip(found.values(), wanted, strict=True):
            np.testing.assert_allclose(one.numpy(), other, atol=1e-14)
    assert run.spent == Cost(trained=3 * 12)


def test_squares_of_single_gradients_are_summed_per_record():
    problem = toys.problem(build=toys.Softmax, dtype=torch.float64)
    records = problem.forget_view
    total, batches, count = gathered(by_batch(problem.source.open(), problem, records, size=1), lambda g, n: g.square())
    wanted = sum(by_hand(problem, records.select([i]))[0] ** 2 for i in records.ids)
    np.testing.assert_allclose(next(iter(total.values())).numpy(), wanted, atol=1e-14)
    assert (batches, count) == (12, 12)


def test_reading_changes_nothing_and_frozen_parameters_have_no_gradient():
    problem = toys.problem(build=toys.Noisy)
    model = problem.source.open().train()
    next(model.parameters()).requires_grad_(False)
    before = toys.state(model)
    found = mean_gradient(model, problem, problem.retain_view, toys.context(problem), size=16)
    after = toys.state(model)
    assert all(torch.equal(before[0][name], after[0][name]) for name in before[0])
    assert before[1:] == after[1:]
    assert all(p.grad is None for p in model.parameters())
    assert list(found) == [name for name, p in model.named_parameters() if p.requires_grad]
