from expunge.methods.kl_min import KlMin
from tests.support.pushing import by_hand, check, kl, nll


def up(logits, hot, original):
    return -nll(logits, hot, original)


def test_steps_equal_arithmetic_in_float64():
    right = by_hand(up, kept=kl, weights=(1.0, 3.0))
    slips = {
        "the label's loss": by_hand(up, weights=(1.0, 3.0)),
        "down on forgotten records": by_hand(nll, kept=kl, weights=(1.0, 3.0)),
        "away from the original": by_hand(up, kept=lambda *row: -kl(*row), weights=(1.0, 3.0)),
        "no hold": by_hand(up, kept=kl, weights=(1.0, 0.0)),
    }
    check(KlMin, {"retain_weight": 3.0}, right, slips)
