from scipy.special import softmax

from expunge.methods.satimp import Satimp
from tests.support.pushing import by_hand, check, nll


def weighted(known, unsure):
    def slope(logits, hot, original):
        p = (softmax(logits, 1) * hot).sum(1, keepdims=True)
        return -(p**known) * (1 - p) ** unsure * nll(logits, hot, original)

    return slope


def test_steps_equal_arithmetic_in_float64():
    slips = {
        "powers exchanged": by_hand(weighted(1.0, 2.0)),
        "what is known alone": by_hand(weighted(2.0, 0.0)),
        "plain ascent": by_hand(weighted(0.0, 0.0)),
    }
    check(Satimp, {"known": 2.0, "unsure": 1.0}, by_hand(weighted(2.0, 1.0)), slips)
