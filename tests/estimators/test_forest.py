"""Both forests: after any history, a fresh fit with the same seed on what remains."""

import threading

import numpy as np
import pytest

from expunge.core.errors import Tampered, UsageError
from expunge.estimators import ForgettingForestClassifier, ForgettingForestRegressor, _forest
from expunge.estimators import _forest_kernels as kernels
from expunge.estimators._forest_columns import number_codes

KINDS = (ForgettingForestClassifier, ForgettingForestRegressor)


def rows(kind, n, seed, *, missing=True):
    """Rows with ties, a category, a constant and missing values, and targets that depend on them."""
    draw = np.random.default_rng(seed)
    X = np.column_stack(
        [
            draw.normal(size=n).round(1),
            draw.integers(0, 3, n),
            draw.integers(0, 6, n),  # a category
            np.full(n, 7.0),
            draw.exponential(size=n),
        ]
    )
    score = X[:, 0] + (X[:, 2] == 3) + 0.3 * draw.normal(size=n)
    if missing:
        X[draw.random(n) < 0.2, 0] = np.nan
        X[draw.random(n) < 0.1, 2] = np.nan
    return X, (np.digitize(score, [-0.5, 0.8]) if kind is ForgettingForestClassifier else score)


def settings(seed):
    draw = np.random.default_rng([seed, 1])
    trees = int(draw.integers(1, 9))
    return {
        "n_estimators": trees,
        "trees_per_row": int(draw.integers(1, trees + 1)),
        "max_depth": int(draw.integers(1, 9)),
        "max_features": [None, "sqrt", 0.5, 3][draw.integers(4)],
        "cuts": int(draw.integers(1, 9)),
        "min_samples_split": int(draw.integers(2, 8)),
        "min_samples_leaf": int(draw.integers(1, 4)),
        "categorical_features": [2],
        "random_state": seed,
    }


def caches(made):
    """All that split nodes know of their cuts, tree by tree, without what depends on the past (spare values)."""
    made.drain()
    t, out = made._t, []
    step = 2 + t.node.shape[1] - kernels.TOTALS
    stack = list(range(t.info[kernels.TREES]))
    while stack:
        v = stack.pop()
        node = t.node[v]
        out.append(node[[kernels.STATE, kernels.DEPTH, kernels.PLACE_LOW, kernels.PLACE_HIGH]].tolist())
        if node[kernels.STATE] != kernels.SPLIT:
            continue
        stack += [node[kernels.LEFT], node[kernels.RIGHT]]
        for column in t.block[node[kernels.BLOCK]]:
            used = min(column[kernels.HELD], t.info[kernels.CUTS])
            out.append([column[kernels.WHICH], *column[kernels.VALUES : kernels.VALUES + used * step].tolist()])
            assert not column[kernels.VALUES + column[kernels.HELD] * step :].any()  # what is free is overwritten
    return out


def same(made, fresh, X):
    assert made.fingerprint() == fresh.fingerprint()
    assert caches(made) == caches(fresh)
    if len(fresh._book):
        ask = "predict_proba" if hasattr(fresh, "predict_proba") else "predict"
        assert np.array_equal(getattr(made, ask)(X), getattr(fresh, ask)(X))
    assert made.what_remains_.pending == 0


