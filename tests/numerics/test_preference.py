import math

import pytest
import torch

from expunge.numerics.preference import npo, simnpo
from tests.support.answers import LABELS, MODEL, ORIGINAL, answer, sums


def test_the_sums_are_those_of_the_sheet():
    assert [round(float(sums(logits)), 6) for logits in (MODEL, ORIGINAL)] == [1.533941, 0.494651]


def test_npo_has_the_value_of_the_sheet_and_its_slope_the_weight():
    logits = MODEL.clone().requires_grad_()
    total = sums(logits)
    total.retain_grad()
    value = npo(total, sums(ORIGINAL), beta=0.1)
    value.backward()
    assert round(float(value.detach()), 6) == 12.850645
    assert round(-float(total.grad), 6) == 0.948082
    model, original = (math.exp(-0.1 * float(sums(each))) for each in (MODEL, ORIGINAL))
    assert float(total.grad) == pytest.approx(-2 * model / (model + original))


def test_npo_at_the_original_is_ascent_on_sums():
    then = torch.tensor([3.0, 7.0, 0.2], dtype=torch.float64)
    now = then.clone().requires_grad_()
    value = npo(now, then, beta=0.1)
    value.backward()
    assert round(float(value.detach()), 6) == 13.862944
    torch.testing.assert_close(now.grad, torch.full_like(now, -1 / 3))


def test_npo_lets_go_of_what_is_forgotten_and_is_ascent_without_bound():
    then = torch.zeros(1, dtype=torch.float64)

    def weight(beta, now):
        now = torch.tensor([now], dtype=torch.float64, requires_grad=True)
        npo(now, then, beta=beta).backward()
        return -float(now.grad)

    assert weight(0.1, 1000.0) < 1e-30
    assert 1.99 < weight(0.1, -1000.0) <= 2
    assert weight(1e-9, 50.0) == pytest.approx(1.0)


def test_npo_counts_tokens_and_simnpo_does_not():
    """An answer said twice over has twice the sum and the same mean."""
    once, twice = answer(), answer(model=MODEL.repeat(2, 1), labels=LABELS.repeat(2))
    then = sums(ORIGINAL)
    of_sums = [npo(units.sum_by_record(units.loss), then * n, beta=0.1) for n, units in ((1, once), (2, twice))]
    of_means = [simnpo(units.by_record(units.loss), beta=3.5, delta=1.0) for units in (once, twice)]
    assert float(of_sums[0] - of_sums[1]) > 0.9
    torch.testing.assert_close(of_means[0], of_means[1])


@pytest.mark.parametrize(("beta", "delta", "value"), [(3.5, 1.0, 1.072336), (4.5, 0.0, 0.042428)])
def test_simnpo_has_the_values_of_the_sheet_and_the_slope_of_the_formula(beta, delta, value):
    units = answer()
    mean = units.by_record(units.loss).requires_grad_()
    found = simnpo(mean, beta=beta, delta=delta)
    found.backward()
    assert round(float(found.detach()), 6) == value
    assert float(mean.grad) == pytest.approx(-2 / (1 + math.exp(beta * (float(mean.detach()) - delta))))
