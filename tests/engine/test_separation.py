import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from expunge.checks.loss_membership import LossMembership
from expunge.engine.evidence import Evidence
from expunge.engine.separation import compare

NAMES = ("r1", "r2", "r3")


def given(members, strangers):
    """Return evidence of five models that say nothing of interest: the scores are what is compared."""
    arrays = {"forget": np.zeros((members, 2)), "holdout": np.zeros((strangers, 2))}
    labels = {part: np.zeros(len(rows), int) for part, rows in arrays.items()}
    models = dict.fromkeys(("c", "o", *NAMES), arrays)
    return Evidence(models, labels, candidate="c", original="o", references=NAMES, alpha=0.05, corrections=None)


def scored(members, strangers, *, shift, seed=0):
    draw = np.random.default_rng(seed)
    shifts = {"c": shift, "o": 2.0, **dict.fromkeys(NAMES, 0.0)}
    return {name: (draw.normal(by, 1, members), draw.normal(0, 1, strangers)) for name, by in shifts.items()}


def test_the_value_is_the_area_under_the_attacks_curve():
    scores = scored(40, 60, shift=1.0)
    found = compare(given(40, 60), LossMembership(), scores, title="curve")
    for value, name in zip((found.value, found.original, *found.references), ("c", "o", *NAMES), strict=True):
        assert value == pytest.approx(roc_auc_score([1] * 40 + [0] * 60, np.concatenate(scores[name])))
    assert found.n == 100


def test_rates_that_the_holdout_resolves_stand_beside_their_null():
    found = compare(given(2000, 1000), LossMembership(), scored(2000, 1000, shift=1.0), title="curve")
    text = found.details["forgotten records caught at 1% false alarms"]
    caught = float(text.split()[0])
    assert caught == pytest.approx(stats.norm.cdf(1 + stats.norm.ppf(0.01)), abs=0.04)
    assert "were both alike 0.011" in text  # (k + 1) / (n0 + 1) with k = 10
    few = compare(given(30, 25), LossMembership(), scored(30, 25, shift=1.0), title="curve")
    assert "not resolvable" in few.details["forgotten records caught at 1% false alarms"]


def test_own_details_and_charts_come_first():
    found = compare(
        given(40, 60), LossMembership(), scored(40, 60, shift=0.0), title="The curve", details={"attack": "RMIA"}
    )
    assert next(iter(found.details)) == "attack"
    assert [chart.title for chart in found.charts] == ["The curve"]
    assert compare(given(5, 60), LossMembership(), scored(5, 60, shift=0.0), title="The curve").charts == ()
