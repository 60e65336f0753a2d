"""What holds for all estimators of this kind: a second fit knows nothing of the first, and clones know nothing."""

import copy

import numpy as np
import pytest
from sklearn.base import clone

from expunge.core.registry import load
from expunge.estimators._preparing import alike

NAMES = [
    "imputer",
    "k_means",
    "k_neighbors_classifier",
    "k_neighbors_regressor",
    "one_hot_encoder",
    "ordinal_encoder",
    "pipeline",
    "quantised_k_means",
    "robust_scaler",
    "standard_scaler",
    "target_encoder",
    "tfidf",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_second_fit_knows_nothing_of_the_first(name):
    made, X, y = load("estimators", name).trial(0)
    first = [X[i] for i in range(40)] if isinstance(X, list) else X[:40]
    rest = [X[i] for i in range(40, 60)] if isinstance(X, list) else X[40:]
    before = made.fit(first, y[:40]).fingerprint()
    again = copy.deepcopy(made).forget([0, 1]).fit(rest, y[40:])
    assert again.fingerprint() == clone(made).fit(rest, y[40:]).fingerprint()
    assert again.what_remains_.rows == 20
    assert again.what_remains_.tombstones == 0
    assert made.fingerprint() == before  # what a deep copy does is its own
    assert not hasattr(clone(made), "_book")


def test_alike_is_equality_of_bits():
    nan = float("nan")
    for value in (1, 1.0, nan, "a", None, [1, [nan]], {"a": nan}, np.array([nan, 0.0]), np.array([None, nan], object)):
        assert alike(value, copy.deepcopy(value)), value
    for one, other in [
        (1, 1.0),
        (0.0, None),
        ([1], [1, 2]),
        ({"a": 1}, {"b": 1}),
        (np.array([0.0]), np.array([-0.0])),
        (np.array([1.0]), np.array([1.0], np.float32)),
        (np.array([1]), [1]),
        (np.array(["a", None], object), np.array(["a", "b"], object)),
    ]:
        assert not alike(one, other), (one, other)
        assert not alike(other, one), (one, other)
