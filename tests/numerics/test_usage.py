import math

import numpy as np
import pytest
from scipy import stats

from expunge.numerics.usage import usage


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(("tpr", "fpr"), [(0.9, 0.1), (0.3, 0.05), (1.0, 0.0)])
def test_it_is_unbiased_and_its_interval_covers(share, tpr, fpr):
    draw = np.random.default_rng(0)
    found = []
    for _ in range(1000):
        used = draw.random(200) < share
        found.append(usage(draw.random(200) < np.where(used, tpr, fpr), tpr=tpr, fpr=fpr))
    unclipped = [one.unclipped for one in found]
    assert np.mean(unclipped) == pytest.approx(share, abs=4 * np.std(unclipped) / math.sqrt(1000) + 1e-12)
    assert np.mean([one.low - 1e-12 <= share <= one.high + 1e-12 for one in found]) >= 0.94
    assert all(0 <= one.low <= one.share <= one.high <= 1 for one in found)


def test_records_are_averaged_before_anything_is_clipped():
    # (0 - .1) / .8 and (1 - .1) / .8: clipped one by one the mean of 1 call in 10 would be .1, not 0.
    found = usage(np.arange(10) < 1, tpr=0.9, fpr=0.1)
    assert found.share == found.unclipped == pytest.approx(0)
    below = usage(np.zeros(10, dtype=bool), tpr=0.9, fpr=0.1)
    assert below.unclipped == pytest.approx(-0.125)
    assert below.share == 0


def test_the_interval_is_clopper_and_pearsons():
    found = usage(np.arange(50) < 30, tpr=0.8, fpr=0.2, alpha=0.1)
    exact = stats.binomtest(30, 50).proportion_ci(0.9, method="exact")
    assert (found.low, found.high) == pytest.approx(((exact.low - 0.2) / 0.6, (exact.high - 0.2) / 0.6))
    assert found.n == 50


def test_the_interval_of_a_single_record_says_nothing():
    found = usage(np.array([True]), tpr=0.6, fpr=0.4)
    assert (found.low, found.high) == (0, 1)


def test_what_it_refuses():
    calls = np.array([True, False])
    for tpr, fpr in ((0.5, 0.5), (0.2, 0.4), (1.2, 0.1), (0.5, -0.1)):
        with pytest.raises(ValueError, match="0 <= fpr < tpr <= 1"):
            usage(calls, tpr=tpr, fpr=fpr)
    with pytest.raises(ValueError, match="takes booleans"):
        usage([0.2, 0.9], tpr=0.9, fpr=0.1)
    with pytest.raises(ValueError, match="1 record or more"):
        usage(np.zeros(0, dtype=bool), tpr=0.9, fpr=0.1)
