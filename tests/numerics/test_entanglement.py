import numpy as np
import pytest
from sklearn.metrics import pairwise_distances

from expunge.numerics.entanglement import entanglement


def test_it_is_the_scatter_of_the_sets_over_that_of_their_means():
    draw = np.random.default_rng(1)
    retain, forget = draw.normal(size=(40, 5)), draw.normal(1.0, 2.0, size=(13, 5))
    # The mean square distance to the mean is half of that between two records drawn with replacement.
    within = sum((pairwise_distances(part) ** 2).mean() / 2 for part in (retain, forget))
    apart = np.linalg.norm(retain.mean(0) - forget.mean(0))
    assert entanglement(retain, forget) == pytest.approx(within / (apart**2 / 4))
    assert entanglement(forget, retain) == pytest.approx(entanglement(retain, forget))
    assert entanglement(3 * retain + 1, 3 * forget + 1) == pytest.approx(entanglement(retain, forget))


def test_sets_with_one_mean_are_entangled_without_bound():
    rows = np.arange(6.0).reshape(3, 2)
    assert entanglement(rows, rows) == np.inf
