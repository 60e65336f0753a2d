from scipy.special import expit, log_softmax

from expunge.methods.simnpo import Simnpo
from tests.support.pushing import by_hand, check, nll


def negative(beta, delta):
    """The slope: each record's ascent, times 2 sigmoid(-beta (loss - delta)); of a classifier's record, one token."""

    def slope(logits, hot, original):
        loss = -(log_softmax(logits, 1) * hot).sum(1)
        return -2 * expit(-beta * (loss - delta))[:, None] * nll(logits, hot, original)

    return slope


def test_steps_equal_arithmetic_in_float64():
    right = by_hand(negative(2.5, 0.5), weights=(0.125, 1.0))
    slips = {
        "no margin": by_hand(negative(2.5, 0.0), weights=(0.125, 1.0)),
        "the margin on the other side": by_hand(negative(2.5, -0.5), weights=(0.125, 1.0)),
        "an eighth of both": by_hand(negative(2.5, 0.5), weights=(0.125, 0.125)),
        "plain ascent": by_hand(lambda *row: -nll(*row), weights=(0.125, 1.0)),
    }
    check(Simnpo, {"beta": 2.5, "delta": 0.5}, right, slips)
