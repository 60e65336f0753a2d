import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.preprocessing import OneHotEncoder

from expunge.estimators import ForgettingOneHotEncoder
from tests.support.tables import adult, frame

ROWS = np.array([["oak", 1], ["ash", 2], ["oak", 2], ["elm", 9]], dtype=object)


def test_on_adult_it_is_scikit_learns_and_after_forgetting_too():
    _, X, _ = adult(3000)
    made = ForgettingOneHotEncoder().fit(X)
    assert (made.transform(X) != OneHotEncoder().fit_transform(X)).nnz == 0
    gone = [i for i in range(len(X)) if X[i, 7] not in ("United-States", "Mexico")][:200] + list(range(700))
    kept = np.setdiff1d(np.arange(len(X)), gone)
    made.forget(gone)
    plain = OneHotEncoder().fit(X[kept])
    assert made.get_feature_names_out().tolist() == plain.get_feature_names_out().tolist()
    assert (made.transform(X[kept]) != plain.transform(X[kept])).nnz == 0


def test_a_category_of_forgotten_rows_alone_is_gone(tmp_path):  # P-11, P-04
    made = ForgettingOneHotEncoder(sparse_output=False).fit(ROWS).forget([3])
    assert [list(c) for c in made.categories_] == [["ash", "oak"], [1, 2]]
    assert made.transform(ROWS[:1]).shape == (1, 4)
    with pytest.raises(ValueError, match="unknown categories"):
        made.transform(ROWS[3:])
    assert "elm" not in repr([vars(column) for column in made._table.columns])
    made.save(tmp_path / "made.skops")
    assert b"elm" not in b"".join(contents(tmp_path / "made.skops"))


def contents(path):
    import zipfile

    with zipfile.ZipFile(path) as archive:
        return [archive.read(name) for name in archive.namelist()]


def test_all_rows_forgotten_leaves_no_category():
    made = ForgettingOneHotEncoder().fit(ROWS).forget(range(4))
    assert not hasattr(made, "categories_")
    with pytest.raises(NotFittedError):
        made.transform(ROWS)


@pytest.mark.parametrize(
    "settings",
    [
        {"drop": "first"},
        {"drop": "if_binary"},
        {"min_frequency": 3},
        {"min_frequency": 0.2, "handle_unknown": "infrequent_if_exist"},
        {"max_categories": 2},
        {"handle_unknown": "ignore", "dtype": np.float32},
    ],
)
def test_every_setting_means_what_it_means_there(settings):
    draw = np.random.default_rng(0)
    X = np.stack([draw.choice(list("aabbbcd"), 40), draw.choice(list("xy"), 40)], axis=1).astype(object)
    made, gone = ForgettingOneHotEncoder(**settings).fit(X), draw.permutation(40)[:25]
    made.forget(gone)
    kept = np.setdiff1d(np.arange(40), gone)
    plain = OneHotEncoder(**settings).fit(X[kept])
    assert made.get_feature_names_out().tolist() == plain.get_feature_names_out().tolist()
    assert (made.transform(X[kept]) != plain.transform(X[kept])).nnz == 0
    assert made.transform(X[kept]).dtype == plain.transform(X[kept]).dtype


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_frames_come_in_and_go_out(kind):
    X = frame(kind, ROWS)
    made = ForgettingOneHotEncoder(sparse_output=False).set_output(transform=kind).fit(X, sample_ids=list("pqrs"))
    made.forget(["s"])
    out = made.transform(X[:3])
    assert list(out.columns) == ["a_ash", "a_oak", "b_1", "b_2"]
    assert np.array_equal(np.asarray(out), [[0, 1, 1, 0], [1, 0, 0, 1], [0, 1, 0, 1]])
    assert clone(made).get_params() == made.get_params()


def test_missing_values_are_categories_at_the_end():
    X = np.array([["b", 2.0], [None, np.nan], [np.nan, 1.0], ["a", 1.0]], dtype=object)
    made = ForgettingOneHotEncoder().fit(X)
    plain = OneHotEncoder().fit(X)
    assert next(list(map(repr, c)) for c in made.categories_) == next(list(map(repr, c)) for c in plain.categories_)
    assert np.array_equal(made.transform(X).toarray(), plain.transform(X).toarray())
    assert made.forget([1, 2]).categories_[0].tolist() == ["a", "b"]


def test_types_are_those_of_the_columns():
    made = ForgettingOneHotEncoder().fit(np.array([[1.5, -0.0], [2.5, 0.0]]))
    assert [c.dtype.kind for c in made.categories_] == ["f", "f"]
    assert made.categories_[1].tolist() == [0.0]
    assert not np.signbit(made.categories_[1][0])  # which of the two came first is past
    assert ForgettingOneHotEncoder().fit(np.array([["a"], ["bcd"]])).forget([1]).categories_[0].dtype == "<U1"


@pytest.mark.parametrize(
    ("first", "more", "error"),
    [
        ([["a"]], [[3]], TypeError),
        ([[1]], [["a"]], TypeError),
        ([[1]], [[1.5]], ValueError),
        ([[1]], [[np.nan]], ValueError),
        ([[1.0]], [[np.inf]], ValueError),
        ([[True]], [[3]], TypeError),
    ],
)
def test_rows_of_another_kind_change_nothing(first, more, error):
    made = ForgettingOneHotEncoder().fit(np.array(first))
    before = made.fingerprint()
    with pytest.raises(error):
        made.partial_fit(np.array(more))
    assert made.fingerprint() == before
    assert made.what_remains_.rows == 1


def test_categories_given_by_hand_stay():
    made = ForgettingOneHotEncoder(categories=[["ash", "elm", "oak"], [1, 2, 9]]).fit(ROWS).forget([3])
    assert made.transform(ROWS).shape == (4, 6)
    with pytest.raises(ValueError, match="unknown categories"):
        made.partial_fit([["fir", 1]])
    assert made.what_remains_.rows == 3
