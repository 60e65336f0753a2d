"""Linear discriminant analysis that forgets is scikit-learn's on what remains."""

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from expunge.estimators import ForgettingLinearDiscriminant


@pytest.mark.parametrize("load", [load_breast_cancer, load_wine, load_digits])
def test_it_is_scikit_learns_on_what_remains(load):
    X, y = load(return_X_y=True)
    gone = np.arange(0, len(X), 3)
    kept = np.setdiff1d(np.arange(len(X)), gone)
    made = ForgettingLinearDiscriminant().fit(X, y).forget(gone)
    fresh = LinearDiscriminantAnalysis().fit(X[kept], y[kept])
    np.testing.assert_allclose(made.decision_function(X), fresh.decision_function(X), rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(made.predict_proba(X), fresh.predict_proba(X), atol=1e-3)
    np.testing.assert_array_equal(made.predict(X), fresh.predict(X))
    np.testing.assert_allclose(made.explained_variance_ratio_, fresh.explained_variance_ratio_, rtol=1e-3)
    np.testing.assert_allclose(np.abs(made.transform(X)), np.abs(fresh.transform(X)), rtol=1e-2, atol=1e-2)


def test_more_bits_come_closer():
    """What is left between the two is the rounding to fixed point of columns near 0, not the solver."""
    X, y = load_breast_cancer(return_X_y=True)
    fresh = LinearDiscriminantAnalysis().fit(X, y).decision_function(X)
    apart = [
        np.abs(ForgettingLinearDiscriminant(bits=bits).fit(X, y).decision_function(X) - fresh).max()
        for bits in (16, 24, 36)
    ]
    assert apart[0] > 20 * apart[1] > 20 * apart[2]
    assert apart[2] < 1e-7


def test_priors_and_components():
    X, y = load_wine(return_X_y=True)
    settings = {"priors": [0.2, 0.5, 0.3], "n_components": 1}
    made, fresh = (cls(**settings).fit(X, y) for cls in (ForgettingLinearDiscriminant, LinearDiscriminantAnalysis))
    np.testing.assert_allclose(made.decision_function(X), fresh.decision_function(X), rtol=1e-4, atol=1e-4)
    assert made.transform(X).shape == (len(X), 1)
    assert list(made.get_feature_names_out()) == ["forgettinglineardiscriminant0"]
    two = ForgettingLinearDiscriminant(n_components=2).fit(X, y).forget(np.flatnonzero(y == 2))
    assert two.transform(X).shape == (len(X), 1), "two classes have one direction"
    for wrong in ({"tol": 0.0}, {"n_components": 0}, {"priors": [0.5, 0.5]}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            ForgettingLinearDiscriminant(**wrong).fit(X, y)
