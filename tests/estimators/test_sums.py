"""What all estimators from integer sums promise beyond the contract cases: long histories, commitments, refusals."""

import traceback
import zipfile

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from expunge.core.errors import Refused, UsageError
from expunge.estimators import (
    ForgettingBernoulliNB,
    ForgettingCategoricalNB,
    ForgettingGaussianNB,
    ForgettingImputer,
    ForgettingLinearDiscriminant,
    ForgettingMultinomialNB,
    ForgettingNearestCentroid,
    ForgettingPCA,
    ForgettingRidge,
    ForgettingRidgeClassifier,
)
from expunge.estimators._sums import RowStore

ALL = (
    ForgettingBernoulliNB,
    ForgettingCategoricalNB,
    ForgettingGaussianNB,
    ForgettingLinearDiscriminant,
    ForgettingMultinomialNB,
    ForgettingNearestCentroid,
    ForgettingPCA,
    ForgettingRidge,
    ForgettingRidgeClassifier,
)
REAL = tuple(cls for cls in ALL if cls not in (ForgettingBernoulliNB, ForgettingCategoricalNB))
WITH_CLASSES = tuple(cls for cls in ALL if cls not in (ForgettingPCA, ForgettingRidge))
WITH_PRIORS = {
    ForgettingBernoulliNB: "class_prior",
    ForgettingCategoricalNB: "class_prior",
    ForgettingGaussianNB: "priors",
    ForgettingLinearDiscriminant: "priors",
    ForgettingMultinomialNB: "class_prior",
    ForgettingNearestCentroid: "priors",
}


def rows(cls, n, seed=0):
    """Return n rows that the class can learn from."""
    draw = np.random.default_rng(seed)
    if cls is ForgettingCategoricalNB:
        X = draw.integers(0, 4, size=(n, 3))
    elif cls in (ForgettingMultinomialNB, ForgettingBernoulliNB):
        X = np.maximum(draw.normal(size=(n, 3)), 0)
    else:
        X = draw.normal(size=(n, 3)) * [1.0, 30.0, 0.1] + [0.0, 1000.0, 5.0]
    y = draw.normal(size=n) if cls is ForgettingRidge else draw.integers(0, 3, size=n)
    return X, y


@pytest.mark.parametrize("cls", ALL)
def test_ten_thousand_inserts_and_deletes_leave_what_a_fresh_fit_has(cls):
    """P-12: bit for bit in the integers, which the fingerprint is of."""
    X, y = rows(cls, 6000)
    draw = np.random.default_rng(1)
    held, waiting, done = list(range(200)), list(range(200, 6000)), 0
    made = cls().fit(X[held], y[held], sample_ids=held)
    while done < 10_000:
        m = int(draw.choice([1, 2, 90, 250]))
        if waiting and (len(held) < 700 or draw.random() < 0.5):
            more, waiting = waiting[:m], waiting[m:]
            made.partial_fit(X[more], y[more], sample_ids=more)
            held += more
            done += len(more)
        else:
            draw.shuffle(held)
            gone, held = held[:m], held[m:]
            made.forget(gone)
            waiting += gone
            done += m
    order = draw.permutation(held)
    assert made.fingerprint() == cls().fit(X[order], y[order], sample_ids=order).fingerprint()
    assert made.what_remains_.rows == len(held)


# --- without the rows -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", ALL)
def test_without_rows_a_row_is_forgotten_against_its_commitment(cls):
    X, y = rows(cls, 80)
    made = cls(keep_rows=False).fit(X, y)
    assert "commitment" in made.what_remains_.holds
    assert "key" in made.what_remains_.notes[0]
    made.forget([5, 3, 70], X[[5, 3, 70]], y[[5, 3, 70]])
    made.forget([3, 8, 5, 8], X[[3, 8, 5, 8]], y[[3, 8, 5, 8]])  # two of them before, one twice
    kept = np.setdiff1d(np.arange(80), [3, 5, 8, 70])
    assert made.fingerprint() == cls(keep_rows=False).fit(X[kept], y[kept], sample_ids=kept).fingerprint()
    made.partial_fit(X[[3]], y[[3]], sample_ids=[3]).forget([3], X[[3]], y[[3]])


