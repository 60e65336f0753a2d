"""Dampening: importances and factors by hand; batches of one size; the order of storage decides nothing."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from expunge.conformance import problems as own
from expunge.core import registry
from expunge.engine.dampening import Dampening, dampen, even
from expunge.methods.ssd import Ssd
from tests.support import toys


def tensors(*values):
    return {"weight": torch.tensor([values], dtype=torch.float64)}


def linear(*values):
    model = torch.nn.Linear(len(values), 1, bias=False, dtype=torch.float64)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([values]))
    return model


START = (2.0, -3.0, 4.0, -5.0, 6.0)
FORGET = (0.0, 8.0, 8.0, 1.0, 2.0)
WHOLE = (0.0, 1.0, 4.0, 1.0, 0.0)


@pytest.mark.parametrize(
    ("alpha", "lam", "wanted", "selected"),
    [
        # By hand: ratios are 0/0, 8, 2, 1, 2/0.
        (1.5, 1.0, (2.0, -3.0 / 8, 4.0 / 2, -5.0, 0.0), 3),
        (1.5, 4.0, (2.0, -3.0 / 2, 4.0, -5.0, 0.0), 3),  # 4 * 4 / 8 > 1: nothing ever grows
        (8.0, 1.0, (2.0, -3.0, 4.0, -5.0, 0.0), 1),  # as important as the bound is not more
        (0.0, 0.0, (2.0, 0.0, 0.0, 0.0, 0.0), 4),
        (float("inf"), 1.0, START, 0),
    ],
)
def test_selected_parameters_shrink_by_their_ratio(alpha, lam, wanted, selected):
    model = linear(*START)
    assert dampen(model, tensors(*FORGET), tensors(*WHOLE), alpha=alpha, lam=lam) == selected
    assert model.weight.detach().numpy().tolist() == [list(wanted)]


def test_parameters_without_importance_stay():
    model = linear(*START)
    assert dampen(model, {}, {}, alpha=0.0, lam=0.0) == 0
    assert model.weight.detach().numpy().tolist() == [list(START)]


@pytest.mark.parametrize(
    ("count", "size", "wanted"), [(12, 64, 12), (65, 64, 33), (128, 64, 64), (100, 30, 25), (0, 8, 8)]
)
def test_batches_are_as_even_as_may_be(count, size, wanted):
    assert even(count, size) == wanted


def importances(problem, size, *, seed=3):
    """What a dampening gathers, [weights] for the forget set and for all records."""
    kept = {}

    class Keeping(Ssd):
        def bounds(self, forget, whole, problem):
            kept.update(forget=forget, whole=whole)
            return super().bounds(forget, whole, problem)

    Keeping({"batch_size": size}).unlearn(problem, toys.context(problem, seed=seed))
    return kept["forget"], kept["whole"]


def slopes(problem, records):
    """The gradient of every record's cross entropy under softmax regression, by hand, [n, classes, inputs]."""
    weight, bias = (p.detach().numpy() for p in problem.source.open().parameters())
    inputs, labels = (part.numpy() for part in records.read(range(len(records))))
    logits = inputs @ weight.T + bias
    share = np.exp(logits - logits.max(1, keepdims=True))
    share /= share.sum(1, keepdims=True)
    share[np.arange(len(labels)), labels] -= 1
    return share[:, :, None] * inputs[:, None, :]


def test_importance_is_the_mean_square_of_single_gradients_over_all_records_the_forgotten_among_them():
    problem = toys.problem(build=toys.Softmax, dtype=torch.float64)
    forget, whole = importances(problem, 1)
    for found, records in ((forget, problem.forget_view), (whole, problem.records)):
        np.testing.assert_allclose(found["weight"].numpy(), (slopes(problem, records) ** 2).mean(0), rtol=1e-12)
    without = (slopes(problem, problem.retain_view) ** 2).mean(0)
    assert np.abs(whole["weight"].numpy() / without - 1).max() > 1e-2  # over the retained alone it would be this


def test_a_forget_set_of_one_batch_is_no_favourite():
    """Where gradients cancel over the records, batches of 64 for all and 15 for the forgotten give a ratio of 64/15."""
    train = toys.records(320, dtype=torch.float64)
    model = toys.network(toys.Softmax, dtype=torch.float64)
    fit = torch.optim.LBFGS(model.parameters(), max_iter=50)

    def loss():
        fit.zero_grad()
        value = torch.nn.functional.cross_entropy(model(train.x), train.y)
        value.backward()
        return value

    fit.step(loss)
    ours, public = [], []
    for start in range(0, 300, 30):
        problem = toys.problem(train=train, model=model, trainer=None, holdout=0)
        problem.forget = train.ids[start : start + 15]
        forget, whole = importances(problem, 64)
        ours.append(float(forget["weight"].sum() / whole["weight"].sum()))
        parts = [part.mean(0) ** 2 for part in np.split(slopes(problem, problem.records), 5)]
        public.append((slopes(problem, problem.forget_view).mean(0) ** 2).sum() / np.mean(parts, axis=0).sum())
    assert 0.6 < np.mean(ours) < 1.6
    assert np.mean(public) > 2.5


