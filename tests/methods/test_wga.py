import numpy as np
from scipy.special import softmax

from expunge.methods.wga import Wga
from tests.support.pushing import by_hand, check, nll


def weighted(beta):
    def slope(logits, hot, original):
        p = (softmax(logits, 1) * hot).sum(1, keepdims=True)
        return -(p**beta) * nll(logits, hot, original)

    return slope


def with_gradient(logits, hot, original):
    """The slope of p log p, weight and all."""
    p = (softmax(logits, 1) * hot).sum(1, keepdims=True)
    return -(p * nll(logits, hot, original)) * (1 + np.log(p))


def test_steps_equal_arithmetic_in_float64():
    slips = {
        "plain ascent": by_hand(weighted(0.0)),
        "another power": by_hand(weighted(0.7)),
        "a gradient through the weight": by_hand(with_gradient),
    }
    check(Wga, {"beta": 1.5}, by_hand(weighted(1.5)), slips)
    check(Wga, {"beta": 0.0}, by_hand(lambda *row: -nll(*row)), {})
