import math

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import jensenshannon

from expunge.numerics.literature import (
    Relation,
    average_gap,
    average_gap_floor,
    relearning_index,
    tug_of_war,
    zero_retrain_forgetting,
)

RETRAINED = {"forget": 0.90, "retain": 1.0, "test": 0.85}

# --- gaps -----------------------------------------------------------------------------------------------------


def test_gaps_by_hand():
    unlearned = {"forget": 0.95, "retain": 0.98, "test": 0.75}
    assert average_gap(unlearned, retrained=RETRAINED) == pytest.approx((5 + 2 + 10) / 3)
    assert tug_of_war(unlearned, retrained=RETRAINED) == pytest.approx(0.95 * 0.98 * 0.90)


def test_forgetting_too_much_is_a_gap_too():
    less, more = ({**RETRAINED, "forget": value} for value in (0.80, 1.0))
    assert average_gap(less, retrained=RETRAINED) == pytest.approx(average_gap(more, retrained=RETRAINED))
    assert tug_of_war(less, retrained=RETRAINED) == pytest.approx(tug_of_war(more, retrained=RETRAINED))
    assert average_gap(RETRAINED, retrained=RETRAINED) == 0
    assert tug_of_war(RETRAINED, retrained=RETRAINED) == 1


def test_the_floor_is_the_gap_of_two_retrainings():
    draw = np.random.default_rng(0)
    sigma = {"a": 0.01, "b": 0.02}
    models = [{name: 0.5 + s * draw.normal() for name, s in sigma.items()} for _ in range(8000)]
    found = [average_gap(one, retrained=other) for one, other in zip(models[::2], models[1::2], strict=True)]
    floor = average_gap_floor(list(sigma.values()))
    assert np.mean(found) == pytest.approx(floor, rel=0.03)
    assert floor == pytest.approx(1.128 * 1.5, abs=1e-3)


@pytest.mark.parametrize("score", [average_gap, tug_of_war])
def test_gaps_are_of_the_same_shares(score):
    with pytest.raises(ValueError, match="metrics differ"):
        score({"forget": 0.5}, retrained=RETRAINED)
    with pytest.raises(ValueError, match="1 or more"):
        score({}, retrained={})
    with pytest.raises(ValueError, match=r"forget is 95; it takes shares in \[0, 1\]"):
        score({**RETRAINED, "forget": 95}, retrained=RETRAINED)


# --- relearning -----------------------------------------------------------------------------------------------


def test_the_index_is_a_geometric_mean_with_a_t_interval():
    one, other = np.array([2.0, 4, 8, 4, 2]), np.array([8.0, 8, 16, 8, 8])
    found = relearning_index(one, retrained=other, cap=100)
    logs = np.log(one / other)
    low, high = stats.t.interval(0.9, 4, loc=logs.mean(), scale=stats.sem(logs))
    assert (found.value, found.low, found.high) == pytest.approx(tuple(np.exp([logs.mean(), low, high])))
    assert found.relation is Relation.EQUAL
    assert found.value < 1, "relearned sooner than a retrained model: knowledge is left"


def test_the_interval_covers():
    draw = np.random.default_rng(1)
    inside = 0
    for _ in range(2000):
        one, other = np.exp(draw.normal(3, 0.3, (2, 5)))
        found = relearning_index(one, retrained=other, cap=10_000)
        inside += found.low <= 1 <= found.high
    assert inside / 2000 == pytest.approx(0.9, abs=0.03)


@pytest.mark.parametrize(("side", "relation"), [("unlearned", Relation.AT_LEAST), ("retrained", Relation.AT_MOST)])
def test_a_time_beyond_the_cap_gives_a_bound(side, relation):
    times = {"unlearned": [5] * 5, "retrained": [5] * 5, side: [5, 5, 5, 5, 40]}
    found = relearning_index(times["unlearned"], retrained=times["retrained"], cap=40)
    assert found.relation is relation
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_what_relearning_refuses():
    with pytest.raises(ValueError, match="ratio is unknown"):
        relearning_index([5, 5, 5, 5, 9], retrained=[9, 5, 5, 5, 5], cap=9)
    with pytest.raises(ValueError, match="needs 5 relearning seeds"):
        relearning_index([5, 5], retrained=[5, 5], cap=9)
    with pytest.raises(ValueError, match="from 1"):
        relearning_index([0, 5, 5, 5, 5], retrained=[5] * 5, cap=9)
    with pytest.raises(ValueError, match="to the cap 9"):
        relearning_index([5] * 5, retrained=[10] * 5, cap=9)


# --- ZRF ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_disjoint_predictions_give_0_and_equal_ones_1(classes):
    # KL(m || p), or a mean over classes too, would crowd the values at 1.
    p = np.full((3, classes), -np.inf)
    q = p.copy()
    p[:, 0] = q[:, 1] = 0
    assert zero_retrain_forgetting(p, untrained=q) == pytest.approx(0, abs=1e-12)
    assert zero_retrain_forgetting(p, untrained=p) == pytest.approx(1)


def test_it_is_scipys_divergence():
    p, q = np.random.default_rng(2).dirichlet(np.ones(4), (2, 30))
    expected = 1 - (jensenshannon(p, q, base=2, axis=1) ** 2).mean()
    assert zero_retrain_forgetting(np.log(p), untrained=np.log(q)) == pytest.approx(expected)


def test_what_zrf_refuses():
    p = np.log(np.full((2, 2), 0.5))
    with pytest.raises(ValueError, match=r"takes \[n, C\] twice"):
        zero_retrain_forgetting(p, untrained=p[:1])
    with pytest.raises(ValueError, match="sum to 1"):
        zero_retrain_forgetting(np.exp(p), untrained=p)
    with pytest.raises(ValueError, match="sum to 1"):
        zero_retrain_forgetting(p * np.nan, untrained=p)
