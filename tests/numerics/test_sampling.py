from itertools import combinations

import numpy as np
import pytest

from expunge.numerics.sampling import leak_at

SCORES = np.random.default_rng(0).random((4, 7)).round(1)  # with ties


@pytest.mark.parametrize("k", range(1, 8))
def test_it_is_the_mean_over_all_subsets(k):
    by_hand = [np.mean([max(chosen) for chosen in combinations(row, k)]) for row in SCORES]
    np.testing.assert_allclose(leak_at(SCORES, k), by_hand)


def test_of_one_it_is_the_mean_of_all_the_maximum_and_between_it_grows():
    np.testing.assert_allclose(leak_at(SCORES, 1), SCORES.mean(axis=1))
    np.testing.assert_allclose(leak_at(SCORES, 7), SCORES.max(axis=1))
    curve = np.stack([leak_at(SCORES, k) for k in range(1, 8)])
    assert (np.diff(curve, axis=0) >= -1e-12).all()


def test_of_hits_and_misses_it_is_pass_at_k():
    """1 - (n - c)! (n - k)! / (n! (n - k - c)!), as a product, for c hits of n."""
    for hits in range(0, 201, 40):
        found = leak_at([[1.0] * hits + [0.0] * (200 - hits)], 30)[0]
        assert found == pytest.approx(1 - np.prod(1 - 30 / np.arange(200 - hits + 1, 201)))


def test_it_is_unbiased():
    """The largest of 5 uniform numbers is 5/6 in the mean."""
    assert leak_at(np.random.default_rng(1).random((4000, 20)), 5).mean() == pytest.approx(5 / 6, abs=0.004)


@pytest.mark.parametrize("k", [0, 8])
def test_more_than_were_drawn_cannot_be_judged(k):
    with pytest.raises(ValueError, match=r"k is in 1\.\.7"):
        leak_at(SCORES, k)
    with pytest.raises(ValueError, match="shape"):
        leak_at(SCORES[0], 1)
