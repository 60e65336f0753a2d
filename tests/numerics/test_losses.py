import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from scipy.stats import entropy

from expunge.numerics.losses import distillation, mean_loss, neg_grad_plus
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
