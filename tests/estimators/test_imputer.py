import warnings

import numpy as np
import pytest
from sklearn.impute import SimpleImputer

from expunge.estimators import ForgettingImputer
from tests.support.tables import adult, frame


@pytest.mark.parametrize("strategy", ["mean", "median", "most_frequent", "constant"])
@pytest.mark.parametrize("indicator", [False, True])
def test_with_holes_in_adult_it_is_scikit_learns_and_after_forgetting_too(strategy, indicator):
    X, _, _ = adult(1500)
    X = X.copy()
    X[np.random.default_rng(0).random(X.shape) < 0.2] = np.nan
    X[1:, 3] = np.nan  # one value, of a row that is forgotten
    X[0, 3] = 8.0
    X[1:, 4] = 5.0  # one hole, of a row that is forgotten
    X[0, 4] = np.nan
    made = ForgettingImputer(strategy=strategy, add_indicator=indicator).fit(X).forget(range(500))
    plain = SimpleImputer(strategy=strategy, add_indicator=indicator).fit(X[500:])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the column that has no value
        out, expected = made.transform(X[500:]), plain.transform(X[500:])
    assert out.shape == expected.shape  # P-11
    assert np.allclose(out, expected, rtol=1e-12)
    assert np.allclose(made.statistics_.astype(float), plain.statistics_.astype(float), equal_nan=True, rtol=1e-12)


@pytest.mark.parametrize("strategy", ["most_frequent", "constant"])
def test_texts_are_filled_in_too(strategy):
    _, X, _ = adult(1000)
    made = ForgettingImputer(strategy=strategy, missing_values="?").fit(X).forget(range(200))
    plain = SimpleImputer(strategy=strategy, missing_values="?").fit(X[200:])
    assert (made.transform(X) == plain.transform(X)).all()
    assert not (made.transform(X) == "?").any()


@pytest.mark.parametrize(
    "settings",
    [
        {"missing_values": -1, "strategy": "mean"},
        {"missing_values": -1, "strategy": "median"},
        {"missing_values": -1, "strategy": "most_frequent"},
        {"missing_values": -1, "strategy": "constant", "fill_value": 7},
        {"missing_values": -1, "strategy": "mean", "keep_empty_features": True},
    ],
)
def test_every_setting_means_what_it_means_there(settings):
    X = np.array([[-1, 2, -1], [4, -1, -1], [4, 2, -1], [9, 9, 3]])
    made, plain = ForgettingImputer(**settings).fit(X).forget([3]), SimpleImputer(**settings).fit(X[:3])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert np.array_equal(made.transform(X), plain.transform(X))
        assert made.transform(X).dtype == plain.transform(X).dtype


def test_of_as_frequent_values_the_smallest_whatever_came_first():
    X = np.array([["b"], ["a"], ["a"], ["b"], ["c"], ["c"], ["c"]], dtype=object)
    made = ForgettingImputer(strategy="most_frequent").fit(X)
    assert made.statistics_.tolist() == ["c"]
    assert made.forget([4, 5]).statistics_.tolist() == ["a"]


def test_what_is_refused_changes_nothing():
    made = ForgettingImputer().fit([[1.0], [np.nan]])
    before = made.fingerprint()
    for bad in ([["text"]], [[np.inf]], [[1.0, 2.0]]):
        with pytest.raises(ValueError, match=r"text where numbers|infinity|features"):
            made.partial_fit(bad)
    assert made.fingerprint() == before
    with pytest.raises(ValueError, match="strategy"):
        ForgettingImputer(strategy=np.mean).fit([[1.0]])


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_frames_come_in_and_go_out(kind):
    X = np.array([[1.0, 5.0], [np.nan, 7.0], [8.0, 9.0]])
    made = ForgettingImputer(add_indicator=True).set_output(transform=kind).fit(frame(kind, X)).forget([2])
    out = made.transform(frame(kind, X[:2]))
    assert list(out.columns) == ["a", "b", "missingindicator_a"]
    assert np.array_equal(np.asarray(out, dtype=float), [[1, 5, 0], [1, 7, 1]])
