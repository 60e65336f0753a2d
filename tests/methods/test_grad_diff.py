import math

from expunge.methods.grad_diff import GradDiff
from tests.support import pushing, toys
from tests.support.pushing import by_hand, check, kl, nll, regression


def up(logits, hot, original):
    return -nll(logits, hot, original)


def test_steps_equal_arithmetic_in_float64():
    settings = {"forget_weight": 0.7, "retain_weight": 2.0}
    slips = {
        "down on forgotten records": by_hand(nll, weights=(0.7, 2.0)),
        "weights exchanged": by_hand(up, weights=(2.0, 0.7)),
        "another hold": by_hand(up, kept=kl, weights=(0.7, 2.0)),
    }
    check(GradDiff, settings, by_hand(up, weights=(0.7, 2.0)), slips)


def test_without_a_hold_it_is_ascent_and_reads_no_retained_record():
    alone = by_hand(up, weights=(1.0, 0.0))
    check(GradDiff, {"retain": "none"}, alone, {})
    check(GradDiff, {"retain_weight": 0.0}, alone, {})
    problem = regression()
    GradDiff({**pushing.STEP, "retain": "none", "until": "guess"}).unlearn(problem, toys.context(problem))
    assert set(problem.records.seen) == set(problem.forget_view.ids)


def test_ascent_without_a_guard_runs_away_and_with_it_stops(monkeypatch):
    settings = {**pushing.STEP, "epochs": 8, "retain": "none", "until": "guess", "lr": 1.0}
    even = math.log(toys.CLASSES)

    def losses():
        problem = regression()
        outcome = GradDiff(settings).unlearn(problem, toys.context(problem))
        return outcome.stopped, [row["forget loss"] for row in outcome.history]

    said, guarded = losses()
    assert "even guess" in said
    assert guarded[-1] > even
    assert all(loss <= even for loss in guarded[:-1])
    monkeypatch.setattr(GradDiff, "stop", lambda *_: "")
    said, wild = losses()
    assert said == "after 8 epochs"
    assert wild[-1] > 3 * even
