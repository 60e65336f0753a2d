"""The forest for numbers: against scikit-learn's, fixed point, and its range."""

import numpy as np
import pytest
from sklearn.datasets import load_diabetes
from sklearn.ensemble import RandomForestRegressor
from sklearn.model_selection import train_test_split
from sklearn.tree import DecisionTreeRegressor

from expunge.estimators import ForgettingForestRegressor

ALL = {"n_estimators": 1, "trees_per_row": 1, "max_features": None, "cuts": 450, "min_samples_leaf": 1}


def test_with_all_columns_and_all_cuts_it_parts_rows_as_scikit_learns_tree_does():
    X, y = load_diabetes(return_X_y=True)
    for depth in (1, 2, 3):
        made = ForgettingForestRegressor(**ALL, max_depth=depth, random_state=0).fit(X, y)
        peer = DecisionTreeRegressor(max_depth=depth, random_state=0).fit(X, y)
        assert np.allclose(made.predict(X), peer.predict(X))


@pytest.mark.parametrize("offset", [0.0, 9e5, -9e5])
def test_a_large_offset_costs_no_precision(offset):
    X, y = load_diabetes(return_X_y=True)
    y = y / 1000
    made = ForgettingForestRegressor(**ALL, max_depth=3, resolution=2.0**-18, random_state=0).fit(X, y + offset)
    peer = DecisionTreeRegressor(max_depth=3, random_state=0).fit(X, y)
    assert np.allclose(made.predict(X) - offset, peer.predict(X), atol=1e-5)


def test_it_is_as_good_as_a_random_forest():
    X, y = load_diabetes(return_X_y=True)
    X, Z, y, z = train_test_split(X, y, test_size=0.4, random_state=0)
    made = ForgettingForestRegressor(trees_per_row=40, random_state=0).fit(X, y)
    peer = RandomForestRegressor(100, random_state=0).fit(X, y)
    assert made.score(Z, z) > peer.score(Z, z) - 0.03


def test_targets_are_rounded_to_the_resolution():
    X, y = np.arange(40.0)[:, None], np.full(40, 3.3)
    assert ForgettingForestRegressor(random_state=0).fit(X, y).predict(X)[0] == pytest.approx(3.3, abs=2.0**-21)
    coarse = ForgettingForestRegressor(resolution=0.5, random_state=0).fit(X, y)
    assert coarse.predict(X)[0] == pytest.approx(3.5, abs=1e-12)


def test_targets_out_of_range_are_refused_with_the_range():
    X, y = np.arange(40.0)[:, None], np.full(40, 2e6)
    with pytest.raises(ValueError, match=r"1\.04858e"):
        ForgettingForestRegressor(random_state=0).fit(X, y)
    made = ForgettingForestRegressor(resolution=2.0**-10, random_state=0).fit(X, -y)
    assert made.predict(X)[0] == pytest.approx(-2e6)
    with pytest.raises(ValueError, match="resolution"):
        ForgettingForestRegressor(resolution=0).fit(X, y)
