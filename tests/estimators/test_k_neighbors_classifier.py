import zipfile

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.exceptions import NotFittedError
from sklearn.neighbors import KNeighborsClassifier

from expunge.estimators import ForgettingKNeighborsClassifier
from expunge.estimators import _neighbours as neighbours
from tests.support.tables import frame


@pytest.mark.parametrize("weights", ["uniform", "distance"])
@pytest.mark.parametrize(("metric", "p"), [("minkowski", 2), ("minkowski", 1), ("chebyshev", 2), ("cosine", 2)])
def test_on_real_rows_it_is_scikit_learns_and_after_forgetting_too(weights, metric, p):
    X, y = load_breast_cancer(return_X_y=True)
    settings = {"n_neighbors": 7, "weights": weights, "metric": metric, "p": p}
    made = ForgettingKNeighborsClassifier(**settings).fit(X[::2], y[::2]).forget(range(100))
    plain = KNeighborsClassifier(algorithm="brute", **settings).fit(X[::2][100:], y[::2][100:])
    found, places = made.kneighbors(X[1::2])
    expected, same = plain.kneighbors(X[1::2])
    assert np.allclose(found, expected, rtol=1e-6, atol=1e-7)
    assert (places == same).mean() > 0.99
    assert np.allclose(made.predict_proba(X[1::2]), plain.predict_proba(X[1::2]), atol=1e-6)
    assert np.array_equal(made.predict(X[1::2]), plain.predict(X[1::2]))
    assert list(made.sample_ids_) == list(range(100, len(X[::2])))


def test_digits_that_are_whole_numbers_have_whole_distances():
    X, y = load_digits(return_X_y=True)
    made = ForgettingKNeighborsClassifier(3).fit(X[:900], y[:900])
    distances, _ = made.kneighbors(X[900:1000])
    squares = ((X[900:1000, None] - X[:900]) ** 2).sum(2)
    assert np.array_equal(np.sort(squares, axis=1)[:, :3], np.rint(distances**2))
    assert np.array_equal(np.sqrt(np.sort(squares, axis=1)[:, :3]), distances)


def test_ties_do_not_know_the_order_of_rows():
    draw = np.random.default_rng(0)
    X, y = draw.integers(3, size=(60, 2)).astype(float), draw.integers(4, size=60)
    Q = draw.integers(3, size=(40, 2)).astype(float)
    ids = [f"{i:02d}" for i in draw.permutation(60)]
    made = ForgettingKNeighborsClassifier(5).fit(X, y, ids)
    order = draw.permutation(60)
    other = ForgettingKNeighborsClassifier(5).fit(X[order[:30]], y[order[:30]], [ids[i] for i in order[:30]])
    other.partial_fit(X[order[30:]], y[order[30:]], sample_ids=[ids[i] for i in order[30:]])
    assert np.array_equal(made.kneighbors(Q)[1], other.kneighbors(Q)[1])
    assert np.array_equal(made.predict_proba(Q), other.predict_proba(Q))
    distances, places = made.kneighbors(Q)
    same = distances[:, 1:] == distances[:, :-1]
    assert same.any()
    assert (places[:, 1:] > places[:, :-1])[same].all()  # places are in the order of ids


def test_forgotten_rows_are_in_no_memory_and_no_file(tmp_path):  # P-05
    X = np.random.default_rng(0).normal(size=(50, 3))
    X[7] = [3.14159265358979, 2.71828182845904, 1.41421356237309]
    made = ForgettingKNeighborsClassifier().fit(X, np.arange(50) % 2)
    made.kneighbors()
    made.forget([7])
    made.save(tmp_path / "made.skops")
    with zipfile.ZipFile(tmp_path / "made.skops") as archive:
        content = b"".join(archive.read(name) for name in archive.namelist())
    assert not any(value.tobytes() in content for value in X[7])
    assert X[8].tobytes() in content
    arrays = [value for value in vars(made).values() if isinstance(value, np.ndarray)]
    assert len(arrays) >= 3
    assert not any(np.isin(X[7], each).any() for each in arrays if each.dtype.kind == "f")
    assert all(each.base is None or not np.isin(X[7], each.base).any() for each in arrays if each.dtype.kind == "f")


