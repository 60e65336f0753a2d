"""Gaussian naive Bayes that forgets is scikit-learn's on what remains."""

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.naive_bayes import GaussianNB

from expunge.estimators import ForgettingGaussianNB


@pytest.mark.parametrize("load", [load_breast_cancer, load_wine, load_digits])
def test_it_is_scikit_learns_on_what_remains(load):
    X, y = load(return_X_y=True)
    gone = np.arange(0, len(X), 3)
    kept = np.setdiff1d(np.arange(len(X)), gone)
    made = ForgettingGaussianNB().fit(X, y).forget(gone)
    fresh = GaussianNB().fit(X[kept], y[kept])
    np.testing.assert_allclose(made.theta_, fresh.theta_, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(made.var_, fresh.var_, rtol=1e-5)  # of what 24 bits after the point can tell
    np.testing.assert_allclose(made.class_prior_, fresh.class_prior_)
    np.testing.assert_array_equal(made.predict(X), fresh.predict(X))
    ForgettingGaussianNB(priors=[1 / len(fresh.classes_)] * len(fresh.classes_)).fit(X, y)


def test_a_variance_far_below_the_mean_is_exact():
    """Where the mean is 10^6 times the deviation, float sums of squares have no digit of the variance left."""
    X = 1e6 + np.random.default_rng(0).integers(-8, 9, size=(400, 1)) / 8
    y = np.arange(400) % 2
    made = ForgettingGaussianNB(var_smoothing=0).fit(X, y).forget(range(100))
    expected = [np.var(X[100:][y[100:] == c] - 1e6) for c in (0, 1)]
    np.testing.assert_allclose(made.var_[:, 0], expected, rtol=1e-14)


def test_given_priors_are_used():
    X, y = load_wine(return_X_y=True)
    priors = [0.2, 0.5, 0.3]
    made, fresh = (cls(priors=priors).fit(X, y) for cls in (ForgettingGaussianNB, GaussianNB))
    np.testing.assert_allclose(made.predict_proba(X), fresh.predict_proba(X), rtol=1e-3, atol=1e-9)
    with pytest.raises(ValueError, match="priors"):
        ForgettingGaussianNB(priors=[0.5, 0.5]).fit(X, y)
    with pytest.raises(ValueError, match="var_smoothing"):
        ForgettingGaussianNB(var_smoothing=-1).fit(X, y)
