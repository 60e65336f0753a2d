import numpy as np
import pytest
from scipy.special import expit, logit

from expunge.numerics.sureness import scale, sureness


def test_of_two_classes_it_is_the_distance_of_the_logits_and_the_factor_their_ratio():
    logits = np.array([[1.0, 3.0], [0.5, -0.5], [-2.0, -7.0]])
    assert sureness(logits).tolist() == [2.0, 1.0, 5.0]
    assert scale(logits, 4.0) == pytest.approx(4.0 / (8 / 3), rel=1e-9)


def test_it_is_the_log_odds_of_the_likeliest_class():
    logits = np.random.default_rng(0).normal(size=(50, 7)) * 3
    odds = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert expit(sureness(logits)) == pytest.approx(odds.max(1))
    assert sureness(logits) == pytest.approx(logit(odds.max(1)))
    assert sureness(logits + 5.0) == pytest.approx(sureness(logits)), "what all classes share says nothing"


def test_scaled_by_the_factor_logits_are_as_sure_as_asked():
    logits = np.random.default_rng(1).normal(size=(40, 10)) + 100.0
    for aim in (0.1, 3.0, 12.0):
        assert sureness(scale(logits, aim) * logits).mean() == pytest.approx(aim)


def test_what_no_factor_reaches_is_left():
    assert scale(np.ones((4, 3)), 2.0) == 1.0
    assert scale(np.array([[0.0, 1e-9]]), 5.0) == 1.0