def held_in(made):
    """Which rows each tree holds, by id."""
    t, ids = made._t, made._book.ids
    out = []
    for tree in range(t.info[kernels.TREES]):
        stack, found = [tree], []
        while stack:
            node = t.node[stack.pop()]
            if node[kernels.STATE] == kernels.SPLIT:
                stack += [node[kernels.LEFT], node[kernels.RIGHT]]
            o = node[kernels.HEAD]
            while o >= 0:
                found.append(ids[o // t.info[kernels.PER_ROW]])
                o = t.linked[o, kernels.AFTER]
        assert len(found) == len(set(found))
        out.append(sorted(found))
    return out


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("kind", KINDS)
def test_any_history_is_a_fresh_fit(kind, seed, tmp_path):
    draw = np.random.default_rng([seed, 2])
    X, y = rows(kind, 140, seed)
    how = settings(seed)
    held = list(range(60))
    waiting = list(range(60, 140))
    made = kind(**how).fit(X[held], y[held], sample_ids=held)
    for _ in range(14):
        what = draw.integers(6)
        if what < 3 and held:
            gone = [held.pop(draw.integers(len(held))) for _ in range(min(len(held), draw.integers(1, 9)))]
            made.forget(gone)
            waiting += gone
        elif what == 3 and waiting:
            more = [waiting.pop(draw.integers(len(waiting))) for _ in range(min(len(waiting), draw.integers(1, 40)))]
            made.partial_fit(X[more], y[more], sample_ids=more)
            held += more
        elif what == 4 and held:
            made.predict(X[draw.integers(0, 140, 3)])  # grows a part of what is tagged
        elif draw.random() < 0.3:
            made.save(tmp_path / "made")
            made = kind.load(tmp_path / "made")
    fresh = kind(**how).fit(X[sorted(held)], y[sorted(held)], sample_ids=sorted(held)) if held else None
    if fresh is not None:
        same(made, fresh, X)
        assert held_in(made) == held_in(fresh)  # P-40: a row is in the same k trees whatever happened
        assert sum(map(len, held_in(made))) == how["trees_per_row"] * len(held)


@pytest.mark.parametrize("kind", KINDS)
def test_an_adversary_who_aims_at_the_roots_changes_nothing(kind):
    X, y = rows(kind, 300, 1, missing=False)
    how = {"n_estimators": 6, "trees_per_row": 4, "cuts": 3, "random_state": 3}
    made = kind(**how).fit(X, y)
    held = list(range(300))
    for step in range(90):
        made.drain()
        root = made._t.node[step % 6]  # the row nearest to the cut of a root
        c, cut = root[kernels.COLUMN], root[kernels.CUT]
        codes = number_codes(X[held])[:, c].astype(np.int64)
        made.forget([held.pop(int(np.abs(codes - cut).argmin()))])
        if step % 30 == 29:
            same(made, kind(**how).fit(X[held], y[held], sample_ids=held), X)


@pytest.mark.parametrize("kind", KINDS)
def test_no_value_of_a_forgotten_row_stays(kind):
    X, y = rows(kind, 120, 2, missing=False)
    X[:, 0] = np.random.default_rng(0).normal(size=120)  # every value once
    made = kind(n_estimators=5, trees_per_row=5, max_features=None, cuts=4, min_samples_leaf=1, random_state=0).fit(
        X, y
    )
    codes = number_codes(X)[:, 0]
    for i in range(0, 100, 5):
        gone = range(i, i + 5)
        keys = made._t.known[made._book.find(gone), kernels.KEY]
        made.forget(gone)
        for part in made._t:  # P-04, P-33: before the rest is grown again too
            if part.dtype == np.int32:
                assert not np.isin(part, np.concatenate([codes[gone], codes[gone] - 1])).any()
            else:
                assert not np.isin(part, keys).any()


@pytest.mark.parametrize("kind", KINDS)
def test_the_deleted_value_is_no_threshold(kind):
    how = {
        "n_estimators": 1,
        "trees_per_row": 1,
        "max_depth": 1,
        "min_samples_leaf": 1,
        "cuts": 9,
        "max_features": None,
    }
    X, y = np.array([[1.0], [2.0], [3.0]]), np.array([0, 0, 1])
    for seed in range(8):
        made = kind(**how, random_state=seed).fit(X, y).forget([1]).drain()
        cut = made._t.node[0, kernels.CUT]
        assert cut in (number_codes(X[:1])[0, 0], number_codes(X[2:])[0, 0] - 1)  # at 1, or just below 3


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_tagged_is_grown_when_it_is_asked(kind):
    X, y = rows(kind, 200, 4)
    how = {"n_estimators": 10, "trees_per_row": 5, "random_state": 0}
    made = kind(**how).fit(X, y)
    assert made.what_remains_.pending == 0
    made.forget(range(50))
    tagged = made.what_remains_.pending
    assert tagged > 0
    keep = range(50, 200)
    fresh = kind(**how).fit(X[50:], y[50:], sample_ids=keep)
    assert np.array_equal(made.predict(X[:1]), fresh.predict(X[:1]))
    assert 0 < made.what_remains_.pending < tagged  # only what the question needed
    assert made.drain().what_remains_.pending == 0
    same(made, fresh, X)


def test_questions_and_deletes_at_once_are_some_serial_order():
    X, y = rows(ForgettingForestClassifier, 150, 5)
    how = {"n_estimators": 8, "trees_per_row": 4, "random_state": 0}
    made = ForgettingForestClassifier(**how).fit(X, y)
    states = [
        ForgettingForestClassifier(**how).fit(X[i:], y[i:], sample_ids=range(i, 150)).predict_proba(X).tobytes()
        for i in range(0, 60, 5)
    ]
    seen, done = [], threading.Event()

    def ask():
        while not done.is_set():
            seen.append(made.predict_proba(X).tobytes())

    asking = threading.Thread(target=ask)
    asking.start()
    for i in range(0, 55, 5):
        made.forget(range(i, i + 5))
    done.set()
    asking.join()
    places = [states.index(one) for one in [*seen, made.predict_proba(X).tobytes()]]
    assert places == sorted(places)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_a_tree_could_not_count_are_refused(kind, monkeypatch):
    X, y = rows(kind, 60, 0)
    made = kind(n_estimators=4, trees_per_row=4, random_state=0).fit(X[:30], y[:30])
    before = made.fingerprint()
    monkeypatch.setattr(_forest, "_MOST", 50)
    with pytest.raises(UsageError, match="too many rows for a tree"):
        made.partial_fit(X[30:], y[30:])
    assert made.fingerprint() == before


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_forest_with_other_rows_is_refused(kind, tmp_path):
    X, y = rows(kind, 60, 0)
    made = kind(n_estimators=4, trees_per_row=2, random_state=0).fit(X, y)
    state = made.__getstate__()
    state["_rows"]["codes"][3, 0] += 5000
    with pytest.raises(Tampered, match="another forest"):
        kind().__setstate__(state)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_estimators", 0),
        ("trees_per_row", 101),
        ("max_depth", 63),
        ("max_features", 0.0),
        ("max_features", "some"),
        ("cuts", 2.5),
        ("min_samples_split", 1),
        ("min_samples_leaf", 0),
        ("categorical_features", "all"),
        ("categorical_features", [9]),
    ],
)
def test_settings_out_of_range_are_refused(kind, name, value):
    X, y = rows(kind, 20, 0)
    with pytest.raises(ValueError, match=name):
        kind(**{name: value}).fit(X, y)


