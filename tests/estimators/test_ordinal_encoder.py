import numpy as np
import pytest
from sklearn.preprocessing import OrdinalEncoder

from expunge.estimators import ForgettingOrdinalEncoder
from tests.support.tables import adult, frame

ROWS = np.array([["oak", 1], ["ash", 2], ["oak", 2], ["elm", 9]], dtype=object)


def test_on_adult_it_is_scikit_learns_and_after_forgetting_too():
    _, X, _ = adult(3000)
    made = ForgettingOrdinalEncoder().fit(X)
    assert np.array_equal(made.transform(X), OrdinalEncoder().fit_transform(X))
    gone = [i for i in range(len(X)) if X[i, 7] not in ("United-States", "Mexico")][:200]
    kept = np.setdiff1d(np.arange(len(X)), gone)
    made.forget(gone)
    assert np.array_equal(made.transform(X[kept]), OrdinalEncoder().fit_transform(X[kept]))


def test_numbers_close_up_behind_a_category_that_is_gone():  # P-11
    made = ForgettingOrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1).fit(ROWS)
    assert made.transform(ROWS)[:, 0].tolist() == [2, 0, 2, 1]
    assert made.forget([3]).transform(ROWS)[:, 0].tolist() == [1, 0, 1, -1]
    assert made.partial_fit([["elm", 9]]).transform(ROWS)[:, 0].tolist() == [2, 0, 2, 1]


@pytest.mark.parametrize("settings", [{"encoded_missing_value": -7}, {"min_frequency": 3}, {"dtype": np.float32}])
def test_every_setting_means_what_it_means_there(settings):
    draw = np.random.default_rng(0)
    X = np.stack([draw.choice(["a", "b", "b", "c", None], 40), draw.choice([1.0, 2.0, 3.0], 40)], axis=1)
    gone = draw.permutation(40)[:20]
    kept = np.setdiff1d(np.arange(40), gone)
    made, plain = ForgettingOrdinalEncoder(**settings).fit(X).forget(gone), OrdinalEncoder(**settings).fit(X[kept])
    assert np.array_equal(made.transform(X[kept]), plain.transform(X[kept]), equal_nan=True)
    assert made.transform(X[kept]).dtype == plain.transform(X[kept]).dtype


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_frames_come_in_and_go_out(kind):
    X = frame(kind, ROWS)
    made = ForgettingOrdinalEncoder().set_output(transform=kind).fit(X).forget([3])
    out = made.transform(X[:3])
    assert list(out.columns) == ["a", "b"]
    assert np.array_equal(np.asarray(out), [[1, 0], [0, 1], [1, 1]])
    assert np.array_equal(np.asarray(made.inverse_transform(np.asarray(out))), ROWS[:3])
