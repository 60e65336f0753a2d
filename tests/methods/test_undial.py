from scipy.special import softmax

from expunge.methods.undial import Undial
from tests.support.pushing import by_hand, check, kl, nll


def distilled(beta, *, fresh=False):
    """The slope of a cross entropy against fixed shares: p minus these."""

    def slope(logits, hot, original):
        aim = softmax((logits if fresh else original) - beta * hot, 1)
        return (softmax(logits, 1) - aim) / len(logits)

    return slope


def test_steps_equal_arithmetic_in_float64():
    right = by_hand(distilled(3.0))
    slips = {
        "raised instead of lowered": by_hand(distilled(-3.0)),
        "the model is its own original": by_hand(distilled(3.0, fresh=True)),
        "plain ascent": by_hand(lambda *row: -nll(*row)),
    }
    check(Undial, {"lr": 0.3, "beta": 3.0}, right, slips)
    check(Undial, {"lr": 0.3, "beta": 3.0, "retain": "kl"}, by_hand(distilled(3.0), kept=kl), slips)


def test_nothing_lowered_leaves_the_model_alone():
    still = by_hand(kl, kept=kl)
    check(Undial, {"beta": 0.0, "retain": "kl"}, still, {})
