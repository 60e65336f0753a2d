"""Bernoulli naive Bayes that forgets is scikit-learn's on what remains."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import load_digits
from sklearn.naive_bayes import BernoulliNB

from expunge.estimators import ForgettingBernoulliNB

X, Y = load_digits(return_X_y=True)


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize("settings", [{}, {"binarize": 7.0, "alpha": 0.5}, {"fit_prior": False}])
def test_it_is_scikit_learns_on_what_remains(form, settings):
    gone = np.arange(0, len(X), 3)
    kept = np.setdiff1d(np.arange(len(X)), gone)
    made = ForgettingBernoulliNB(**settings).fit(form(X), Y).forget(gone)
    fresh = BernoulliNB(**settings).fit(X[kept], Y[kept])
    np.testing.assert_array_equal(made.feature_count_, fresh.feature_count_)
    np.testing.assert_allclose(made.predict_log_proba(form(X)), fresh.predict_log_proba(X), rtol=1e-9, atol=1e-9)


def test_columns_that_are_binary_already():
    B = (X > 7).astype(float)
    made, fresh = (cls(binarize=None).fit(B, Y) for cls in (ForgettingBernoulliNB, BernoulliNB))
    np.testing.assert_allclose(made.feature_log_prob_, fresh.feature_log_prob_, rtol=1e-12)
    with pytest.raises(ValueError, match="binarize"):
        ForgettingBernoulliNB(binarize=None).fit(X, Y)
    with pytest.raises(ValueError, match="binarize"):
        ForgettingBernoulliNB(binarize=-1.0).fit(X, Y)
