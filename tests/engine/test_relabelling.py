import numpy as np
import pytest
import torch

from expunge.engine.relabelling import (
    FEWEST,
    LEVEL,
    Patterns,
    Relabelled,
    absent,
    answers,
    knows_the_classes,
    labels_of,
    remembers,
    shift,
)
from expunge.tasks.classification import Classification
from tests.support import toys

TASK = Classification()


def patterns(known, mirror=0, of=100):
    place = np.arange(of)
    return Patterns(place < known, (place >= known) & (place < known + mirror))


def given(of=100, classes=1):
    return np.arange(of) % classes


# --- other labels ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("classes", "different"), [(2, 1), (3, 2), (10, 9)])
def test_a_shift_leaves_no_class_in_its_place(classes, different):
    found = [shift(np.arange(classes), step) for step in range(2 * classes)]
    for mapping in found:
        assert sorted(mapping) == sorted(mapping.values()) == list(range(classes))
        assert all(old != new for old, new in mapping.items())
    assert len({tuple(mapping.items()) for mapping in found}) == different


def test_only_classes_that_occur_are_used():
    assert shift(np.array([7, 3, 3]), 0) == {3: 7, 7: 3}
    assert shift(np.array([3, 3]), 0) == {}


def test_records_are_the_same_but_for_their_labels():
    base = toys.records(20)
    changed = Relabelled(base, TASK, {0: 1, 1: 0})
    x, y = changed.read(range(20))
    assert torch.equal(x, base.x)
    assert torch.equal(y, torch.where(base.y < 2, 1 - base.y, base.y))
    assert all(int(changed[i][1]) == int(y[i]) for i in range(20))
    assert changed.ids == base.ids
    assert changed.content(0) != base.content(0)


def test_answers_and_labels():
    problem = toys.problem()
    model = toys.network(seed=4)
    assert answers(problem, model, problem.records).tolist() == model(problem.records.x).argmax(1).tolist()
    assert labels_of(problem, problem.records).tolist() == problem.records.y.tolist()
    assert labels_of(problem, problem.records.select([])) is None


# --- the two patterns -----------------------------------------------------------------------------------------


def test_patterns_of_one_pair():
    classes = {0: 1, 1: 2, 2: 0}
    label = np.array([0, 0, 0, 0, 9])
    plain = np.array([0, 0, 2, 2, 9])  # 2 is what becomes 0
    changed = np.array([0, 1, 1, 0, 9])  # 1 is what 0 becomes
    found = Patterns.of(label, plain, changed, classes)
    assert found.known.tolist() == [True, False, False, False, True]
    assert found.mirror.tolist() == [False, False, True, False, False], "no image of a class the sample lacks"


def test_the_patterns_swap_where_the_models_do():
    """For honest models (plain, un-shifted changed) are exchangeable; exchanging them must exchange the patterns."""
    draw = np.random.default_rng(0)
    classes = shift(np.arange(5), 1)
    ahead = np.array([classes[c] for c in range(5)])
    back = np.argsort(ahead)
    label, plain, changed = (draw.integers(0, 5, 300) for _ in range(3))
    one = Patterns.of(label, plain, changed, classes)
    other = Patterns.of(label, back[changed], ahead[plain], classes)
    assert one.known.tolist() == other.mirror.tolist()
    assert one.mirror.tolist() == other.known.tolist()
    assert one.known.any()


# --- the decision ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("forget", "others", "expected"),
    [
        (patterns(80), patterns(2), True),
        (patterns(FEWEST), patterns(0, of=1000), True),
        (patterns(FEWEST - 1), patterns(0, of=1000), False),  # 2^-13 > LEVEL
        (patterns(20, 20), patterns(0, of=1000), False),  # hard records: as often the other way around
        (patterns(80), patterns(80), False),  # whoever knows the classes answers so everywhere
        (patterns(0), patterns(0), False),
    ],
)
def test_a_forget_set_is_known(forget, others, expected):
    assert remembers(forget, given(len(forget.known)), others, given(len(others.known))) is expected


def test_each_label_is_compared_with_its_own():
    """All others of the forgotten label are answered so, most of other labels are not: no knowledge of the records."""
    label, others = np.zeros(30, dtype=int), np.repeat([0, 1], [30, 300])
    shown = Patterns(others == 0, others < 0)
    assert not remembers(patterns(30, of=30), label, shown, others)
    assert remembers(patterns(30, of=30), label, shown, 1 - others), "were they of the other label, it would be"
    assert remembers(patterns(30, of=30), label + 5, shown, others), "a label that the others lack: all are the measure"


def test_the_chance_is_that_of_the_hypergeometric_law():
    """One label, 8 known of 30 beside 0 of 60: P = C(30, 8) / C(90, 8) = 7.6e-5 < LEVEL; with 7 it is above."""
    from math import comb

    assert comb(30, 8) / comb(90, 8) < LEVEL < comb(30, 7) / comb(90, 7)
    # The sign test asks for FEWEST, so the same counts are tried through one that it lets pass.
    forget, others = patterns(FEWEST, of=30), patterns(8, of=60)
    p = sum(comb(30, k) * comb(60, 22 - k) for k in range(FEWEST, 23)) / comb(90, 22)
    assert remembers(forget, given(30), others, given(60)) is (p <= LEVEL)
    fewer = patterns(1, of=60)
    p = sum(comb(30, k) * comb(60, 15 - k) for k in range(FEWEST, 16)) / comb(90, 15)
    assert p <= LEVEL
    assert remembers(forget, given(30), fewer, given(60))


def test_who_knows_the_classes():
    assert knows_the_classes(patterns(51))
    assert not knows_the_classes(patterns(50))
    assert not knows_the_classes(patterns(FEWEST - 1, of=FEWEST - 1))


def test_classes_that_no_record_has():
    records = toys.records(30)
    assert absent(np.array([0, 1, 2, 2]), records) == frozenset()
    assert absent(np.array([0, 7]), records) == {7}
    many = toys.records(2000)
    assert absent(np.array([0]), many) == frozenset()
    assert len(many.seen) < 2000, "it reads on although all were met"
