"""The forest for classes: against scikit-learn's, with many classes, and classes that come and go."""

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.tree import DecisionTreeClassifier

from expunge.estimators import ForgettingForestClassifier
from expunge.estimators import _forest_kernels as kernels

ALL = {"n_estimators": 1, "trees_per_row": 1, "max_features": None, "cuts": 400, "min_samples_leaf": 1}


def test_with_all_columns_and_all_cuts_it_parts_rows_as_scikit_learns_tree_does():
    X, y = load_breast_cancer(return_X_y=True)
    X, y = X[:300], y[:300]
    for depth in (1, 2, 3):
        made = ForgettingForestClassifier(**ALL, max_depth=depth, random_state=0).fit(X, y)
        peer = DecisionTreeClassifier(max_depth=depth, random_state=0).fit(X, y)
        assert np.allclose(made.predict_proba(X), peer.predict_proba(X))


def test_a_stump_that_forgets_is_the_stump_of_the_rest():
    draw = np.random.default_rng(0)
    for seed in range(20):  # P-34
        X, y = draw.normal(size=(200, 1)), draw.integers(0, 2, 200)
        gone = draw.choice(200, 20, replace=False)
        left = np.setdiff1d(np.arange(200), gone)
        made = ForgettingForestClassifier(**ALL, max_depth=1, random_state=seed).fit(X, y).forget(gone)
        fresh = ForgettingForestClassifier(**ALL, max_depth=1, random_state=seed).fit(X[left], y[left], sample_ids=left)
        assert made.fingerprint() == fresh.fingerprint()
        peer = DecisionTreeClassifier(max_depth=1).fit(X[left], y[left])
        # the same gain, if not the same of several equal cuts
        ours = made.drain()._t.node[:, kernels.TOTALS :]
        v = ours[made._t.node[0, [kernels.LEFT, kernels.RIGHT]]]
        impurity = sum((1 - ((side / side.sum()) ** 2).sum()) * side.sum() for side in v) / len(left)
        theirs = (peer.tree_.impurity[1:] * peer.tree_.n_node_samples[1:]).sum() / len(left)
        assert impurity == pytest.approx(theirs, abs=1e-12)


def test_it_is_as_good_as_a_random_forest():
    X, y = load_digits(return_X_y=True)
    X, Z, y, z = train_test_split(X, y, test_size=0.4, random_state=0)
    made = ForgettingForestClassifier(
        40, trees_per_row=20, min_samples_leaf=1, max_features="sqrt", random_state=0
    ).fit(X, y)
    peer = RandomForestClassifier(40, random_state=0).fit(X, y)
    assert (made.predict(Z) == z).mean() > (peer.predict(Z) == z).mean() - 0.02
    assert np.allclose(made.predict_proba(Z).sum(axis=1), 1)

    X, y = load_breast_cancer(return_X_y=True)
    X, Z, y, z = train_test_split(X, y, test_size=0.4, random_state=0)
    made = ForgettingForestClassifier(trees_per_row=30, random_state=0).fit(X, y)
    peer = RandomForestClassifier(100, random_state=0).fit(X, y)
    assert roc_auc_score(z, made.predict_proba(Z)[:, 1]) > roc_auc_score(z, peer.predict_proba(Z)[:, 1]) - 0.01


def test_classes_come_and_go():
    draw = np.random.default_rng(0)
    X = draw.normal(size=(200, 3))
    y = np.array(["ant", "bee", "cat", "dog"])[np.digitize(X[:, 0], [-0.7, 0, 0.7])]
    how = {"n_estimators": 8, "trees_per_row": 4, "random_state": 0}
    rare, rest = np.flatnonzero(y == "bee"), np.flatnonzero(y != "bee")
    made = ForgettingForestClassifier(**how).fit(X[rest], y[rest], sample_ids=rest)
    made.partial_fit(X[rare], y[rare], sample_ids=rare)  # counts widen
    whole = ForgettingForestClassifier(**how).fit(X, y)
    assert made.classes_.tolist() == ["ant", "bee", "cat", "dog"]
    assert made.fingerprint() == whole.fingerprint()
    ants = np.flatnonzero(y == "ant")
    made.forget(ants)
    left = np.flatnonzero(y != "ant")
    assert made.fingerprint() == ForgettingForestClassifier(**how).fit(X[left], y[left], sample_ids=left).fingerprint()
    y[ants] = "elk"  # takes the place of the class that went
    made.partial_fit(X[ants], y[ants], sample_ids=ants)
    whole = ForgettingForestClassifier(**how).fit(X, y)
    assert made.fingerprint() == whole.fingerprint()
    assert np.array_equal(made.predict_proba(X), whole.predict_proba(X))
    with pytest.raises(ValueError, match="labels of different types"):
        made.partial_fit(X[:1], [1], sample_ids=[999])


def test_gains_are_compared_exactly_however_large():
    draw = np.random.default_rng(0)
    compare = kernels._compare.py_func
    for _ in range(500):
        a, b, c, d = (int(draw.integers(1, 2**60)) for _ in range(4))
        if draw.random() < 0.5:  # equal but for one part in 2**60
            factor = int(draw.integers(1, 50))
            a, b = a // 50, b // 50
            c, d = a * factor + int(draw.integers(-1, 2)), b * factor
        c, d = max(c, 1), max(d, 1)
        assert compare(a, b, c, d, 10**6) == (a * d > b * c) - (a * d < b * c)
    assert compare(1, 3, 0, 1, 10**6) == 1