def test_halving_the_batches_of_both_keeps_the_mask_nearly():
    train = toys.records(2000, dtype=torch.float64)
    problem = toys.problem(train=train, forget=400, build=toys.Mlp, dtype=torch.float64)
    masks = []
    for size in (16, 8):
        forget, whole = importances(problem, size)
        masks.append(torch.cat([(forget[n] > whole[n]).flatten() for n in forget]))
    assert float((masks[0] == masks[1]).double().mean()) > 0.7


def test_the_order_of_storage_decides_nothing():
    train = toys.records(60, dtype=torch.float64)
    back = toys.Witness(train.x.flip(0), train.y.flip(0), ids=train.ids[::-1])
    gone = train.ids[:12]
    both = []
    for records in (train, back):
        problem = toys.problem(train=records, build=toys.Softmax, dtype=torch.float64)
        problem.forget = gone
        both.append(importances(problem, 5))
    for one, other in zip(*both, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_loss_of_another_scale_selects_the_same():
    """Both importances grow by the square of the scale."""

    class Scaled(Ssd):
        def objective(self, units):
            return 8 * units.loss.mean()

    problem = toys.problem(build=toys.Mlp)
    models = [cls({"alpha": 1.0}).unlearn(problem, toys.context(problem)).model for cls in (Ssd, Scaled)]
    assert toys.same(*models)


def gone(problem):
    """The same problem after its retained records are gone, and as many stand for them."""
    return replace(
        problem, train=problem.forget_view, forget=problem.forget_ids, calibration=problem.retain_view, trainer=None
    )


@pytest.mark.parametrize("size", [1, 7, 64])
def test_all_records_are_the_forgotten_and_those_that_stand_for_the_others(size):
    """In one batch together, since what cancels between the two within a batch counts for nothing."""
    problem = toys.problem(build=toys.Softmax, dtype=torch.float64)
    both = importances(problem, size), importances(gone(problem), size)
    for one, other in zip(*both, strict=True):
        for name in one:
            torch.testing.assert_close(one[name], other[name], rtol=1e-10, atol=1e-16)


def test_texts_weigh_by_their_units_in_a_batch_of_both():
    """The mean loss is that over tokens, and texts are of several lengths."""
    problem = own.problem(language=True, with_trainer=False)
    both = importances(problem, 8), importances(gone(problem), 8)
    for one, other in zip(*both, strict=True):
        for name in one:
            torch.testing.assert_close(one[name], other[name], rtol=1e-3, atol=1e-9)


def test_a_class_that_is_gone_is_found_among_a_few_that_stand_for_the_others():
    """As often as its importance was compared with itself, nothing was selected."""
    train = toys.records(120)
    lost = [name for name, label in zip(train.ids, train.y.tolist(), strict=True) if label == 0]
    few = train.select([name for name in train.ids if name not in lost][:20])
    problem = toys.problem(train=train.select(lost), calibration=few, trainer=None, model=toys.TRAINER(train, seed=1))
    problem.forget = tuple(lost)
    method = Ssd({"alpha": 1.5})
    outcome = method.unlearn(problem, toys.context(problem))
    assert outcome.touched > 0.05
    assert outcome.cost == method.cost(problem)
    assert method.work(problem).trained == 2 * len(lost) + 20


def test_a_share_too_small_to_matter_is_said_with_the_share():
    problem = toys.problem(trainer=None)
    outcome = Ssd({"alpha": 1e6}).unlearn(problem, toys.context(problem))
    assert outcome.warnings[0].startswith("little effect: 0.000% of the parameters were selected")
    assert outcome.warnings[1] == "no parameter changed: the method had no effect"
    assert toys.same(outcome.model, problem.source.open())
    assert issubclass(Ssd, Dampening)


@pytest.mark.parametrize("name", ["ssd", "lfssd", "adaptive_ssd"])
def test_of_a_random_forget_set_it_is_said_before_that_there_is_nothing_to_act_on(name):
    train, method = toys.records(300), registry.load("methods", name)()
    problem = toys.problem(train=train, forget=60)
    assert method.obstacles(problem) == [], "it runs: a benchmark measures it"
    (said,) = method.futile(problem)
    assert said.what.startswith(f"{name} finds nothing to act on")
    assert "60 records that look like a random sample" in said.found
    problem = toys.problem(train=train)
    problem.forget = [name for name, label in zip(train.ids, train.y.tolist(), strict=True) if label == 1]
    assert method.futile(problem) == []