@pytest.mark.parametrize("keep_rows", [True, False])
@pytest.mark.parametrize("cls", ALL)
def test_a_row_that_was_not_learnt_is_refused(cls, keep_rows):
    """P-06: subtracting other values would leave sums that no set of rows has."""
    X, y = rows(cls, 80)
    made = cls(keep_rows=keep_rows).fit(X, y)
    before = made.fingerprint()
    other = X[[4, 6]].copy()
    other[1, 1] = other[1, 1] + 2.0**-20 if cls in REAL else 1 - (other[1, 1] > 0)
    wrong = [(other, y[[4, 6]]), (X[[6, 4]], y[[4, 6]])]
    if cls is not ForgettingPCA:
        wrong.append((X[[4, 6]], y[[4, 6]] + np.array([0, 1])))
    for given, target in wrong:
        with pytest.raises(Refused, match="position"):
            made.forget([4, 6], given, target)
        assert made.fingerprint() == before
        assert made.what_remains_.rows == 80
    with pytest.raises(UsageError, match="differ in number"):
        made.forget([4, 6], X[[4]], y[[4]])
    made.forget([4, 6], X[[4, 6]], y[[4, 6]])
    assert made.what_remains_.rows == 78


@pytest.mark.parametrize("cls", ALL)
def test_without_rows_ids_alone_are_refused(cls):
    X, y = rows(cls, 30)
    made = cls(keep_rows=False).fit(X, y)
    with pytest.raises(UsageError, match="the rows are needed"):
        made.forget([1])
    made.forget([1], X[[1]], y[[1]])
    made.forget([1])  # before: nothing is needed


@pytest.mark.parametrize("cls", [ForgettingRidge, ForgettingMultinomialNB])
def test_commitments_are_saved_with_their_key(cls, tmp_path):
    X, y = rows(cls, 30)
    made = cls(keep_rows=False).fit(X, y)
    made.save(tmp_path / "made.skops")
    opened = cls.load(tmp_path / "made.skops").forget([1, 2], X[1:3], y[1:3])
    assert opened.fingerprint() == made.forget([1, 2], X[1:3], y[1:3]).fingerprint()


def test_a_commitment_cannot_be_tried_out_without_the_key():
    X, y = rows(ForgettingRidge, 10)
    one, other = (ForgettingRidge(keep_rows=False).fit(X, y) for _ in range(2))
    assert one.fingerprint() == other.fingerprint()
    assert (one._rows.take([0])["commitments"] != other._rows.take([0])["commitments"]).any()


@pytest.mark.parametrize("kind", [np.int32, np.float64, bool, str, object])
def test_targets_may_come_back_as_another_type(kind):
    X, y = rows(ForgettingGaussianNB, 30)
    y = (y > 0).astype(int)
    labels = y.astype(str) if kind in (str, object) else y
    made = ForgettingGaussianNB(keep_rows=False).fit(X, labels.astype(kind))
    if kind in (str, object):
        made.forget([1], X[[1]], [labels[1]])
    else:
        made.forget([1], X[[1]], labels[[1]].astype(kind))
    assert made.what_remains_.rows == 29


# --- nothing stays --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", ALL)
def test_no_value_of_a_forgotten_row_is_saved(cls, tmp_path):
    """P-04: neither in the rows, nor beyond their end where there is room to grow."""
    X, y = rows(cls, 50)
    value = 54_321 if cls is ForgettingCategoricalNB else 123456.7890625
    X[7, 1] = value
    made = cls().fit(X[:20], y[:20]).partial_fit(X[20:], y[20:])
    quantised = np.array([value if cls is ForgettingCategoricalNB else int(value * 2**24)]).tobytes()

    def saved():
        made.save(tmp_path / "made.skops")
        with zipfile.ZipFile(tmp_path / "made.skops") as archive:
            return b"".join(archive.read(name) for name in archive.namelist())

    if cls is not ForgettingBernoulliNB:  # it keeps what is on, not the value
        assert quantised in saved()
    made.forget([7])
    assert quantised not in saved()
    assert not any(
        quantised in values.tobytes() for values in made._rows._arrays.values() if isinstance(values, np.ndarray)
    )


