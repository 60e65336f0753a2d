from fractions import Fraction

import numpy as np
import pytest
import sklearn
from sklearn.datasets import load_breast_cancer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from expunge.core.errors import UsageError
from expunge.estimators import ForgettingStandardScaler
from tests.support.tables import adult, frame


def test_on_adult_it_is_scikit_learns_and_after_forgetting_too():
    X, _, _ = adult(4000)
    made = ForgettingStandardScaler().fit(X)
    assert np.allclose(made.transform(X), StandardScaler().fit_transform(X), rtol=1e-11, atol=1e-11)
    made.forget(range(0, 4000, 3))
    kept = np.setdiff1d(np.arange(4000), np.arange(0, 4000, 3))
    assert np.allclose(made.transform(X), StandardScaler().fit(X[kept]).transform(X), rtol=1e-11, atol=1e-11)


def test_moments_are_those_of_exact_fractions():
    X = load_breast_cancer().data[:80, :6] + 1e6  # a mean a million times the deviation: floats would cancel
    made = ForgettingStandardScaler().fit(X).forget(range(50))
    for j in range(X.shape[1]):
        values = [Fraction(v) for v in X[50:, j]]
        mean = sum(values) / len(values)
        assert made.mean_[j] == pytest.approx(float(mean), rel=1e-15)
        assert made.var_[j] == pytest.approx(float(sum((v - mean) ** 2 for v in values) / len(values)), rel=1e-6)


def test_ten_thousand_changes_leave_the_bits_of_a_fresh_fit_where_floats_would_not():  # P-12, P-14
    draw = np.random.default_rng(0)
    X = draw.normal(size=(500, 3)) * [1e-9, 1.0, 1e12]
    made, held = ForgettingStandardScaler().fit(X, sample_ids=range(500)), set(range(500))
    running = X.sum(0)
    for _ in range(100):
        gone = draw.permutation(sorted(held))[:100].tolist()
        made.forget(gone)
        made.partial_fit(X[gone[:90]], sample_ids=gone[:90])
        running = running - X[gone].sum(0) + X[gone[:90]].sum(0)
        held -= set(gone[90:])
        if len(held) < 200:
            back = [i for i in range(500) if i not in held]
            made.partial_fit(X[back], sample_ids=back)
            running, held = running + X[back].sum(0), set(range(500))
    kept = sorted(held)
    fresh = ForgettingStandardScaler().fit(X[kept], sample_ids=kept)
    assert made.fingerprint() == fresh.fingerprint()
    assert made.mean_.tobytes() == fresh.mean_.tobytes()
    assert made.scale_.tobytes() == fresh.scale_.tobytes()
    assert (running != X[kept].sum(0)).any()


def test_the_grid_follows_the_largest_value_that_is_held():
    X = np.array([[1e-3], [2e-3], [1e300]])
    made = ForgettingStandardScaler().fit(X).forget([2])
    assert made.mean_[0] == pytest.approx(1.5e-3, rel=1e-14)
    assert made.fingerprint() == ForgettingStandardScaler().fit(X[:2]).fingerprint()


def test_the_smallest_and_largest_numbers_fit():
    X = np.array([[5e-324, 1.7e308], [1e-323, -1.7e308]])
    with np.errstate(over="ignore"):
        made = ForgettingStandardScaler(with_std=False).fit(X)
    assert made.mean_.tolist() == [1e-323, 0.0]


def test_a_constant_column_becomes_zero_whatever_its_value():
    for value in (0.1, 1 / 3, 12345.678901234567):
        assert not ForgettingStandardScaler().fit_transform(np.full((7, 1), value)).any()


def test_missing_and_constant_columns():
    X = np.array([[1.0, np.nan, 7.0], [3.0, 2.0, 7.0], [np.nan, 4.0, 7.0]])
    made, plain = ForgettingStandardScaler().fit(X), StandardScaler().fit(X)
    for name in ("mean_", "var_", "n_samples_seen_"):
        assert np.allclose(getattr(made, name), getattr(plain, name)), name
    assert made.scale_[2] == 1.0
    assert np.allclose(made.transform(X), plain.transform(X), equal_nan=True)
    assert made.forget([0]).mean_.tolist() == [3.0, 3.0, 7.0]
    assert made.forget([1]).n_samples_seen_.tolist() == [0, 1, 1]
    assert np.isnan(made.mean_[0])


@pytest.mark.parametrize("settings", [{"with_mean": False}, {"with_std": False}])
def test_every_setting_means_what_it_means_there(settings):
    X = load_breast_cancer().data[:60]
    made, plain = ForgettingStandardScaler(**settings).fit(X), StandardScaler(**settings).fit(X)
    assert np.allclose(made.transform(X), plain.transform(X), rtol=1e-12)
    assert np.allclose(made.inverse_transform(made.transform(X)), X)


def test_infinite_values_are_refused_and_change_nothing():
    made = ForgettingStandardScaler().fit([[1.0], [2.0]])
    before = made.fingerprint()
    with pytest.raises(ValueError, match="infinity"):
        made.partial_fit([[np.inf]])
    assert made.fingerprint() == before


def test_more_rows_than_the_sums_hold_are_refused(monkeypatch):  # P-13
    monkeypatch.setattr("expunge.numerics.fixed_point.MOST_ROWS", 3)
    with pytest.raises(UsageError, match="more rows"):
        ForgettingStandardScaler().fit(np.ones((4, 1)))


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_frames_come_in_and_go_out(kind):
    X = np.array([[1.0, 5.0], [3.0, 5.0], [8.0, 9.0]])
    made = ForgettingStandardScaler().set_output(transform=kind).fit(frame(kind, X)).forget([2])
    out = made.transform(frame(kind, X[:2]))
    assert list(out.columns) == ["a", "b"]
    assert np.array_equal(np.asarray(out), [[-1, 0], [1, 0]])


def test_ids_are_routed_through_a_plain_pipeline():
    X = np.array([[1.0], [3.0], [8.0]])
    with sklearn.config_context(enable_metadata_routing=True):
        scaler = ForgettingStandardScaler().set_fit_request(sample_ids=True)
        made = make_pipeline(scaler).fit(X, sample_ids=["p", "q", "r"])
        again = make_pipeline(sklearn.base.clone(scaler), StandardScaler()).fit(X, sample_ids=["p", "q", "r"])
    assert made[0].forget(["r"]).mean_.tolist() == [2.0]
    assert again[0].forget(["r"]).mean_.tolist() == [2.0]
