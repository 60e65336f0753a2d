"""ROUGE-L: values of the package rouge_score 0.1.2 without stemmer, and its subsequence by brute force."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expunge.numerics.rouge import common_subsequence, longest_run, rouge_l, words

LISTS = st.lists(st.sampled_from("abc"), max_size=8)


@pytest.mark.parametrize(
    ("generated", "truth", "recall", "f1"),
    [
        ("The author's name is Hina Ameen.", "Hina Ameen is the author.", 0.4, 0.3333333333333333),
        (
            "She won the 2018 Geology-Writers' award, twice; in 1990 and 2018.",
            "She twice won the award for geology writers: in 2018 and in 1990.",
            0.5384615384615384,
            0.5599999999999999,
        ),
        ("a b c a b c", "a a b b c c", 0.6666666666666666, 0.6666666666666666),
        ("foo_bar baz", "foo bar baz", 1.0, 1.0),
        ("Running runners ran", "runner runs running", 0.3333333333333333, 0.3333333333333333),
        ("", "One word.", 0.0, 0.0),
        ("nothing in common", "One word.", 0.0, 0.0),
    ],
)
def test_it_is_that_of_the_package(generated, truth, recall, f1):
    found = rouge_l(generated, truth)
    assert (found.recall, found.f1) == (pytest.approx(recall), pytest.approx(f1))


@given(LISTS, LISTS)
def test_the_subsequence_is_the_longest(one, other):
    def within(small, large):
        rest = iter(large)
        return all(word in rest for word in small)

    longest = max(k for k in range(len(one) + 1) if any(within(chosen, other) for chosen in combinations(one, k)))
    assert common_subsequence(one, other) == longest == common_subsequence(other, one)


@pytest.mark.parametrize(
    ("generated", "truth", "share"),
    [
        ("He was born in York, in May.", "She was born in York.", 4 / 5),
        ("born, she was, in York", "She was born in York.", 2 / 5),
        ("", "One word.", 0.0),
        ("One word.", "One word.", 1.0),
    ],
)
def test_the_longest_run_of_words_by_hand(generated, truth, share):
    assert longest_run(generated, truth) == pytest.approx(share)


@given(LISTS, LISTS.filter(len))
def test_a_run_is_a_subsequence(one, other):
    said, true = " ".join(one), " ".join(other)
    runs = [k for k in range(len(other) + 1) for i in range(len(other) - k + 1) if other[i : i + k] in _runs(one, k)]
    assert longest_run(said, true) == pytest.approx(max(runs) / len(other))
    assert longest_run(said, true) <= rouge_l(said, true).recall


def _runs(words, k):
    return [words[i : i + k] for i in range(len(words) - k + 1)]


def test_letters_of_all_scripts_are_letters_however_they_are_composed():
    assert words("José ELBÉ-2, Иван!") == ["josé", "elbé", "2", "иван"]
    assert rouge_l("Jose\u0301 won", "José won").f1 == 1.0


def test_a_truth_without_words_is_refused():
    with pytest.raises(ValueError, match="no letter and no digit"):
        rouge_l("anything", "?!")
    with pytest.raises(ValueError, match="no letter and no digit"):
        longest_run("anything", "?!")