def test_the_graph_is_repaired_only_where_a_neighbour_left_or_came(monkeypatch):
    X, y = load_breast_cancer(return_X_y=True)
    made = ForgettingKNeighborsClassifier(6).fit(X[:400], y[:400])
    made.kneighbors()
    searched = []
    search = neighbours.Neighbours._search

    def counted(self, Q, k, without=None):
        searched.append(len(Q))
        return search(self, Q, k, without)

    monkeypatch.setattr(neighbours.Neighbours, "_search", counted)
    draw = np.random.default_rng(3)
    held = set(range(400))
    for step in range(12):
        gone = draw.permutation(sorted(held))[:2].tolist()
        held -= set(gone)
        affected = {int(i) for g in gone for i in np.flatnonzero((made.kneighbors()[1] == at(made, g)).any(1))}
        made.forget(gone)
        searched.clear()
        assert not np.isin(gone, np.array(made.sample_ids_)[made._graph.places[made._graph.places >= 0]]).any()
        found = made.kneighbors()
        assert sum(searched) <= len(affected) < 60
        new = 400 + step
        made.partial_fit(X[[new]], y[[new]], sample_ids=[new])
        held.add(new)
        kept = sorted(held)
        fresh = ForgettingKNeighborsClassifier(6).fit(X[kept], y[kept], kept)
        for one, other in zip(made.kneighbors(), fresh.kneighbors(), strict=True):
            assert np.array_equal(one, other)
        assert found[0].shape == (len(kept) - 1, 6)
    assert (made.kneighbors_graph() != fresh.kneighbors_graph()).nnz == 0
    assert np.allclose(
        made.kneighbors_graph(mode="distance").toarray(),
        KNeighborsClassifier(6).fit(X[kept], y[kept]).kneighbors_graph(mode="distance").toarray(),
    )


def at(made, name):
    return int(np.searchsorted(made.sample_ids_, name))


def test_too_few_rows_and_none_are_said():
    made = ForgettingKNeighborsClassifier(3).fit([[0.0], [1.0], [2.0]], list("aab"))
    with pytest.raises(ValueError, match="n_neighbors"):
        made.kneighbors()
    made.forget([0])
    with pytest.raises(ValueError, match="n_neighbors <= 2"):
        made.predict([[0.0]])
    with pytest.raises(NotFittedError):
        made.forget([1, 2]).predict([[0.0]])


def test_values_far_apart_are_compared_or_said_to_be_too_far():
    made = ForgettingKNeighborsClassifier(1).fit([[1e150, 0.0], [-1e150, 1.0]], ["a", "longer"])
    assert made.predict([[9e149, 0.0], [-2e150, 0.0]]).tolist() == ["a", "longer"]
    with pytest.raises(ValueError, match="overflow"), np.errstate(over="ignore"):
        made.predict([[1e200, 0.0]])
    assert made.forget([1]).classes_.dtype == "<U1"


@pytest.mark.parametrize(
    ("setting", "value"), [("metric", "warp"), ("weights", "odd"), ("n_neighbors", 0), ("n_neighbors", 1.5), ("p", 0.5)]
)
def test_settings_that_mean_nothing_are_refused(setting, value):
    with pytest.raises(ValueError, match=setting):
        ForgettingKNeighborsClassifier(**{setting: value}).fit([[0.0], [1.0]], [0, 1])


def test_values_of_another_kind_change_nothing():
    made = ForgettingKNeighborsClassifier(1).fit([[0.0], [1.0]], [0, 1])
    before = made.fingerprint()
    with pytest.raises(ValueError, match="one type"):
        made.partial_fit([[2.0]], ["a"])
    with pytest.raises(ValueError, match="infinity"):
        made.partial_fit([[np.inf]], [1])
    assert made.fingerprint() == before


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_frames_are_rows_too(kind):
    X = frame(kind, np.array([[0.0, 1.0], [1.0, 1.0], [5.0, 5.0]]))
    made = ForgettingKNeighborsClassifier(1).fit(X, [0, 0, 1], list("pqr")).forget("q")
    assert made.feature_names_in_.tolist() == ["a", "b"]
    assert made.predict(X).tolist() == [0, 0, 1]
