import math

import numpy as np
import pytest

from expunge.numerics.agreement import agreement


def test_without_ties_it_is_what_the_differences_of_ranks_say():
    first, second = [1.0, 2.0, 3.0, 4.0, 5.0], [2.0, 1.0, 4.0, 3.0, 5.0]
    # 1 - 6 sum d^2 / (n (n^2 - 1)) = 1 - 6 * 4 / 120
    assert agreement(first, second).rho == pytest.approx(0.8)
    assert agreement(first, [-v for v in second]).rho == pytest.approx(-0.8)
    assert agreement(np.exp(first), second).rho == pytest.approx(0.8), "only the order counts"


def test_the_interval_is_that_of_fisher_with_the_variance_of_ranks():
    found = agreement([1, 2, 3, 4, 5, 6, 7], [2, 1, 4, 3, 5, 7, 6])
    rho = 1 - 6 * 6 / (7 * 48)
    half = 1.959964 * math.sqrt((1 + rho * rho / 2) / 4)
    assert (found.rho, found.n) == (pytest.approx(rho), 7)
    assert found.low == pytest.approx(math.tanh(math.atanh(rho) - half), rel=1e-6)
    assert found.high == pytest.approx(math.tanh(math.atanh(rho) + half), rel=1e-6)
    assert agreement([1, 2, 3, 4], [1, 2, 4, 3], confidence=0.5).low > agreement([1, 2, 3, 4], [1, 2, 4, 3]).low


def test_perfect_order_of_few_is_no_certainty():
    found = agreement(range(15), range(15))
    assert found.rho == found.high == pytest.approx(1.0)
    assert 0.9 < found.low < 1.0
    assert agreement(range(5), range(5)).low < 0.9
    assert agreement(range(5), range(0, -5, -1)).low == pytest.approx(-1.0)


def test_the_interval_holds_the_truth_as_often_as_it_says():
    # of two normals with correlation r the rank correlation is 6 / pi * asin(r / 2)
    draw, r, n, held = np.random.default_rng(0), 0.6, 20, 0
    truth = 6 / math.pi * math.asin(r / 2)
    for _ in range(400):
        x = draw.normal(size=n)
        found = agreement(x, r * x + math.sqrt(1 - r * r) * draw.normal(size=n))
        held += found.low <= truth <= found.high
    assert 0.92 < held / 400 < 0.98


@pytest.mark.parametrize(("first", "second"), [([1, 2, 3], [1, 2, 3]), ([1, 1, 1, 1], [1, 2, 3, 4])])
def test_where_there_is_no_order_there_is_no_correlation(first, second):
    with pytest.raises(ValueError, match="no order to compare"):
        agreement(first, second)
