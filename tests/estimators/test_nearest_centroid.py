"""Nearest centroid that forgets is scikit-learn's on what remains."""

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.neighbors import NearestCentroid

from expunge.estimators import ForgettingNearestCentroid


@pytest.mark.parametrize("load", [load_breast_cancer, load_wine])
@pytest.mark.parametrize("settings", [{}, {"shrink_threshold": 0.5}, {"priors": "empirical"}])
def test_it_is_scikit_learns_on_what_remains(load, settings):
    X, y = load(return_X_y=True)
    gone = np.arange(0, len(X), 3)
    kept = np.setdiff1d(np.arange(len(X)), gone)
    made = ForgettingNearestCentroid(**settings).fit(X, y).forget(gone)
    fresh = NearestCentroid(**settings).fit(X[kept], y[kept])
    np.testing.assert_allclose(made.centroids_, fresh.centroids_, rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(made.within_class_std_dev_, fresh.within_class_std_dev_, rtol=1e-5)
    np.testing.assert_allclose(made.deviations_, fresh.deviations_, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(made.predict(X), fresh.predict(X))
    np.testing.assert_allclose(made.predict_proba(X), fresh.predict_proba(X), atol=1e-4)


def test_given_priors_and_bad_settings():
    X, y = load_wine(return_X_y=True)
    made, fresh = (cls(priors=[0.9, 0.05, 0.05]).fit(X, y) for cls in (ForgettingNearestCentroid, NearestCentroid))
    np.testing.assert_array_equal(made.predict(X), fresh.predict(X))
    for wrong in ({"priors": "equal"}, {"priors": [0.5, 0.5]}, {"shrink_threshold": -1.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            ForgettingNearestCentroid(**wrong).fit(X, y)
