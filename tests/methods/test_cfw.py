import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.utils.class_weight import compute_class_weight

from expunge.methods.cfw import ConfusedFirst
from expunge.numerics.units import Scored
from tests.support import regressions, toys

STILL = {"batch_size": 64, "lr": 1e-300}


def prepared(problem, **settings):
    method, model = ConfusedFirst(settings), problem.source.open()
    method.prepare(model, problem, toys.context(problem))
    return method, model


def uneven():
    """Return a problem whose classes have different numbers of records."""
    inputs, labels = toys.points(60, dtype=torch.float64)
    labels[:40] = 1
    records = toys.Witness(inputs, labels, ids=[f"r{i}" for i in range(60)])
    return toys.problem(train=records, build=toys.Softmax, dtype=torch.float64)


def test_a_class_weighs_in_inverse_proportion_to_its_retained_records():
    problem = uneven()
    _, labels = regressions.read(problem.retain_view)
    method, _ = prepared(problem)
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    np.testing.assert_allclose(method._weights, expected)
    assert expected.std() > 0.3


def test_weights_multiply_the_loss_of_each_record():
    method, _ = prepared(uneven())
    draw, target = np.random.default_rng(1), np.array([0, 1, 1, 1, 2])
    logits = draw.normal(size=(5, 3))
    tensor = torch.tensor(logits, requires_grad=True)
    method.objective(Scored.of(tensor, torch.tensor(target), torch.arange(5), 5), None).backward()
    weight = method._weights.numpy()[target][:, None]
    plain = (softmax(logits, axis=1) - np.eye(3)[target]) / 5
    np.testing.assert_allclose(tensor.grad.numpy(), weight * plain, atol=1e-15)
    for wrong in (plain, weight.mean() * plain, weight * plain / weight.mean()):
        assert np.abs(tensor.grad.numpy() - wrong).max() > 0.01


@pytest.mark.parametrize(("epochs", "late"), [(1, False), (2, True)])
def test_noise_meets_the_first_layer_alone_and_again_before_the_last_epoch(epochs, late):
    problem = toys.problem()
    start = problem.source.open()
    settings = {**STILL, "epochs": epochs, "noise": 0.0, "late_noise": 0.3}
    model = ConfusedFirst(settings).unlearn(problem, toys.context(problem)).model
    moved = [name for name, p in model.named_parameters() if not torch.equal(p, start.get_parameter(name))]
    assert moved == (["0.weight"] if late else [])
    if late:
        noise = (model[0].weight - start[0].weight).detach()
        assert float(noise.std()) == pytest.approx(0.3, rel=0.3)


def test_the_first_noise_has_its_size():
    problem = toys.problem()
    _, model = prepared(problem)
    noise = torch.cat([(prepared(problem)[1][0].weight - problem.source.open()[0].weight).flatten() for _ in range(9)])
    assert float(noise.detach().std()) == pytest.approx(0.6, rel=0.1)
    assert torch.equal(model[0].bias, problem.source.open()[0].bias)


def test_a_step_is_the_weighted_one():
    problem = uneven()
    settings = {"epochs": 1, "batch_size": 64, "lr": 0.2, "noise": 0.0, "weight_decay": 0.1}
    model = ConfusedFirst(settings).unlearn(problem, toys.context(problem)).model
    start = regressions.parameters(problem.source.open())
    inputs, labels = regressions.read(problem.retain_view)
    weight = compute_class_weight("balanced", classes=np.arange(3), y=labels)[labels][:, None]
    apart = softmax(inputs @ start[0].T + start[1], axis=1) - regressions.onehot(labels)
    slopes = regressions.back(inputs, weight * apart / len(labels))
    assert regressions.distance(model, [v - 0.2 * (g + 0.1 * v) for v, g in zip(start, slopes, strict=True)]) < 1e-14


def test_a_first_layer_that_stands_still_is_refused_before_work():
    model = toys.network()
    model[0].weight.requires_grad_(False)
    problem = toys.problem(model=model)
    assert [o.what for o in ConfusedFirst().obstacles(problem)] == ["cfw finds no first layer to confuse"]
    assert not problem.records.seen
