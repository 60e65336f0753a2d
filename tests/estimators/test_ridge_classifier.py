"""The ridge classifier that forgets is scikit-learn's on what remains."""

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from expunge.estimators import ForgettingRidgeClassifier


@pytest.mark.parametrize("load", [load_breast_cancer, load_wine, load_digits])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_it_is_scikit_learns_on_what_remains(load, fit_intercept):
    X, y = load(return_X_y=True)
    gone = np.arange(0, len(X), 3)
    kept = np.setdiff1d(np.arange(len(X)), gone)
    made = ForgettingRidgeClassifier(fit_intercept=fit_intercept).fit(X, y).forget(gone)
    fresh = RidgeClassifier(fit_intercept=fit_intercept, solver="cholesky").fit(X[kept], y[kept])
    np.testing.assert_allclose(made.coef_, np.atleast_2d(fresh.coef_), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(made.intercept_, fresh.intercept_, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(made.decision_function(X), fresh.decision_function(X), atol=1e-5)
    np.testing.assert_array_equal(made.predict(X), fresh.predict(X))


@pytest.mark.parametrize("classes", [2, 3])
def test_one_by_one_it_is_the_same(classes, monkeypatch):
    X, y = load_wine(return_X_y=True)
    X, y = (X - X.mean(0)) / X.std(0), np.minimum(y, classes - 1)
    made = ForgettingRidgeClassifier(standardize=True).fit(X, y)
    solutions = []
    solve = ForgettingRidgeClassifier._solve
    monkeypatch.setattr(ForgettingRidgeClassifier, "_solve", lambda self: (solutions.append(1), solve(self))[1])
    for name in range(0, 178, 2):
        made.forget([name])
    assert len(solutions) < 60, "rows change the solution that there is"
    fresh = make_pipeline(StandardScaler(), RidgeClassifier(solver="cholesky")).fit(X[1::2], y[1::2])
    np.testing.assert_allclose(made.decision_function(X), fresh.decision_function(X), atol=1e-6)
    again = ForgettingRidgeClassifier(standardize=True).fit(X[1::2], y[1::2], sample_ids=range(1, 178, 2))
    assert made.fingerprint() == again.fingerprint()
    np.testing.assert_allclose(made.coef_, again.coef_, rtol=1e-9, atol=1e-11)


def test_classes_come_and_go():
    X, y = load_wine(return_X_y=True)
    made = ForgettingRidgeClassifier().fit(X[y < 2], y[y < 2])
    assert made.coef_.shape == (1, 13)
    made.partial_fit(X[y == 2], y[y == 2])
    assert made.coef_.shape == (3, 13)
    np.testing.assert_allclose(made.coef_, RidgeClassifier(solver="cholesky").fit(X, y).coef_, rtol=1e-4, atol=1e-7)
    made.forget(range(59))
    assert list(made.classes_) == [1, 2]
    made.forget(range(59, 130))
    assert set(made.predict(X)) == {2}


def test_bad_settings_are_refused():
    X, y = load_wine(return_X_y=True)
    for wrong in ({"alpha": -1.0}, {"standardize": True, "fit_intercept": False}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            ForgettingRidgeClassifier(**wrong).fit(X, y)