def test_without_a_place_to_write_kernels_are_still_compiled(monkeypatch):
    real = kernels.numba.njit

    def refusing(*args, cache=False, **kwargs):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return real(*args, **kwargs)

    monkeypatch.setattr(kernels.numba, "njit", refusing)
    assert kernels._compiled(lambda x: x + 1)(2) == 3


@pytest.mark.parametrize("ids", [["a\0", "ü", "\ud800", "", '"', "b"], [-(2**70), -1, 0, 2**64, 5, 6]])
def test_ids_of_any_kind_come_back_from_a_file(ids, tmp_path):
    X, y = rows(ForgettingForestClassifier, 6, 0)
    made = ForgettingForestClassifier(3, trees_per_row=2, random_state=0).fit(X, y, sample_ids=ids).forget(ids[:1])
    made.save(tmp_path / "made")
    opened = ForgettingForestClassifier.load(tmp_path / "made")
    assert opened.sample_ids_ == made.sample_ids_
    assert opened.forget(ids[:1]).what_remains_.tombstones == 1  # known as forgotten
    assert opened.fingerprint() == made.fingerprint()


@pytest.mark.parametrize("kind", KINDS)
def test_rows_put_in_a_few_at_a_time_split_leaves_as_a_fresh_fit_does(kind):
    X, y = rows(kind, 160, 6)
    how = {"n_estimators": 6, "trees_per_row": 4, "min_samples_leaf": 1, "random_state": 0}
    made = kind(**how).fit(X[:120], y[:120])
    for i in range(120, 160, 4):
        made.partial_fit(X[i : i + 4], y[i : i + 4])
        made.drain()
    same(made, kind(**how).fit(X, y), X)
