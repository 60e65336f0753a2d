import numpy as np
import pytest
import torch

from expunge.core.errors import UsageError
from expunge.core.method import Cost
from expunge.methods.ssd import Ssd
from tests.support import toys


def slopes(problem, records):
    """The gradient of every record's cross entropy under softmax regression, by hand: of weights, of biases."""
    weight, bias = (p.detach().numpy() for p in problem.source.open().parameters())
    inputs, labels = (part.numpy() for part in records.read(range(len(records))))
    logits = inputs @ weight.T + bias
    share = np.exp(logits - logits.max(1, keepdims=True))
    share /= share.sum(1, keepdims=True)
    share[np.arange(len(labels)), labels] -= 1
    return share[:, :, None] * inputs[:, None, :], share


def dampened(start, forget, whole, *, alpha, strength):
    chosen = forget > alpha * whole
    return np.where(chosen, start * np.minimum(strength * whole / forget, 1), start)


def test_it_equals_arithmetic_in_float64():
    problem = toys.problem(build=toys.Softmax, dtype=torch.float64)
    start = [p.detach().numpy() for p in problem.source.open().parameters()]
    settings = {"alpha": 1.1, "strength": 0.7}
    outcome = Ssd({**settings, "batch_size": 1}).unlearn(problem, toys.context(problem))
    forget, whole, retain = (
        [(part**2).mean(0) for part in slopes(problem, view)]
        for view in (problem.forget_view, problem.records, problem.retain_view)
    )

    def distance(first, second, **changed):
        values = [dampened(*each, **{**settings, **changed}) for each in zip(start, first, second, strict=True)]
        found = [p.detach().numpy() for p in outcome.model.parameters()]
        return max(float(np.abs(mine - theirs).max()) for mine, theirs in zip(found, values, strict=True))

    means = [[part.mean(0) ** 2 for part in slopes(problem, view)] for view in (problem.forget_view, problem.records)]
    assert distance(forget, whole) < 1e-14
    assert distance(forget, retain) > 1e-3, "importance over the retained records alone"
    assert distance(whole, forget) > 1e-3, "sets swapped"
    assert distance(*means) > 1e-3, "the square of the mean in place of the mean of squares"
    assert distance(forget, whole, alpha=0.5) > 1e-3
    assert distance(forget, whole, strength=1.0) > 1e-3


@pytest.mark.parametrize("settings", [{}, {"alpha": 0.5, "strength": 3.0}, {"alpha": 0.0, "strength": 0.1}])
def test_no_weight_grows_or_changes_its_sign_and_what_is_not_selected_keeps_its_bits(settings):
    problem = toys.problem(build=toys.Noisy)
    before = problem.source.open()
    outcome = Ssd({"alpha": 1.0, **settings}).unlearn(problem, toys.context(problem))
    same = total = 0
    for old, new in zip(before.parameters(), outcome.model.parameters(), strict=True):
        assert bool((new.abs() <= old.abs()).all())
        assert bool((new * old >= 0).all())
        same, total = same + int((new == old).sum()), total + old.numel()
    assert outcome.touched == pytest.approx(1 - same / total)
    buffers = zip(before.buffers(), outcome.model.buffers(), strict=True)
    assert all(torch.equal(*pair) for pair in buffers)


def test_alpha_without_end_is_the_original_and_a_warning():
    problem = toys.problem(build=toys.Noisy)
    outcome = Ssd({"alpha": 1e30}).unlearn(problem, toys.context(problem))
    assert toys.same(outcome.model, problem.source.open())
    assert any("no parameter changed" in each for each in outcome.warnings)


def test_alpha_and_strength_zero_erase_all_that_the_forget_set_ever_moves():
    problem = toys.problem(build=toys.Softmax, trainer=None, holdout=0)
    outcome = Ssd({"alpha": 0.0, "strength": 0.0}).unlearn(problem, toys.context(problem))
    assert all(not bool(p.any()) for p in outcome.model.parameters())


def test_a_class_is_forgotten_and_the_others_stay():
    train = toys.records(240)
    gone = [name for name, label in zip(train.ids, train.y.tolist(), strict=True) if label == 0]
    problem = toys.problem(train=train, model=toys.TRAINER(train, seed=1))
    problem.forget = gone
    outcome = Ssd({"alpha": 2.0}).unlearn(problem, toys.context(problem))
    inputs, labels = train.read(range(240))
    right = outcome.model(inputs).argmax(1) == labels
    was = problem.source.open()(inputs).argmax(1) == labels
    assert float(was[labels == 0].double().mean()) > 0.7
    assert float(right[labels == 0].double().mean()) < 0.3
    assert float(right[labels != 0].double().mean()) > 0.75


def test_the_work_is_one_visit_to_all_and_one_more_to_the_forgotten():
    problem = toys.problem(holdout=0, trainer=None)
    outcome = Ssd({"alpha": 1.0}).unlearn(problem, toys.context(problem))
    assert outcome.cost == Ssd().cost(problem) == Cost(trained=72)


@pytest.mark.parametrize("settings", [{"alpha": -1.0}, {"strength": -0.1}, {"batch_size": 0}])
def test_settings_outside_their_range_are_refused(settings):
    with pytest.raises(UsageError):
        Ssd(settings)
