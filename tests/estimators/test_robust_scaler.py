import numpy as np
import pytest
from sklearn.preprocessing import RobustScaler

from expunge.estimators import ForgettingRobustScaler
from tests.support.tables import adult, frame


def test_on_adult_it_is_scikit_learns_and_after_forgetting_too():
    X, _, _ = adult(3000)
    made = ForgettingRobustScaler().fit(X).forget(range(0, 3000, 7))
    kept = np.setdiff1d(np.arange(3000), np.arange(0, 3000, 7))
    plain = RobustScaler().fit(X[kept])
    assert np.allclose(made.center_, plain.center_, rtol=1e-14)
    assert np.allclose(made.scale_, plain.scale_, rtol=1e-14)
    assert np.allclose(made.transform(X), plain.transform(X), rtol=1e-13)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 10, 101])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"quantile_range": (10.0, 83.0), "unit_variance": True},
        {"with_centering": False},
        {"with_scaling": False},
        {"quantile_range": (0.0, 100.0)},
    ],
)
def test_quantiles_are_those_of_numpy(n, settings):
    X = np.random.default_rng(n).normal(size=(n, 2)).round(1)
    made, plain = ForgettingRobustScaler(**settings).fit(X), RobustScaler(**settings).fit(X)
    assert np.allclose(made.transform(X), plain.transform(X), rtol=1e-13, atol=1e-13)


def test_an_extreme_that_is_forgotten_is_gone():  # P-11
    X = np.array([[1.0], [2.0], [3.0], [1e9]])
    made = ForgettingRobustScaler(quantile_range=(0.0, 100.0)).fit(X).forget([3])
    assert made.center_.tolist() == [2.0]
    assert made.scale_.tolist() == [2.0]


def test_ten_thousand_changes_leave_the_bits_of_a_fresh_fit():  # P-12, with many equal values
    draw = np.random.default_rng(0)
    X = draw.integers(-5, 5, size=(300, 2)) * 0.1
    X[draw.random(X.shape) < 0.1] = np.nan
    made = ForgettingRobustScaler().fit(X)
    for _ in range(100):
        gone = draw.permutation(300)[:100].tolist()
        made.forget(gone)
        made.partial_fit(X[gone], sample_ids=gone)
    made.forget(range(150))
    fresh = ForgettingRobustScaler().fit(X[150:], sample_ids=range(150, 300))
    assert made.fingerprint() == fresh.fingerprint()
    assert made.center_.tobytes() == fresh.center_.tobytes()


def test_missing_constant_and_signed_zero_columns():
    X = np.array([[np.nan, 4.0, -0.0], [1.0, 4.0, 0.0], [3.0, 4.0, 0.0]])
    made, plain = ForgettingRobustScaler().fit(X), RobustScaler().fit(X)
    assert np.allclose(made.transform(X), plain.transform(X), equal_nan=True)
    assert made.scale_[1] == 1.0
    assert made.forget([2]).fingerprint() == ForgettingRobustScaler().fit(X[:2]).fingerprint()
    with pytest.raises(ValueError, match="infinity"):
        made.partial_fit([[np.inf, 0.0, 0.0]])
    with pytest.raises(ValueError, match="quantile range"):
        ForgettingRobustScaler(quantile_range=(80, 20)).fit(X)


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_frames_come_in_and_go_out(kind):
    X = np.array([[1.0, 5.0], [3.0, 5.0], [8.0, 9.0]])
    made = ForgettingRobustScaler().set_output(transform=kind).fit(frame(kind, X)).forget([2])
    out = made.transform(frame(kind, X[:2]))
    assert list(out.columns) == ["a", "b"]
    assert np.array_equal(np.asarray(out), [[-1, 0], [1, 0]])
