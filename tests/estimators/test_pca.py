"""Principal components that forget are scikit-learn's on what remains."""

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.decomposition import PCA

from expunge.estimators import ForgettingPCA


@pytest.mark.parametrize("load", [load_breast_cancer, load_wine, load_digits])
@pytest.mark.parametrize("settings", [{"n_components": 5}, {"n_components": 0.95}, {"n_components": 3, "whiten": True}])
def test_they_are_scikit_learns_on_what_remains(load, settings):
    X, _ = load(return_X_y=True)
    gone = np.arange(0, len(X), 3)
    kept = np.setdiff1d(np.arange(len(X)), gone)
    made = ForgettingPCA(**settings).fit(X).forget(gone)
    fresh = PCA(**settings, svd_solver="full").fit(X[kept])
    assert made.n_components_ == fresh.n_components_
    np.testing.assert_allclose(made.mean_, fresh.mean_, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(made.explained_variance_, fresh.explained_variance_, rtol=1e-7)
    np.testing.assert_allclose(made.singular_values_, fresh.singular_values_, rtol=1e-7)
    np.testing.assert_allclose(made.noise_variance_, fresh.noise_variance_, rtol=1e-5)
    np.testing.assert_allclose(made.components_, fresh.components_, atol=1e-6)
    np.testing.assert_allclose(made.transform(X), fresh.transform(X), rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(
        made.inverse_transform(made.transform(X)), fresh.inverse_transform(fresh.transform(X)), atol=1e-3
    )


def test_there_are_never_more_components_than_rows():
    X, _ = load_wine(return_X_y=True)
    assert ForgettingPCA().fit(X).n_components_ == 13
    few = ForgettingPCA(n_components=6).fit(X).forget(range(4, len(X)))
    assert few.n_components_ == 4
    assert few.transform(X).shape == (len(X), 4)
    assert few.fingerprint() == ForgettingPCA(n_components=6).fit(X[:4]).fingerprint()


def test_it_gives_frames_and_refuses_bad_settings():
    X, _ = load_wine(return_X_y=True, as_frame=True)
    made = ForgettingPCA(n_components=2).set_output(transform="pandas")
    assert list(made.fit_transform(X, sample_ids=[f"row {i}" for i in range(len(X))]).columns) == [
        "forgettingpca0",
        "forgettingpca1",
    ]
    made.forget(["row 3"])
    for wrong in (0, 14, 2.5, -0.5, "mle", True):
        with pytest.raises(ValueError, match="n_components"):
            ForgettingPCA(n_components=wrong).fit(X)
