import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from scipy.stats import entropy

from expunge.numerics.losses import (
    away_from,
    contrast,
    distillation,
    drawn_labels,
    from_uniform,
    mean_loss,
    misdirection,
    neg_grad_plus,
    relabelled,
    soft_cross_entropy,
)
from expunge.numerics.losses import entropy as entropies
from expunge.numerics.units import Scored, Units


def units(*losses):
    return Units(torch.tensor(losses, requires_grad=True), torch.arange(len(losses)), len(losses))


def test_the_mean():
    assert mean_loss(units(1.0, 2.0, 6.0)).item() == 3.0


@pytest.mark.parametrize(("alpha", "value"), [(1.0, 3.0), (0.0, -10.0), (0.5, -3.5), (0.95, 0.95 * 3 - 0.05 * 10)])
def test_the_weighted_difference(alpha, value):
    # Means, not sums: the sizes of the two batches carry no weight.
    assert neg_grad_plus(units(1.0, 5.0), units(10.0, 10.0, 10.0), alpha=alpha).item() == pytest.approx(value)


def test_gradients_have_opposite_signs():
    retain, forget = units(1.0, 5.0), units(10.0, 10.0, 10.0, 10.0)
    neg_grad_plus(retain, forget, alpha=0.75).backward()
    assert retain.loss.grad.tolist() == [0.375, 0.375]
    assert forget.loss.grad.tolist() == [-0.0625] * 4


def scored(logits):
    count = len(logits)
    return Scored.of(torch.tensor(logits), torch.zeros(count, dtype=torch.long), torch.arange(count), count)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_divergence_from_a_teacher_is_scipys_relative_entropy(temperature):
    draw = np.random.default_rng(2)
    student, teacher = draw.normal(size=(6, 3)), draw.normal(size=(6, 3))
    shares = [np.exp(log_softmax(x / temperature, axis=1)) for x in (teacher, student)]
    expected = temperature**2 * entropy(*shares, axis=1).mean()
    found = distillation(scored(student), scored(teacher), temperature=temperature)
    assert found.item() == pytest.approx(expected, rel=1e-12)
    swapped = distillation(scored(teacher), scored(student), temperature=temperature)
    assert abs(swapped.item() - expected) > 1e-3


def test_the_squared_temperature_keeps_gradients_of_one_size():
    """SCRUB-6: for nearly uniform answers the slope at T = 4 is that at T = 1."""
    draw = np.random.default_rng(3)
    student, teacher = 0.05 * draw.normal(size=(2, 50, 3))
    norms = []
    for temperature in (1.0, 4.0):
        mine = scored(student)
        mine.logits.requires_grad_()
        distillation(mine, scored(teacher), temperature=temperature).backward()
        norms.append(mine.logits.grad.norm().item())
    assert norms[1] == pytest.approx(norms[0], rel=0.1)


def test_the_cross_entropy_of_other_labels():
    draw = np.random.default_rng(4)
    logits, labels = draw.normal(size=(6, 3)), np.array([0, 1, 2, 2, 1, 0])
    found = relabelled(scored(logits), torch.tensor(labels))
    np.testing.assert_allclose(found.numpy(), -log_softmax(logits, axis=1)[np.arange(6), labels], rtol=1e-12)


def test_drawn_labels_come_from_the_global_generator_and_other_ones_are_never_the_target():
    units = scored(np.zeros((4000, 3)))
    torch.manual_seed(1)
    anyone, others = drawn_labels(units, other=False), drawn_labels(units, other=True)
    torch.manual_seed(1)
    assert torch.equal(drawn_labels(units, other=False), anyone)
    assert not torch.equal(drawn_labels(units, other=False), anyone)
    assert np.bincount(anyone.numpy()).min() > 1200
    assert np.bincount(others.numpy()).tolist()[0] == 0 < np.bincount(others.numpy())[1:].min() - 1850


def drawn(count, seed):
    draw = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(count, 4, generator=draw, dtype=torch.float64)
    return Scored.of(logits, torch.randint(4, (count,), generator=draw), torch.arange(count), count)


def test_soft_cross_entropy_is_torch_s_with_softened_answers_for_targets():
    mine, theirs = drawn(5, 1), drawn(5, 2)
    expected = torch.nn.functional.cross_entropy(mine.logits / 3, (theirs.logits / 3).softmax(1))
    torch.testing.assert_close(soft_cross_entropy(mine, theirs, temperature=3.0), expected)
    swapped = soft_cross_entropy(theirs, mine, temperature=3.0)
    assert abs(float(swapped - expected)) > 1e-3


def test_entropy_and_the_distance_from_a_uniform_answer_are_scipy_s():
    units = drawn(6, 3)
    shares = units.logits.softmax(1).numpy()
    np.testing.assert_allclose(entropies(units), entropy(shares, axis=1))
    apart = entropy(np.full_like(shares, 0.25), shares, axis=1).mean()
    assert float(from_uniform(units)) == pytest.approx(apart)
    assert abs(apart - entropy(shares, np.full_like(shares, 0.25), axis=1).mean()) > 0.01


def test_the_contrast_is_least_where_all_others_are_equally_near():
    units, others = drawn(5, 4), drawn(7, 5)
    products = units.logits.numpy() @ others.logits.numpy().T / 1.15
    expected = -log_softmax(products, axis=1).mean()
    assert float(contrast(units, others, temperature=1.15)) == pytest.approx(expected)
    assert expected > np.log(7)
    same = Scored.of(others.logits[:1].expand(7, -1), others.target, torch.arange(7), 7)
    assert float(contrast(units, same, temperature=1.15)) == pytest.approx(np.log(7))


def test_the_divergence_from_given_shares_is_scipys_relative_entropy():
    draw = np.random.default_rng(6)
    logits, shares = draw.normal(size=(5, 3)), draw.dirichlet(np.ones(3), size=5)
    shares[0] = [1.0, 0.0, 0.0]  # 0 log 0 is 0
    expected = entropy(shares, np.exp(log_softmax(logits, axis=1)), axis=1).mean()
    assert away_from(scored(logits), torch.tensor(shares)).item() == pytest.approx(expected, rel=1e-12)


def test_misdirection_is_the_squared_distance_per_number_over_tokens_and_then_records():
    """h = [1, 2], [0, -1], u = [.6, .8], c = 2: 2.1 over numbers; each record weighs the same, however long."""
    hidden, aim = torch.tensor([[1.0, 2.0], [0.0, -1.0]]), 2 * torch.tensor([0.6, 0.8])
    assert float(misdirection(hidden, aim, torch.tensor([0, 0]), 1)) == pytest.approx(2.1)
    first, second = (float((row - aim).square().mean()) for row in hidden)
    longer, record = torch.cat([hidden, hidden[1:]]), torch.tensor([0, 1, 1])
    assert float(misdirection(longer, aim, record, 2)) == pytest.approx((first + second) / 2)
    assert float(misdirection(longer, longer, record, 2)) == 0
