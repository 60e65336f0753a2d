"""The best known records: the mean of a tail, what lies beyond retrained models, and beyond unseen text."""

import numpy as np
import pytest

from expunge.engine.best_known import beyond_others, beyond_unseen, excess, tail
from tests.support.evidence import spoken

NAMES = ("c", "o", "r1", "r2", "r3")


@pytest.mark.parametrize(("n", "share"), [(20, 0.1), (7, 0.1), (200, 0.1), (10, 0.25), (1, 0.1), (5, 1.0)])
def test_the_mean_of_the_terms_is_that_of_the_tail(n, share):
    """By hand: the largest values with weight 1, the next with what is left of share * n."""
    values = np.random.default_rng(n).normal(size=n)
    left, total = share * n, 0.0
    for value in sorted(values, reverse=True):
        weight = min(1.0, left)
        total, left = total + weight * value, left - weight
    assert tail(values, share).mean() == pytest.approx(total / (share * n))


def test_ties_change_nothing():
    assert tail(np.array([0.5] * 9 + [1.0]), 0.2).mean() == pytest.approx(0.75)


def test_a_model_is_compared_with_as_many_as_each_reference_is():
    scores = {"c": [0.9, 0.1], "o": [1.0, 1.0], "r1": [0.3, 0.0], "r2": [0.0, 0.0], "r3": [0.6, 0.0]}
    given = spoken({name: {"forget": [(0, 0)] * 2} for name in NAMES})
    rows = {name: np.array(row) for name, row in scores.items()}
    assert [row[0] for row in beyond_others(given, rows, "c")] == pytest.approx([0.9 - 0.3, 0.9 - 0.45, 0.9 - 0.15])
    assert [row[0] for row in beyond_others(given, rows, "r1")] == pytest.approx([0.3 - 0.3])
    assert excess(given, rows, "c").mean() == pytest.approx(np.mean([0.6 + 0.1, 0.45 + 0.1, 0.75 + 0.1]) / 2)


@pytest.mark.parametrize(("unseen", "said"), [(24, "3 of 5, above 0.50 (references 1 to 2)"), (19, None)])
def test_records_beyond_the_fence_of_the_same_models_unseen_text(unseen, said):
    """Half of every unseen answer is right: the fence stands at one half, and what is all right lies beyond it."""

    def model(known):
        return {"forget": [(1, 1)] * known + [(0, 1)] * (5 - known), "holdout": [(0, 1)] * unseen}

    given = spoken({"c": model(3), "o": model(5), "r1": model(1), "r2": model(2), "r3": model(1)})
    found = beyond_unseen(given, lambda spoken: spoken.correct)
    assert found == ({} if said is None else {"records beyond what unseen text shows": said})


def test_without_unseen_text_there_is_no_fence():
    assert beyond_unseen(spoken({name: {"forget": [(0, 1)] * 5} for name in NAMES}), lambda said: said.correct) == {}
