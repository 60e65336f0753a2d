import torch

from expunge.core.problem import Problem
from expunge.core.registry import load
from expunge.methods.last_layer import LastLayer
from tests.support import toys


def posed(build=toys.Softmax, **more):
    whole = toys.problem(count=60, forget=12, build=build, dtype=torch.float64)
    groups = {name: "few" if i % 5 == 0 else "many" for i, name in enumerate(whole.records.ids)}
    return Problem(model=whole.model, train=whole.records, forget=whole.forget_ids, groups=groups, **more)


def test_the_last_layer_alone_is_learnt_from_nothing():
    problem = posed(build=toys.Noisy)
    before = problem.source.open().state_dict()
    outcome = LastLayer({"epochs": 2, "batch_size": 16}).unlearn(problem, toys.context(problem))
    changed = {name for name, tensor in outcome.model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {"4.0.weight", "4.0.bias"}
    # Nothing of the old head survives: another original with the same features gives the same.
    other = posed(build=toys.Noisy)
    with torch.no_grad():
        other.model[4][0].weight.mul_(3)
    again = LastLayer({"epochs": 2, "batch_size": 16}).unlearn(other, toys.context(other))
    assert toys.same(outcome.model, again.model)
    assert all(p.requires_grad for p in outcome.model.parameters())


def test_without_groups_it_is_refused_before_work():
    assert [o.what for o in load("methods", "last_layer")().obstacles(toys.problem())] == ["last_layer balances groups"]


def test_a_network_without_a_last_layer_is_an_obstacle():
    assert [o.what for o in LastLayer().obstacles(posed(build=toys.Alone))] == ["last_layer retrains the last layer"]
    assert not LastLayer().obstacles(posed())


def test_groups_of_other_records_are_none_of_the_retained_ones():
    problem = toys.problem(groups={f"h{i}": "few" for i in range(24)})
    assert [o.found for o in LastLayer().obstacles(problem)] == ["48 of 48 retained records without a group"]
