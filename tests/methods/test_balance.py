import numpy as np
import torch

from expunge.core.problem import Problem
from expunge.core.registry import load
from expunge.engine.balance import weights
from expunge.methods.balance import Balance
from tests.support import toys

STEP = {"epochs": 1, "batch_size": 64, "lr": 0.05, "optimiser": "sgd", "momentum": 0.0}


def posed(build=toys.Softmax, **more):
    whole = toys.problem(count=60, forget=12, build=build, dtype=torch.float64)
    groups = {name: "few" if i % 5 == 0 else "many" for i, name in enumerate(whole.records.ids)}
    return Problem(model=whole.model, train=whole.records, forget=whole.forget_ids, groups=groups, **more)


def slope(model, problem, weight):
    """The gradient of the weighted mean cross entropy of softmax regression, by hand in float64."""
    w, b = (p.detach().numpy() for p in model.parameters())
    records = problem.retain_view
    inputs, labels = (part.numpy() for part in records.read(range(len(records))))
    logits = inputs @ w.T + b
    share = np.exp(logits - logits.max(1, keepdims=True))
    share /= share.sum(1, keepdims=True)
    share[np.arange(len(labels)), labels] -= 1
    share *= np.array([weight[name] for name in records.ids])[:, None]
    return share.T @ inputs / len(labels), share.mean(0)


def test_one_step_of_balancing_is_the_weighted_one_and_far_from_the_plain_one():
    problem = posed()
    model = problem.source.open()
    outcome = Balance(STEP).unlearn(problem, toys.context(problem))
    after = [p.detach().numpy() for p in outcome.model.parameters()]
    for weight, near in (
        (weights(problem, problem.retain_view), True),
        (dict.fromkeys(problem.records.ids, 1.0), False),
    ):
        wanted = [
            p.detach().numpy() - 0.05 * g
            for p, g in zip(model.parameters(), slope(model, problem, weight), strict=True)
        ]
        far = max(float(np.abs(a - b).max()) for a, b in zip(after, wanted, strict=True))
        assert (far < 1e-14) == near


def test_counter_examples_are_learnt_beside_and_counted():
    more = toys.records(20, prefix="c", seed=9, dtype=torch.float64)
    plain, beside = posed(), posed(counterexamples=more)
    first, second = (Balance(STEP).unlearn(each, toys.context(each)) for each in (plain, beside))
    assert not toys.same(first.model, second.model)
    assert second.cost.trained - first.cost.trained == 20
    assert Balance(STEP).cost(beside).trained == second.cost.trained
    without = Balance({**STEP, "counter": 0.0}).unlearn(beside, toys.context(beside))
    for one, other in zip(first.model.parameters(), without.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)  # another order of the same records


def test_one_step_is_that_of_both_losses_together_weighed_as_said():
    more = toys.records(20, prefix="c", seed=9, dtype=torch.float64)
    problem = posed(counterexamples=more)
    model = problem.source.open()
    inputs, labels = more.read(range(20))
    (-torch.log_softmax(model(inputs), 1)[torch.arange(20), labels].mean()).backward()
    there = slope(model, problem, weights(problem, problem.retain_view))
    outcome = Balance({**STEP, "counter": 3.0}).unlearn(problem, toys.context(problem))
    for before, after, slopes in zip(model.parameters(), outcome.model.parameters(), there, strict=True):
        wanted = before.detach().numpy() - 0.05 * (slopes + 3.0 * before.grad.numpy())
        assert float(np.abs(after.detach().numpy() - wanted).max()) < 1e-14


def test_a_larger_weight_teaches_them_better_under_the_default_optimiser():
    """As a pass of their own they came to steps of one size, whatever the weight, and to smaller ones of the others."""
    more = toys.records(20, prefix="c", seed=9, dtype=torch.float64)
    problem = posed(counterexamples=more)
    inputs, labels = more.read(range(20))
    losses = []
    for counter in (0.0, 0.1, 1.0, 10.0, 100.0):
        made = Balance({"counter": counter, "epochs": 10, "lr": 0.02}).unlearn(problem, toys.context(problem)).model
        with torch.no_grad():
            losses.append(float(torch.nn.functional.cross_entropy(made(inputs), labels)))
    assert losses[:4] == sorted(losses[:4], reverse=True)
    assert losses[0] - losses[3] > 0.1
    assert losses[4] < losses[3] + 0.01, "all weight on them is as good"


def test_without_groups_it_is_refused_before_work():
    assert [o.what for o in load("methods", "balance")().obstacles(toys.problem())] == ["balance balances groups"]


def test_groups_of_other_records_are_none_of_the_retained_ones():
    problem = toys.problem(groups={f"h{i}": "few" for i in range(24)})
    assert [o.found for o in Balance().obstacles(problem)] == ["48 of 48 retained records without a group"]
    assert not problem.records.seen
