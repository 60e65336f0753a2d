import numpy as np
import pytest
from sklearn.datasets import load_diabetes
from sklearn.neighbors import KNeighborsRegressor

from expunge.estimators import ForgettingKNeighborsRegressor


@pytest.mark.parametrize("weights", ["uniform", "distance"])
def test_on_real_rows_it_is_scikit_learns_and_after_forgetting_too(weights):
    X, y = load_diabetes(return_X_y=True)
    made = ForgettingKNeighborsRegressor(4, weights=weights).fit(X[:300], y[:300]).forget(range(50, 150))
    kept = np.r_[:50, 150:300]
    plain = KNeighborsRegressor(4, weights=weights).fit(X[kept], y[kept])
    assert np.allclose(made.predict(X), plain.predict(X))
    assert made.score(X[300:], y[300:]) == pytest.approx(plain.score(X[300:], y[300:]))


def test_rows_at_no_distance_are_the_answer():
    made = ForgettingKNeighborsRegressor(3, weights="distance").fit([[0.0], [0.0], [1.0]], [1.0, 3.0, 9.0])
    assert made.predict([[0.0]]).tolist() == [2.0]


def test_values_that_are_no_numbers_are_refused():
    with pytest.raises(ValueError, match="NaN"):
        ForgettingKNeighborsRegressor(1).fit([[0.0], [1.0]], [0.0, np.nan])