@pytest.mark.parametrize("cls", WITH_CLASSES)
def test_the_name_of_a_forgotten_class_is_gone(cls, tmp_path):
    X, y = rows(cls, 40)
    y = np.array(["ant", "bee", "capercaillie"])[y]
    made = cls().fit(X, y).forget(np.flatnonzero(y == "capercaillie"))
    assert list(made.classes_) == ["ant", "bee"]
    assert set(made.predict(X)) <= {"ant", "bee"}
    made.save(tmp_path / "made.skops")
    with zipfile.ZipFile(tmp_path / "made.skops") as archive:
        content = b"".join(archive.read(name) for name in archive.namelist())
    assert "capercaillie".encode("utf-32-le") not in content
    assert b"capercaillie" not in content
    made.forget(np.flatnonzero(y == "ant"))
    assert set(made.predict(X)) == {"bee"}


@pytest.mark.parametrize("cls", ALL)
def test_without_rows_nothing_derived_is_left(cls):
    X, y = rows(cls, 30)
    made = cls().fit(X, y).forget(range(30))
    assert [name for name in vars(made) if name.endswith("_")] == ["n_features_in_"]


@pytest.mark.parametrize("form", ["dense", "sparse"])
def test_stored_rows_move_as_ids_do(form):
    from expunge.estimators._book import Book

    draw = np.random.default_rng(0)
    for _ in range(50):
        n = int(draw.integers(1, 12))
        values = draw.integers(1, 9, size=(n, 2))
        store, book = RowStore(), Book()
        for part in np.array_split(np.arange(n), 3):
            if len(part):
                store.append({"X": sparse.csr_array(values[part]) if form == "sparse" else values[part]})
                book.add(list(map(int, part)))
        places = np.sort(draw.choice(n, int(draw.integers(1, n + 1)), replace=False))
        store.drop(places)
        book.drop(places)
        left = store.take(np.arange(len(book)))["X"]
        np.testing.assert_array_equal(left.toarray() if form == "sparse" else left, values[book.ids])
        if form == "dense":
            assert not store._arrays["X"][len(book) :].any(), "what left is overwritten"


# --- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [cls for cls in REAL if cls is not ForgettingMultinomialNB])
def test_a_value_out_of_range_is_refused_by_column_and_nothing_changes(cls):
    X, y = rows(cls, 30)
    frame = pd.DataFrame(X, columns=["age", "income", "height"])
    made = cls().fit(frame, y)
    before = made.fingerprint()
    frame.loc[[2, 3], "income"] = 1e9
    with pytest.raises(UsageError, match="'income'") as caught:
        made.partial_fit(frame.iloc[:10], y[:10], sample_ids=range(100, 110))
    assert "2 of 10 rows" in str(caught.value)
    assert "2^26" in str(caught.value)
    assert made.fingerprint() == before
    assert made.what_remains_.rows == 30
    cls(bits=[24, 4, 24]).fit(frame, y)


def test_a_target_out_of_range_is_refused():
    X, y = rows(ForgettingRidge, 30)
    with pytest.raises(UsageError, match="y, column 0"):
        ForgettingRidge().fit(X, y * 1e9)
    ForgettingRidge(target_bits=10).fit(X, y * 1e9)


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
def test_counts_out_of_range_are_refused_by_column(form):
    X, y = rows(ForgettingMultinomialNB, 30)
    X[4, 2] = 1e9
    with pytest.raises(UsageError, match="column 2"):
        ForgettingMultinomialNB().fit(form(X), y)
    X[:, 2] = 1e-9
    with pytest.raises(UsageError, match="rounded to 0"):
        ForgettingMultinomialNB().fit(form(X), y)


