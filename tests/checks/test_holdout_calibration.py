"""Forgotten records beside held-out ones: closed forms, both sides, what is counted together."""

import math

import numpy as np
import pytest
from scipy import stats

from expunge.checks.holdout_calibration import HoldoutCalibration
from expunge.core.chart import Role
from expunge.core.check import Measurement, NotMeasured
from expunge.engine.evidence import Evidence
from expunge.numerics import known, matched


def evidence(forget, holdout, *, classes=(None, None), original=None, subjects=None):
    """Evidence in which the confidences are these numbers: two classes, logits (0, confidence) of the label's side."""
    labels = [
        np.ones(len(v), int) if c is None else np.asarray(c) for v, c in zip((forget, holdout), classes, strict=True)
    ]

    def logits(values, label):
        rows = np.zeros((len(values), 2))
        rows[np.arange(len(values)), label] = values
        return rows

    def model(gone):
        return {"forget": logits(gone, labels[0]), "holdout": logits(holdout, labels[1])}

    return Evidence(
        {"c": model(np.asarray(forget)), "o": model(np.asarray(forget if original is None else original))},
        dict(zip(("forget", "holdout"), labels, strict=True)),
        candidate="c",
        original="o",
        references=(),
        alpha=0.05,
        corrections=None,
        subjects=subjects,
    )


def measured(*args, **more):
    found = HoldoutCalibration().measure(evidence(*args, **more))
    assert isinstance(found, Measurement), found
    return found


@pytest.mark.parametrize("shift", [-1.0, 0.0, 0.7])
def test_two_gaussians_have_their_auc(shift):
    draw = np.random.default_rng(0)
    found = measured(draw.normal(shift, 1, 3_000), draw.normal(0, 1, 3_000))
    assert found.value == pytest.approx(stats.norm.cdf(shift / math.sqrt(2)), abs=0.02)
    assert (found.yardstick.value, found.yardstick.retrained) == (0.5, True)
    assert found.yardstick.error == pytest.approx(known.auc_error(3_000, 3_000))


def test_true_retrains_lie_in_their_interval_at_the_rate_it_states(monkeypatch):
    draw, outside = np.random.default_rng(1), 0
    monkeypatch.setattr(matched, "EXCHANGES", 1)  # the gap is not looked at here
    for _ in range(300):
        own, theirs = draw.integers(0, 2, 80), draw.integers(0, 2, 200)
        found = measured(draw.gumbel(own), draw.gumbel(theirs), classes=(own, theirs))
        outside += not found.interval.low <= 0 <= found.interval.high
    assert stats.binomtest(outside, 300, 0.10).pvalue > 1e-3  # 90% intervals


def test_classes_are_compared_with_their_own():
    draw = np.random.default_rng(2)
    own, theirs = np.repeat([0, 1], [20, 180]), np.repeat([0, 1], [300, 100])
    found = measured(draw.normal(-4.0 * own), draw.normal(-4.0 * theirs), classes=(own, theirs))
    assert abs(found.value - 0.5) < 3 * found.record_error


def test_forgetting_too_much_lies_below_chance():
    draw = np.random.default_rng(3)
    assert measured(draw.normal(-2, 1, 100), draw.normal(0, 1, 200)).interval.high < 0


def test_records_of_one_subject_are_counted_together():
    draw = np.random.default_rng(4)
    forget, holdout = np.repeat(draw.normal(size=20), 10), draw.normal(size=300)
    alone = measured(forget, holdout)
    together = measured(forget, holdout, subjects={"forget": [f"s{i // 10}" for i in range(200)]})
    assert together.record_error > 2 * alone.record_error


def test_half_known_and_half_pushed_away_is_said_beside_an_auc_of_a_half():
    draw = np.random.default_rng(5)
    forget = np.concatenate([draw.normal(3, 1, 60), draw.normal(-3, 1, 60)])
    details = measured(forget, draw.normal(size=300)).details
    assert "p = 0.001" in details["largest gap of the two distributions"]
    surer = details["forgotten records surer than 90% of their held-out class"]
    assert float(surer.split("%")[0]) == pytest.approx(50, abs=5)
    assert "held-out records of the same classes" in details["mean loss"]


def test_the_original_stands_beside():
    draw = np.random.default_rng(6)
    found = measured(draw.normal(size=100), draw.normal(size=200), original=draw.normal(3, 1, 100))
    assert found.original > 0.9
    (chart,) = found.charts
    assert [line.role for line in chart.series] == [Role.ORIGINAL, Role.SUBJECT, Role.NULL]
    assert chart.series[-1].x == chart.series[-1].y


def test_without_held_out_records_of_a_class_nothing_is_measured():
    found = HoldoutCalibration().measure(evidence([1.0, 2.0], [1.0, 0.5], classes=([0, 1], [1, 1])))
    assert isinstance(found, NotMeasured)
    assert "1 forgotten classes" in found.because
