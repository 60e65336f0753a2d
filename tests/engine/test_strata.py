"""Proxies of memorisation against NumPy, on softmax regression."""

import numpy as np
import pytest
import torch
from scipy.special import rel_entr, softmax

from expunge.core.errors import InvalidProblem
from expunge.core.method import Cost
from expunge.engine import strata
from expunge.engine.loop import LoopConfig
from expunge.engine.training import Trainer
from tests.support import regressions, toys


def posed(**more):
    problem = toys.problem(build=toys.Softmax, dtype=torch.float64, **more)
    return problem, problem.source.open(), toys.context(problem)


def test_the_doubt_is_one_minus_the_probability_of_the_label():
    problem, model, run = posed()
    weight, bias = regressions.parameters(model)
    inputs, labels = regressions.read(problem.forget_view)
    expected = 1 - softmax(inputs @ weight.T + bias, axis=1)[np.arange(12), labels]
    np.testing.assert_allclose(strata.unsure(problem, model, problem.forget_view, run), expected)


def test_curvature_is_the_change_of_the_input_gradient():
    problem, model, run = posed()
    weight, bias = regressions.parameters(model)
    inputs, labels = regressions.read(problem.forget_view)

    def slope(x):
        return (softmax(x @ weight.T + bias, axis=1) - regressions.onehot(labels)) @ weight

    signs = np.sign(slope(inputs))
    step = 0.01 * signs / np.linalg.norm(signs, axis=1, keepdims=True)
    expected = np.linalg.norm(slope(inputs + step) - slope(inputs), axis=1)
    found = strata.curvature(problem, model, problem.forget_view, run)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    wrong = np.linalg.norm(slope(inputs + 0.01 * signs) - slope(inputs), axis=1)
    assert np.abs(found / wrong - 1).min() > 0.1
    assert all(p.grad is None for p in model.parameters())


def test_training_on_held_out_records_shows_in_the_divergence(monkeypatch):
    problem, model, run = posed()
    before = regressions.parameters(model)

    def tune(tuned, *_, **__):
        with torch.no_grad():
            tuned.weight.add_(0.3)
            tuned.bias[0] += 1.0

    monkeypatch.setattr(strata, "run_loop", tune)
    found = strata.held_out(problem, model, problem.forget_view, run)
    inputs, _ = regressions.read(problem.forget_view)
    was = softmax(inputs @ before[0].T + before[1], axis=1)
    now = softmax(inputs @ (before[0] + 0.3).T + before[1] + [1.0, 0, 0], axis=1)
    np.testing.assert_allclose(found, rel_entr(was, now).sum(1))
    assert np.abs(found - rel_entr(now, was).sum(1)).max() > 1e-3
    assert regressions.distance(model, before) == 0


def test_entangled_records_are_near_the_retained_ones():
    problem, model, run = posed()
    retain, forget = (regressions.read(part)[0] for part in (problem.retain_view, problem.forget_view))
    found, remark = strata.entangled(problem, model, run)  # the last layer is given the inputs themselves
    np.testing.assert_allclose(found, -np.linalg.norm(forget - retain.mean(0), axis=1))
    assert remark.startswith("entanglement score ")


@pytest.mark.parametrize("by", ["confidence", "curvature", "held_out", "entanglement"])
def test_the_work_is_known_before(by):
    problem, model, run = posed()
    values, _ = strata.scores(by, problem, model, run)
    assert values.shape == (12,)
    assert run.spent == strata.cost(by, problem, len(run.choosing.holdout))
    assert run.spent != Cost()


def test_wrong_labels_rank_highest():
    train = toys.records(120)
    train.y[:10] = (train.y[:10] + 1) % 3
    model = Trainer(build=toys.Mlp, config=LoopConfig(epochs=60, batch_size=16, lr=0.02))(train, seed=1)
    problem = toys.problem(train=train, forget=40, model=model)
    wrong = np.arange(40) < 10
    for by in ("confidence", "held_out"):
        values, _ = strata.scores(by, problem, problem.source.open(), toys.context(problem))
        assert values[wrong].mean() > values[~wrong].mean(), by


def test_parts_are_of_one_size_the_lowest_first():
    parts = strata.split_by(np.array([3.0, 1.0, 2.0, 1.0, 0.0]), ("a", "d", "c", "b", "e"), 3)
    assert parts == [("e", "b"), ("d",), ("c", "a")]
    assert strata.split_by(np.zeros(1), ("a",), 2) == [(), ("a",)]


def test_what_a_proxy_lacks_is_said():
    problem, model, _ = posed(holdout=0)
    with pytest.raises(InvalidProblem, match="held-out"):
        strata.held_out(problem, model, problem.forget_view, toys.context(problem))
    inputs, labels = toys.points(20)
    tokens = toys.Witness(inputs.abs().long(), labels, ids=[f"r{i}" for i in range(20)])
    problem = toys.problem(train=tokens, holdout=0)
    with pytest.raises(InvalidProblem, match="continuous"):
        strata.curvature(problem, problem.source.open(), problem.forget_view, toys.context(problem))


def test_what_a_proxy_lacks_is_known_before():
    inputs, labels = toys.points(20)
    tokens = toys.Witness(inputs.abs().long(), labels, ids=[f"r{i}" for i in range(20)])
    assert [o.what for o in strata.unrankable("curvature", toys.problem(train=tokens))] == [
        "inputs are no continuous numbers"
    ]
    assert [o.what for o in strata.unrankable("entanglement", toys.problem(build=toys.Alone))] == [
        "the model's features are not known"
    ]
    for by in ("confidence", "curvature", "held_out", "entanglement"):
        assert strata.unrankable(by, toys.problem()) == []
