import numpy as np
import pytest

from expunge.numerics._ridge import RIDGE
from expunge.numerics.telling_apart import pairs_apart

DRAW = np.random.default_rng(0)


def by_fitting_every_time(members, strangers):
    """Return the same by a fit without the two for every pair."""
    both = np.concatenate([members, strangers])
    rows = np.column_stack([(both - both.mean(0)) / both.std(0), np.ones(len(both))])
    y = np.r_[np.ones(len(members)), -np.ones(len(strangers))]
    w = np.r_[np.full(len(members), 0.5 / len(members)), np.full(len(strangers), 0.5 / len(strangers))]
    right = np.zeros((len(members), len(strangers)))
    for i in range(len(members)):
        for j in range(len(strangers)):
            keep = np.ones(len(y), bool)
            keep[[i, len(members) + j]] = False
            x = rows[keep]
            gram = x.T @ (w[keep, None] * x) + np.diag([*[RIDGE] * members.shape[1], 0])
            beta = np.linalg.solve(gram, x.T @ (w[keep] * y[keep]))
            right[i, j] = float(rows[i] @ beta > rows[len(members) + j] @ beta)
    return right


def test_it_is_a_fit_without_the_pair_for_every_pair():
    members, strangers = DRAW.normal(0.5, 1, (7, 3)), DRAW.normal(0, [1, 2, 30], (9, 3))
    right = by_fitting_every_time(members, strangers)
    found = pairs_apart(members, strangers)
    assert found.auc == pytest.approx(right.mean())
    np.testing.assert_allclose(found.member, right.mean(axis=1))
    np.testing.assert_allclose(found.stranger, right.mean(axis=0))


def test_nothing_to_tell_is_one_half_in_the_mean_and_not_less():
    found = [pairs_apart(DRAW.normal(size=(12, 5)), DRAW.normal(size=(30, 5))).auc for _ in range(200)]
    assert np.mean(found) == pytest.approx(0.5, abs=4 * np.std(found) / 200**0.5)
    assert pairs_apart(np.zeros((3, 2)), np.zeros((4, 2))).auc == 0.5


def test_what_lies_apart_is_told_on_either_side():
    one, other = np.arange(5.0)[:, None], np.arange(10.0, 16)[:, None]
    assert pairs_apart(one, other).auc == pairs_apart(other, one).auc == 1.0


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match="2 records"):
        pairs_apart(np.zeros((1, 2)), np.zeros((4, 2)))
    with pytest.raises(ValueError, match="features"):
        pairs_apart(np.zeros((3, 1)), np.zeros((4, 2)))
