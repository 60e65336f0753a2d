import numpy as np
import pytest
from scipy.special import log_softmax

from expunge.core.method import Need
from expunge.methods.pdu import Pdu
from tests.support.pushing import by_hand, check, kl, unlearned

PACE = {"retain_weight": 2.0, "dual_rate": 1.0, "slack": 0.02, "dual_after": 1}


def flat(logits, hot, original):
    """The slope of (max - mean)^2: twice the difference, on the largest, less an equal share on all."""
    high = np.eye(logits.shape[1])[logits.argmax(1)]
    return 2 * (logits.max(1) - logits.mean(1))[:, None] * (high - 1 / logits.shape[1]) / len(logits)


def loss(logits, hot):
    return -(log_softmax(logits, 1) * hot).sum(1).mean()


def dual(*, rate=1.0, after=1, slack=0.02, start=2.0, seen=None):
    """The weight of what is kept: moved after every step of an epoch later than ``after``; here one step an epoch."""
    state = {"weight": start, "steps": 0, "bound": None}

    def note(logits, hot):
        value = loss(logits, hot)
        state["bound"] = value + slack if state["bound"] is None else state["bound"]
        state["steps"] += 1
        if state["steps"] > after:
            state["weight"] = max(0.0, state["weight"] + rate * (value - state["bound"]))
        if seen is not None:
            seen.append(state["weight"])
        return 1.0, state["weight"]

    return note


def _all(method, problem):
    return len(problem.retain_view) if method.config.retain == "nll" else 0


@pytest.fixture(autouse=True)
def whole(monkeypatch):
    """The bound is measured on all retained records, so that it can be derived without their hash."""
    monkeypatch.setattr(Pdu, "_looked_at", _all)


def test_steps_equal_arithmetic_in_float64():
    right = by_hand(flat, weights=(1.0, 2.0), note=dual())
    slips = {
        "the weight never moves": by_hand(flat, weights=(1.0, 2.0)),
        "it moves from the first epoch": by_hand(flat, weights=(1.0, 2.0), note=dual(after=0)),
        "it moves the other way": by_hand(flat, weights=(1.0, 2.0), note=dual(rate=-1.0)),
        "another bound": by_hand(flat, weights=(1.0, 2.0), note=dual(slack=0.3)),
    }
    check(Pdu, PACE, right, slips)


def test_the_weight_falls_while_what_is_kept_is_cheap_and_never_below_nothing():
    seen = []
    by_hand(flat, weights=(1.0, 2.0), note=dual(rate=2.0, slack=0.1, seen=seen))
    rows = unlearned(Pdu, {**PACE, "dual_rate": 2.0, "slack": 0.1}).history
    weights = [row["retain weight"] for row in rows]
    assert weights == pytest.approx(seen)
    assert weights[0] == 2.0
    assert weights[0] > weights[1] > weights[2] == 0.0


def test_of_a_divergence_the_bound_is_the_slack_alone():
    outcome = unlearned(Pdu, {**PACE, "retain": "kl", "dual_rate": 0.0})
    assert outcome.history[0]["bound"] == 0.02
    check(Pdu, {**PACE, "retain": "kl", "dual_rate": 0.0}, by_hand(flat, kept=kl, weights=(1.0, 2.0)), {})


def test_without_a_bound_logits_are_made_flat_and_no_retained_record_is_read():
    free = {**PACE, "retain": "none"}
    check(Pdu, free, by_hand(flat, weights=(1.0, 0.0)), {"held": by_hand(flat, weights=(1.0, 2.0))})
    outcome = unlearned(Pdu, free)
    assert not {"retain weight", "bound"} & set(outcome.history[0])
    assert Pdu(free).needs == {Need.FORGET}
    assert outcome.cost.trained == 3 * 12


def test_without_a_bound_repairs_weigh_the_same_from_first_to_last():
    """A step of each epoch over retained records alone, since those over forgotten ones weigh nothing here."""
    mending, moved = {**PACE, "retain": "none", "repairs": 1.0, "forget_weight": 0.0}, dual()
    slips = {
        "of weight 1": by_hand(flat, weights=(0.0, 1.0)),
        "a weight that moves": by_hand(flat, weights=(0.0, 2.0), note=lambda *kept: (0.0, moved(*kept)[1])),
    }
    check(Pdu, mending, by_hand(flat, weights=(0.0, 2.0)), slips)
    assert Pdu().config.retain_weight == 100.0
