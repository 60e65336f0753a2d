"""The check on canaries: Gaussian cases with closed form, both sides, and the largest epsilon."""

import math

import numpy as np
import pytest
from scipy import stats

from expunge.checks.canaries import CanaryMembership
from expunge.core.check import Measurement, NotMeasured
from expunge.engine.evidence import Evidence


def evidence(planted, aside, original=None, alpha=0.05):
    """Evidence in which the confidences are these numbers: two classes, label 1, logits (0, confidence)."""

    def logits(values):
        return np.stack([np.zeros(len(values)), values], axis=1)

    arrays = {
        "c": {"planted": logits(planted), "aside": logits(aside)},
        "o": {"planted": logits(planted if original is None else original), "aside": logits(aside)},
    }
    targets = {"planted": np.ones(len(planted), int), "aside": np.ones(len(aside), int)}
    return Evidence(arrays, targets, candidate="c", original="o", references=(), alpha=alpha, corrections=None)


def measured(*args, **more):
    found = CanaryMembership().measure(evidence(*args, **more))
    assert isinstance(found, Measurement)
    return found


@pytest.mark.parametrize("shift", [-1.0, 0.0, 0.5, 2.0])
def test_two_gaussians_have_their_auc(shift):
    draw = np.random.default_rng(0)
    found = measured(draw.normal(shift, 1, 20_000), draw.normal(0, 1, 20_000))
    assert found.value == pytest.approx(stats.norm.cdf(shift / math.sqrt(2)), abs=0.01)
    assert found.yardstick.value == 0.5
    assert found.yardstick.retrained


def test_models_that_saw_neither_lie_in_their_interval_at_the_rate_it_states():
    draw, outside = np.random.default_rng(1), 0
    scores = draw.normal(0, 3, 240) ** 3  # one fixed model; the coin alone is tossed
    for _ in range(1000):
        coin = draw.random(240) < 0.5
        found = measured(scores[coin], scores[~coin])
        outside += not found.interval.low <= 0 <= found.interval.high
    assert stats.binomtest(outside, 1000, 0.10).pvalue > 1e-3  # 90% intervals; DeLong's may widen them a little


def test_forgetting_too_much_lies_below_chance():
    draw = np.random.default_rng(2)
    found = measured(draw.normal(-2, 1, 150), draw.normal(0, 1, 150))
    assert found.interval.high < 0


def test_the_error_is_the_larger_one():
    """Perfectly apart, DeLong's error is 0; the coin's is not."""
    found = measured(np.arange(100.0) + 1000, np.arange(100.0))
    assert found.value == 1.0
    assert found.record_error == pytest.approx(math.sqrt(201 / (12 * 100 * 100)))
    assert found.yardstick.error == found.record_error


def test_epsilon_stands_beside_the_largest_that_could_be_shown():
    """All of 50 guesses right: logit(.05 ** (1/50)) = 2.78, the reference's cap at m = 200, g = 50."""
    said = measured(np.arange(100.0) + 1000, np.arange(100.0)).details["epsilon"]
    assert "2.78 or more" in said
    assert "50 of 50 guesses right" in said
    assert "most that these could have shown: 2.78" in said
    draw = np.random.default_rng(3)
    null = measured(draw.normal(size=100), draw.normal(size=100)).details["epsilon"]
    assert null.startswith("0.00 or more")


def test_rates_that_cannot_be_resolved_are_not_given():
    draw = np.random.default_rng(4)
    details = measured(draw.normal(size=150), draw.normal(size=150)).details
    assert "not resolvable with 150" in details["deleted canaries caught at 1% false alarms"]
    assert "imprecise" in details["deleted canaries caught at 5% false alarms"]
    assert "by chance 0.106" in details["deleted canaries caught at 10% false alarms"]


def test_without_canaries_nothing_is_measured():
    bare = Evidence({"c": {}, "o": {}}, {}, candidate="c", original="o", references=(), alpha=0.05, corrections=None)
    found = CanaryMembership().measure(bare)
    assert isinstance(found, NotMeasured)
    assert "planted" in found.because
