from dataclasses import replace

import numpy as np
import pytest
import torch

from expunge.core.errors import UsageError
from expunge.core.method import Cost
from expunge.methods import influence
from expunge.methods.influence import Influence
from tests.support import toys

PENALTY = 0.02


def fitted(records):
    """Softmax regression at the minimum of the mean cross entropy plus PENALTY / 2 times the squared length."""
    model = toys.network(toys.Softmax, dtype=torch.float64)
    fit = torch.optim.LBFGS(model.parameters(), max_iter=300, tolerance_grad=1e-12, line_search_fn="strong_wolfe")
    inputs, labels = records.read(range(len(records)))

    def loss():
        fit.zero_grad()
        length = sum((p**2).sum() for p in model.parameters())
        value = torch.nn.functional.cross_entropy(model(inputs), labels) + PENALTY / 2 * length
        value.backward()
        return value

    fit.step(loss)
    return model


def flat(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.fixture(scope="module")
def ridge():
    """A model trained to the end on 400 records, and the one trained to the end without the first twenty."""
    train = toys.records(400, dtype=torch.float64)
    problem = toys.problem(train=train, forget=20, model=fitted(train), trainer=None, holdout=0)
    return problem, flat(fitted(problem.retain_view))


def step(problem, **settings):
    outcome = Influence(settings).unlearn(problem, toys.context(problem))
    return flat(outcome.model) - flat(problem.source.open()), outcome


def test_a_newton_step_goes_nearly_all_the_way_to_the_retrained_model_and_never_away(ridge):
    problem, retrained = ridge
    wanted = retrained - flat(problem.source.open())
    moved, outcome = step(problem, solver="cg", damping=PENALTY, tolerance=1e-8)
    assert float((moved - wanted).norm()) < 0.05 * float(wanted.norm())
    assert float((-moved - wanted).norm()) > 1.9 * float(wanted.norm()), "the sign of public slips"
    assert not outcome.warnings


def test_the_vector_is_the_mean_gradient_of_all_minus_that_of_the_retained(ridge):
    """One step of the released solver with a single sample is the vector itself."""
    problem, _ = ridge
    moved, _ = step(problem, solver="released", samples=1)
    model = problem.source.open()

    def gradient(records):
        inputs, labels = records.read(range(len(records)))
        share = torch.softmax(model(inputs), 1) - torch.nn.functional.one_hot(labels, 3)
        return torch.cat([(share.T @ inputs / len(labels)).flatten(), share.mean(0)]).detach()

    wanted = gradient(problem.records) - gradient(problem.retain_view)
    torch.testing.assert_close(moved, wanted, rtol=1e-6, atol=1e-14)
    assert float(wanted.norm()) > 1e-4


def test_without_the_retained_records_alpha_says_how_many_there_were(ridge):
    """As many that stand for them are all that stays; of a tenth of them, the step is that of so many, said so."""
    problem, _ = ridge
    whole, outcome = step(problem, solver="cg", damping=PENALTY, tolerance=1e-10)
    assert not outcome.warnings
    gone = replace(problem, train=problem.forget_view, forget=problem.forget_ids, calibration=problem.retain_view)
    moved, outcome = step(gone, solver="cg", damping=PENALTY, tolerance=1e-10)
    torch.testing.assert_close(moved, whole, rtol=1e-6, atol=1e-10)
    assert any("400 records" in said and "alpha = 400 / N" in said for said in outcome.warnings)
    few = replace(gone, calibration=problem.records.select(problem.records.ids[20:58]))
    plain, outcome = step(few, solver="released", samples=1)
    scaled, _ = step(few, solver="released", samples=1, alpha=58 / 400)
    assert any("alpha = 58 / N" in said for said in outcome.warnings)
    model = problem.source.open()

    def gradient(records):
        inputs, labels = records.read(range(len(records)))
        share = torch.softmax(model(inputs), 1) - torch.nn.functional.one_hot(labels, 3)
        return torch.cat([(share.T @ inputs / len(labels)).flatten(), share.mean(0)]).detach()

    apart = gradient(few.forget_view) - gradient(few.retain_view)
    torch.testing.assert_close(plain, 20 / 58 * apart, rtol=1e-6, atol=1e-13)
    torch.testing.assert_close(scaled, 20 / 400 * apart, rtol=1e-6, atol=1e-13)


def test_woodfisher_is_the_dense_inverse_of_single_gradients(ridge):
    problem, _ = ridge
    plain, _ = step(problem, solver="released", samples=1)
    moved, _ = step(problem, solver="woodfisher", samples=1000, damping=0.05)
    inputs, labels = problem.retain_view.read(range(380))
    share = torch.softmax(problem.source.open()(inputs), 1) - torch.nn.functional.one_hot(labels, 3)
    g = torch.cat([(share[:, :, None] * inputs[:, None, :]).flatten(1), share], dim=1).detach().numpy()
    wanted = np.linalg.solve(0.05 * np.eye(15) + g.T @ g / 380, plain.numpy())
    np.testing.assert_allclose(moved.numpy(), wanted, rtol=1e-8, atol=1e-12)


def test_the_released_solver_is_nearly_a_gradient_step(ridge):
    problem, _ = ridge
    plain, _ = step(problem, solver="released", samples=1)
    moved, _ = step(problem, solver="released", samples=300)
    assert float(torch.nn.functional.cosine_similarity(moved, plain, dim=0)) > 0.999


@pytest.mark.parametrize("solver", ["woodfisher", "cg", "released"])
def test_the_step_is_linear_in_alpha_and_alpha_zero_is_the_original(ridge, solver):
    problem, _ = ridge
    settings = {"solver": solver, "damping": 0.1, "samples": 50}
    one, three = (step(problem, alpha=a, **settings)[0] for a in (1.0, 3.0))
    torch.testing.assert_close(three, 3 * one, rtol=1e-8, atol=1e-13)
    assert toys.same(step(problem, alpha=0.0, **settings)[1].model, problem.source.open())


def test_vectors_of_forget_sets_add_up_before_the_retained_are_renormed(ridge):
    """nr / n times the vector is (G_f - nf / n G) / n, which is linear in the forget set."""
    problem, _ = ridge
    ids = problem.records.ids

    def part(names):
        of = toys.problem(train=problem.records, model=problem.source.open(), trainer=None, holdout=0)
        of.forget = names
        return step(of, solver="released", samples=1)[0] * (400 - len(names)) / 400

    torch.testing.assert_close(part(ids[:30]), part(ids[:10]) + part(ids[10:30]), rtol=1e-6, atol=1e-13)


@pytest.mark.parametrize("solver", ["woodfisher", "cg"])
def test_what_is_frozen_stays_and_takes_no_part(solver):
    problem = toys.problem(dtype=torch.float64, trainer=None, holdout=0, model=toys.network(dtype=torch.float64))
    problem.model[0].requires_grad_(False)
    before = problem.source.open()
    model = Influence({"solver": solver, "damping": 1.0}).unlearn(problem, toys.context(problem)).model
    assert torch.equal(model[0].weight, before[0].weight)
    assert not torch.equal(model[2].weight, before[2].weight)


def test_a_loss_that_bends_down_is_said():
    problem = toys.problem(trainer=None, holdout=0)
    outcome = Influence({"solver": "cg", "damping": 1e-9, "iterations": 40, "alpha": 1e-3}).unlearn(
        problem, toys.context(problem)
    )
    assert "cg left a relative residual" in outcome.warnings[0]


def test_the_work_is_counted():
    problem = toys.problem(trainer=None, holdout=0)
    assert Influence({"samples": 10}).unlearn(problem, toys.context(problem)).cost == Cost(trained=60 + 10)
    assert Influence({"samples": 10}).cost(problem) == Cost(trained=60 + 10)
    config = {"solver": "cg", "iterations": 2, "tolerance": 1e-12, "damping": 5.0}
    assert Influence(config).unlearn(problem, toys.context(problem)).cost == Influence(config).cost(problem)
    assert Influence(config).cost(problem) == Cost(trained=60 + 2 * 48, read=2 * 48 * 6)


def test_gradients_that_would_not_fit_are_an_obstacle_before_any_work(monkeypatch):
    problem = toys.problem()
    monkeypatch.setattr(influence, "ROOM", 48 * 131 * 4 - 1)  # retained records, numbers of the network, bytes
    assert [each.where for each in Influence().obstacles(problem)] == ["[methods.influence] samples"]
    assert not Influence({"samples": 47}).obstacles(problem)
    assert not Influence({"solver": "cg"}).obstacles(problem)
    assert not problem.records.seen


def test_a_solver_that_does_not_exist_is_refused():
    with pytest.raises(UsageError):
        Influence({"solver": "lbfgs"})
