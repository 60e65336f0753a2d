"""Multinomial naive Bayes that forgets is scikit-learn's on what remains."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import load_digits
from sklearn.naive_bayes import MultinomialNB

from expunge.estimators import ForgettingMultinomialNB

X, Y = load_digits(return_X_y=True)


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix, sparse.csr_array, sparse.csc_array])
@pytest.mark.parametrize("settings", [{}, {"alpha": 0.1, "fit_prior": False}, {"class_prior": np.full(10, 0.1)}])
def test_it_is_scikit_learns_on_what_remains(form, settings):
    gone = np.arange(0, len(X), 3)
    kept = np.setdiff1d(np.arange(len(X)), gone)
    made = ForgettingMultinomialNB(**settings).fit(form(X), Y).forget(gone)
    fresh = MultinomialNB(**settings).fit(X[kept], Y[kept])
    np.testing.assert_array_equal(made.feature_count_, fresh.feature_count_)
    np.testing.assert_allclose(made.feature_log_prob_, fresh.feature_log_prob_, rtol=1e-12)
    np.testing.assert_allclose(made.predict_log_proba(form(X)), fresh.predict_log_proba(X), rtol=1e-9, atol=1e-9)


def test_sparse_and_dense_rows_are_the_same_rows():
    weights = X / (1.0 + X.sum(axis=1, keepdims=True))  # as TF-IDF: not whole
    dense = ForgettingMultinomialNB(keep_rows=False).fit(weights, Y)
    mixed = ForgettingMultinomialNB(keep_rows=False).fit(sparse.csr_array(weights[:900]), Y[:900])
    mixed.partial_fit(weights[900:], Y[900:])
    assert dense.fingerprint() == mixed.fingerprint()
    dense.forget([3, 4], sparse.csr_array(weights[[3, 4]]), Y[[3, 4]])
    mixed.forget([3, 4], weights[[3, 4]], Y[[3, 4]])
    assert dense.fingerprint() == mixed.fingerprint()


def test_bad_settings_and_counts_are_refused():
    with pytest.raises(ValueError, match="alpha"):
        ForgettingMultinomialNB(alpha=0).fit(X, Y)
    with pytest.raises(ValueError, match="Negative"):
        ForgettingMultinomialNB().fit(-X, Y)
