import math

import numpy as np
import pytest
from scipy import stats

from expunge.numerics.lira import lira
from expunge.numerics.ulira import MIN_MODELS, ulira


def design(models, records, seed):
    """A fixed audit set: each record is had by exactly half of the models."""
    draw = np.random.default_rng(seed)
    return np.array([draw.permutation(models) < models // 2 for _ in range(records)]).T, draw


@pytest.mark.parametrize("side", [8, 16])
def test_perfect_unlearning_is_chance_on_held_out_models(side):
    found = []
    for seed in range(6):
        had, draw = design(2 * side, 1000, seed)
        found.append(ulira(draw.normal(size=had.shape) + 2 * draw.normal(size=1000), had=had))
    auc, accuracy = (np.mean([getattr(one, name).mean() for one in found]) for name in ("auc", "accuracy"))
    # A fit on the models that it is scored on gives an accuracy of .623 and .585.
    assert auc == pytest.approx(0.5, abs=0.015)
    assert accuracy == pytest.approx(0.5, abs=0.015)
    assert np.mean([one.by_record.mean() for one in found]) == pytest.approx(0.5, abs=0.015)


@pytest.mark.parametrize("shift", [1.0, -1.0, 2.0])
def test_a_trace_is_found_on_either_side(shift):
    had, draw = design(64, 2000, 1)
    phi = draw.normal(size=had.shape) + 2 * draw.normal(size=2000) + shift * had
    found = ulira(phi, had=had)
    assert found.auc.mean() == pytest.approx(stats.norm.cdf(abs(shift) / math.sqrt(2)), abs=0.015)
    best = stats.norm.cdf(abs(shift) / 2)
    assert found.accuracy.mean() == pytest.approx(best, abs=0.015)
    assert found.by_record.mean() == pytest.approx(best, abs=0.015)


def test_the_records_that_leak_are_named():
    had, draw = design(64, 500, 2)
    phi = draw.normal(size=had.shape)
    phi[:, :10] += 3 * had[:, :10]
    found = ulira(phi, had=had)
    assert found.by_record[:10].min() > 0.8
    assert found.by_record[10:].mean() < 0.52
    assert found.auc.mean() < 0.56, "the mean over records hides them"


def test_each_model_is_scored_by_the_others_and_both_kinds_count():
    had, draw = design(10, 30, 3)
    phi = draw.normal(size=had.shape) + had
    found = ulira(phi, had=had)
    for k in range(10):
        others = np.arange(10) != k
        expected = lira(phi[k], references=phi[others], keep=had[others])
        np.testing.assert_allclose(found.score[k], expected, atol=1e-9)
        calls = expected > 0
        balanced = (calls[had[k]].mean() + (~calls[~had[k]]).mean()) / 2
        assert found.accuracy[k] == pytest.approx(balanced)


def test_constant_outputs_give_numbers():
    had, _ = design(8, 20, 4)
    assert np.isfinite(ulira(np.zeros(had.shape), had=had).score).all()


def test_what_it_refuses():
    had, draw = design(8, 6, 5)
    phi = draw.normal(size=had.shape)
    few = had.copy()
    few[:, 0] = np.arange(8) < MIN_MODELS - 1
    with pytest.raises(ValueError, match="needs 4 models that had each record"):
        ulira(phi, had=few)
    with pytest.raises(ValueError, match="all or none"):
        ulira(phi, had=np.arange(8)[:, None] < np.full(6, 4))
    with pytest.raises(ValueError, match="NaN"):
        ulira(phi * np.nan, had=had)
    with pytest.raises(ValueError, match="takes booleans"):
        ulira(phi, had=had[:, :3])
