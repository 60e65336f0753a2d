import numpy as np
import pytest
from scipy.special import expit, log_softmax

from expunge.methods.npo import Npo
from tests.support.pushing import by_hand, check, kl, nll, unlearned


def sums(logits, hot):
    return -(log_softmax(logits, 1) * hot).sum(1)


def negative(beta, *, sign=1.0, fresh=False):
    """The slope: each record's ascent, times 2 sigmoid(-beta (S - S of the original))."""

    def slope(logits, hot, original):
        since = sums(logits, hot) - (sums(logits, hot) if fresh else sums(original, hot))
        return -2 * expit(-sign * beta * since)[:, None] * nll(logits, hot, original)

    return slope


def test_steps_equal_arithmetic_in_float64():
    right = by_hand(negative(2.0))
    slips = {
        "plain ascent": by_hand(lambda *row: -nll(*row)),
        "the model is its own original": by_hand(negative(2.0, fresh=True)),
        "original and model exchanged": by_hand(negative(2.0, sign=-1.0)),
        "preferred": by_hand(lambda *row: -negative(2.0)(*row)),
    }
    check(Npo, {"beta": 2.0}, right, slips)
    check(Npo, {"beta": 2.0, "retain": "kl"}, by_hand(negative(2.0), kept=kl), slips)


def test_it_begins_at_two_over_beta_times_log_two():
    history = unlearned(Npo, {"beta": 0.1, "retain": "none"}).history
    assert history[0]["objective"] == pytest.approx(13.862944, abs=1e-6)
    assert np.all(np.diff([row["objective"] for row in history]) < 0)
