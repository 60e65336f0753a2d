"""Categorical naive Bayes that forgets is scikit-learn's on what remains, with the categories that remain."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.naive_bayes import CategoricalNB

from expunge.core.errors import UsageError
from expunge.estimators import ForgettingCategoricalNB

X, Y = (values.astype(int) for values in load_digits(return_X_y=True))


@pytest.mark.parametrize("settings", [{}, {"min_categories": 17, "alpha": 0.5}, {"fit_prior": False}])
def test_it_is_scikit_learns_on_what_remains(settings):
    gone = np.arange(0, len(X), 3)
    kept = np.setdiff1d(np.arange(len(X)), gone)
    made = ForgettingCategoricalNB(**settings).fit(X, Y).forget(gone)
    fresh = CategoricalNB(**settings).fit(X[kept], Y[kept])
    np.testing.assert_array_equal(made.n_categories_, fresh.n_categories_)
    for one, other in zip(made.feature_log_prob_, fresh.feature_log_prob_, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)
    np.testing.assert_allclose(made.predict_log_proba(X[kept]), fresh.predict_log_proba(X[kept]), rtol=1e-9, atol=1e-9)


def test_a_category_goes_with_its_last_row():
    """P-11: smoothing must not count a category that only forgotten rows had."""
    rows = np.array([[0, 1], [1, 0], [0, 2], [1, 5], [0, 1]])
    made = ForgettingCategoricalNB().fit(rows, [0, 1, 0, 1, 1])
    assert list(made.n_categories_) == [2, 6]
    made.forget([3])
    assert list(made.n_categories_) == [2, 3]
    assert made._sums.sums.shape == (2, 5)
    with pytest.raises(ValueError, match="column 1 has categories"):
        made.predict([[0, 5]])
    made.partial_fit([[4, 0]], [0])
    assert list(made.n_categories_) == [5, 3]
    assert ForgettingCategoricalNB(min_categories=6).fit(rows, [0, 1, 0, 1, 1]).forget([3]).predict([[0, 5]]).shape == (
        1,
    )


def test_bad_categories_are_refused():
    with pytest.raises(UsageError, match="column 1"):
        ForgettingCategoricalNB().fit([[0, 1], [0, 1 << 20]], [0, 1])
    with pytest.raises(ValueError, match="min_categories"):
        ForgettingCategoricalNB(min_categories=[3]).fit([[0, 1], [0, 1]], [0, 1])
    with pytest.raises(ValueError, match="min_categories"):
        ForgettingCategoricalNB(min_categories=2.5).fit([[0, 1], [0, 1]], [0, 1])
