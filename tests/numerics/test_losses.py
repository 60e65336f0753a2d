import pytest
import torch

from expunge.numerics.losses import mean_loss, neg_grad_plus
from expunge.numerics.units import Units


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