@pytest.mark.parametrize("cls", WITH_PRIORS)
def test_a_class_with_a_given_prior_cannot_go_unnoticed(cls):
    """A prior for a class without rows is an error of a fresh fit too; the refused request changes nothing."""
    X, y = rows(cls, 40)
    made = cls(**{WITH_PRIORS[cls]: [0.5, 0.25, 0.25]}).fit(X, y)
    before = made.fingerprint()
    with pytest.raises(ValueError, match="prior"):
        made.forget(np.flatnonzero(y == 1))
    assert made.fingerprint() == before
    assert made.what_remains_.rows == 40
    made.forget(range(40))  # no rows at all need no priors


@pytest.mark.parametrize("cls", WITH_CLASSES)
def test_labels_of_another_type_are_refused(cls):
    X, y = rows(cls, 30)
    made = cls().fit(X, y)
    with pytest.raises(ValueError, match="another type"):
        made.partial_fit(X[:3], ["a", "b", "c"], sample_ids=[100, 101, 102])
    assert made.what_remains_.rows == 30


@pytest.mark.parametrize("cls", REAL)
def test_constant_columns_are_no_harm(cls):
    X, y = rows(cls, 30)
    X[:, 1] = 7.0
    made = cls().fit(np.abs(X), y)
    answer = made.transform(X) if cls is ForgettingPCA else made.predict(np.abs(X))
    assert np.isfinite(answer).all()
    constant = cls().fit(np.full((6, 3), 7.0), [0, 0, 1, 1, 1, 2])
    answer = constant.transform(X) if cls is ForgettingPCA else constant.predict(np.abs(X))
    assert np.isfinite(answer).all()


@pytest.mark.parametrize("cls", ALL)
def test_one_row_alone_is_no_harm(cls):
    X, y = rows(cls, 30)
    made = cls().fit(X, y).forget(range(29))
    answer = made.transform(X) if cls is ForgettingPCA else made.predict(X[29:])
    assert np.isfinite(answer).all()


@pytest.mark.parametrize("form", [np.array, lambda X, dtype: pd.DataFrame(X, columns=["a", "b"])])
@pytest.mark.parametrize("kind", [ForgettingGaussianNB, ForgettingImputer])
def test_an_error_quotes_no_cell(kind, form):
    X = form([["1.0", "2"], ["Erika Mustermann", "3"]], dtype=object)
    with pytest.raises(ValueError, match="text where numbers") as caught:
        kind().fit(X, [0, 1])
    assert "Erika" not in "".join(traceback.format_exception(caught.value))
    made = kind().fit(form([[1.0, 2.0], [3.0, 4.0]], dtype=float), [0, 1])
    with pytest.raises(ValueError, match="text where numbers") as caught:
        made.partial_fit(X, [0, 1], sample_ids=[7, 8])
    assert "Erika" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("ids", [None, 0.5, b"01"])
def test_what_is_no_list_of_ids_is_refused_by_its_type(ids):
    made = ForgettingGaussianNB().fit([[1.0], [2.0]], [0, 1])
    with pytest.raises(UsageError, match=type(ids).__name__):
        made.forget(ids)
    assert made.forget(np.int64(0)).sample_ids_ == (1,)


def test_labels_that_are_objects_are_saved_in_one_array(tmp_path):
    y = np.array(["".join(["group ", str(c)]) for c in np.arange(2_000) % 3], dtype=object)
    made = ForgettingGaussianNB().fit(np.arange(2_000.0)[:, None], y)
    made.save(tmp_path / "made")
    assert (tmp_path / "made").stat().st_size < 100 * 2_000
    again = ForgettingGaussianNB.load(tmp_path / "made")
    assert again.fingerprint() == made.fingerprint()
    assert again.forget([0, 1]).fingerprint() == made.forget([0, 1]).fingerprint()
