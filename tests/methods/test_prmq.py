import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from torch import nn

from expunge.engine.passes import Batch
from expunge.methods import prmq
from expunge.methods.prmq import PrunedAndRounded
from expunge.numerics.units import Scored
from tests.support import toys


class Wide(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(toys.DIMS, 200), nn.BatchNorm1d(200), nn.ReLU(), nn.Linear(200, toys.CLASSES))


def test_the_smallest_of_all_layers_are_drawn_anew_and_biases_become_nothing():
    torch.manual_seed(1)
    model, start = Wide(), Wide()
    start.load_state_dict(model.state_dict())
    prmq.prune(model, 0.9)
    names = ("0.weight", "3.weight", "0.bias", "3.bias")
    was, now = ([m.get_parameter(name).detach().numpy() for name in names] for m in (start, model))
    gone = [a != b for a, b in zip(was, now, strict=True)]
    total = sum(part.size for part in was)
    assert sum(part.sum() for part in gone) == round(0.9 * total)
    sizes = np.concatenate([np.abs(part).ravel() for part in was])
    edge = np.sort(sizes)[round(0.9 * total) - 1]
    for part, mask in zip(was, gone, strict=True):
        np.testing.assert_array_equal(mask, np.abs(part) <= edge)
    # One threshold for all layers: the second one, whose weights are small, loses nearly all.
    assert gone[1].mean() > 0.99 > gone[0].mean()
    for part, mask, fan_in in zip(now[:2], gone[:2], (toys.DIMS, 200), strict=True):
        drawn, bound = part[mask], fan_in**-0.5
        assert np.abs(drawn).max() <= bound
        assert drawn.std() == pytest.approx(bound / 3**0.5, rel=0.1)
    assert all((part[mask] == 0).all() for part, mask in zip(now[2:], gone[2:], strict=True))
    assert torch.equal(model[1].weight, start[1].weight)


def test_what_may_not_move_is_neither_pruned_nor_rounded():
    torch.manual_seed(1)
    network = Wide()
    for p in network[0].parameters():
        p.requires_grad_(False)
    problem = toys.problem(model=network)
    model = PrunedAndRounded({"share": 1.0}).unlearn(problem, toys.context(problem)).model
    assert torch.equal(model[0].weight, network[0].weight)
    assert not torch.equal(model[0].weight, model[0].weight.half().float())
    for p in model[3].parameters():
        assert torch.equal(p, p.half().float())
        assert not torch.equal(p, torch.zeros_like(p))


def test_the_objective_equals_arithmetic_in_float64():
    method, draw, target = PrunedAndRounded(), np.random.default_rng(2), np.array([0, 1, 1, 2, 2, 2])
    method._weights = torch.tensor([1.0, 0.5, 0.25])
    mine, theirs = draw.normal(size=(2, 6, 3))
    tensor = torch.tensor(mine, requires_grad=True)
    student, teacher = (Scored.of(z, torch.tensor(target), torch.arange(6), 6) for z in (tensor, torch.tensor(theirs)))
    method.objective(Batch(student, None, Batch(teacher, None))).backward()
    log_p, log_q = log_softmax(mine, axis=1), log_softmax(theirs, axis=1)
    p, q = np.exp(log_p), np.exp(log_q)
    h, h0 = (-(a * b).sum(1, keepdims=True) for a, b in ((p, log_p), (q, log_q)))
    weight = np.array([1.0, 0.5, 0.25])[target][:, None]
    by_loss = weight / weight.sum() * (p - np.eye(3)[target])
    by_entropy = 2 / 6 * (h - h0) * -p * (log_p + h)
    np.testing.assert_allclose(tensor.grad.numpy(), by_loss + by_entropy, atol=1e-14)
    for wrong in (by_loss, by_loss - by_entropy, weight / 6 * (p - np.eye(3)[target]) + by_entropy):
        assert np.abs(tensor.grad.numpy() - wrong).max() > 1e-3


def test_a_class_weighs_by_its_retained_records():
    problem = toys.problem()
    method = PrunedAndRounded()
    method.prepare(problem.source.open(), problem, toys.context(problem))
    counts = np.bincount(problem.retain_view.read(range(48))[1])
    np.testing.assert_allclose(method._weights, counts**-0.1)


def test_the_teacher_is_the_original_before_it_was_pruned():
    problem, said = toys.problem(), []

    class Spy(PrunedAndRounded):
        def objective(self, batch):
            said.append((batch.teacher.retain.logits, batch.retain_side.batch))
            return super().objective(batch)

    Spy({"share": 1.0, "epochs": 1, "last": 1.0}).unlearn(problem, toys.context(problem))
    original = problem.source.open()
    with torch.no_grad():
        assert all(torch.equal(original(batch[0]), logits) for logits, batch in said)


def test_the_last_pass_is_only_begun():
    problem = toys.problem(count=65 + 12)  # 65 retained records
    method = PrunedAndRounded({"batch_size": 10})
    steps = sum(method.passes(epoch)[0].steps(problem) for epoch in range(1, 5))
    assert steps == int(3.2 * 7) == 22
    outcome = method.unlearn(problem, toys.context(problem))
    assert outcome.cost.trained == 3 * 65 + 10
    assert len(outcome.history) == 4


def test_a_network_without_layers_that_may_move_is_refused_before_work():
    model = toys.network()
    for p in model.parameters():
        p.requires_grad_(False)
    problem = toys.problem(model=model)
    assert [o.what for o in PrunedAndRounded().obstacles(problem)] == ["prmq finds nothing to prune"]
    assert not problem.records.seen
