"""Memorisation of texts: the published fixture, definitions by brute force, and what must hold of all of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from expunge.numerics.extraction import (
    exact_memorisation,
    extraction_strength,
    extraction_strength_openunlearning,
    outlier_threshold,
    outliers,
    overlap,
)

LABELS = np.array([1, 2, 3, 4])
RECORDS = st.lists(st.lists(st.booleans(), min_size=1, max_size=12), min_size=1, max_size=6)


def flat(records):
    """Return correct [N], record [N] and n of one list of booleans per record."""
    return (
        np.concatenate(records).astype(bool),
        np.repeat(np.arange(len(records)), [len(r) for r in records]),
        len(records),
    )


@pytest.mark.parametrize(
    ("predicted", "memorised", "strength", "floored"),
    [
        ([1, 2, 3, 4], 1.0, 1.0, 1.0),
        ([9, 2, 3, 4], 0.75, 0.75, 0.75),
        ([1, 2, 9, 4], 0.75, 0.25, 0.25),
        ([1, 2, 3, 9], 0.75, 0.0, 0.25),
        ([9, 9, 9, 9], 0.0, 0.0, 0.25),
    ],
)
def test_four_tokens(predicted, memorised, strength, floored):
    given = (np.array(predicted) == LABELS, np.zeros(4, int), 1)
    assert exact_memorisation(*given).tolist() == [memorised]
    assert extraction_strength(*given).tolist() == [strength]
    assert extraction_strength_openunlearning(*given).tolist() == [floored]


def by_search(right):
    """1 - k/T for the smallest k such that all of the rest is right, as the definition says."""
    return next(1 - k / len(right) for k in range(len(right) + 1) if all(right[k:]))


def by_search_short(right):
    """The same search, ended at the last token: its k stays there when nothing matched."""
    for k in range(len(right)):
        if all(right[k:]):
            break
    return 1 - k / len(right)


@given(RECORDS)
def test_it_is_the_search_of_its_definition(records):
    assert extraction_strength(*flat(records)) == pytest.approx([by_search(r) for r in records])
    assert extraction_strength_openunlearning(*flat(records)) == pytest.approx([by_search_short(r) for r in records])
    assert exact_memorisation(*flat(records)) == pytest.approx([sum(r) / len(r) for r in records])


@given(RECORDS)
def test_strength_is_at_most_memorisation_and_1_together_with_it(records):
    strength, memorised = extraction_strength(*flat(records)), exact_memorisation(*flat(records))
    assert (strength <= memorised + 1e-12).all()
    assert ((strength == 1) == (memorised == 1)).all()


@pytest.mark.parametrize("metric", [exact_memorisation, extraction_strength, extraction_strength_openunlearning])
def test_a_record_without_tokens_and_records_out_of_order_are_refused(metric):
    with pytest.raises(ValueError, match="1 of 3 records have no scored token, the first of them number 1"):
        metric([True, False], [0, 2], 3)
    with pytest.raises(ValueError, match="no scored token, the first of them number 2"):
        metric([True, False], [0, 1], 3)
    for record in ([1, 0], [0, 2], [-1, 0]):
        with pytest.raises(ValueError, match="sort the tokens by record"):
            metric([True, False], record, 2)
    with pytest.raises(ValueError, match="integers"):
        metric([True, False], [0.0, 0.0], 1)
    for correct in ([1, 0], True, [[True, False]]):
        with pytest.raises(ValueError, match="booleans"):
            metric(correct, [0, 0], 1)


TEXT = list(range(100, 130))


def likelihood(text, continuation, n=10):
    """Extraction likelihood of a text under a model that goes on as ``continuation(prefix, length)`` says."""
    places = range(1, len(text) - n + 1)
    return np.mean([overlap(continuation(text[:t], len(text) - t), text[t:], n) for t in places])


def test_extraction_likelihood_of_a_perfect_memory_is_1_and_of_what_says_other_things_0():
    assert likelihood(TEXT, lambda prefix, length: TEXT[len(prefix) : len(prefix) + length]) == 1.0
    assert likelihood(TEXT, lambda prefix, length: [7] * length) == 0.0
    # half of each suffix and then silence
    half = likelihood(TEXT, lambda prefix, length: TEXT[len(prefix) : len(prefix) + length // 2])
    expected = np.mean([max(0, (30 - t) // 2 - 9) / (30 - t - 9) for t in range(1, 21)])
    assert half == pytest.approx(expected)


def test_repeated_pieces_count_each_time_and_pieces_of_the_truth_once():
    assert overlap([1, 1, 1, 1], [1, 1, 2, 3], 2) == 1.0
    assert overlap([1, 1, 2, 2], [1, 1, 1, 1], 2) == pytest.approx(1 / 3)
    assert overlap([5, 1, 2], [1, 2, 3, 4], 2) == pytest.approx(1 / 3), "wherever in the truth it stands"
    assert overlap([], [1, 2], 2) == 0.0


@given(st.lists(st.integers(0, 2), max_size=8), st.lists(st.integers(0, 2), min_size=8, max_size=10), st.integers(1, 4))
def test_overlap_is_the_count_of_its_definition(generated, truth, n):
    there = [truth[j : j + n] for j in range(len(truth) - n + 1)]
    hits = sum(generated[i : i + n] in there for i in range(len(generated) - n + 1))
    assert overlap(generated, truth, n) == pytest.approx(hits / len(there))
    assert 0 <= overlap(generated, truth, n) <= 1


@pytest.mark.parametrize(("generated", "truth"), [([1, 2], [1]), ([], [1]), ([1, 2, 3], [1, 2])])
def test_what_has_no_pieces_or_runs_on_is_refused(generated, truth):
    with pytest.raises(ValueError, match="tokens"):
        overlap(generated, truth, 2)


def test_the_threshold_is_that_of_a_box_plot():
    # R: quantile(c(1, 2, 3, 4, 10), c(.25, .75)) is 2 and 4
    assert outlier_threshold([10, 2, 1, 4, 3]) == pytest.approx(7.0)
    assert outliers([7.0, 7.001, 2.0, 10.0], threshold=7.0) == 2
    with pytest.raises(ValueError, match="4 scores"):
        outlier_threshold([1, 2, 3])


def test_unseen_text_has_no_more_outliers_than_a_normal_law():
    # 1 - Phi(.6745 + 1.5 * 1.349) = .0035
    scores = np.random.default_rng(0).normal(size=20_000)
    assert outliers(scores, threshold=outlier_threshold(scores)) / 20_000 == pytest.approx(0.0035, abs=0.001)
