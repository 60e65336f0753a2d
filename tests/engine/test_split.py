from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expunge.data.canaries import plant
from expunge.engine.split import forget_choosing, halves, held_choosing, judged_count, split
from tests.support import toys


def test_choosing_and_judging_are_disjoint_and_cover_all():
    problem = toys.problem()
    for seed in range(20):
        choosing, judging = split(problem, seed)
        for one, other, whole in (
            (choosing.forget, judging.forget, problem.forget_ids),
            (choosing.holdout, judging.holdout, problem.held_out.ids),
        ):
            assert not set(one.ids) & set(other.ids)
            assert sorted((*one.ids, *other.ids)) == sorted(whole)
            assert len(other) == judged_count(len(whole))


def test_a_retained_record_is_in_neither_part():
    problem = toys.problem()
    choosing, judging = split(problem, 1)
    assert not {*choosing.forget.ids, *judging.forget.ids} & set(problem.retain_view.ids)


def test_without_a_holdout_there_is_none():
    choosing, judging = split(toys.problem(holdout=0), 1)
    assert (choosing.holdout, judging.holdout) == (None, None)


@given(st.integers(0, 2**31), st.randoms(use_true_random=False), st.integers(1, 40))
def test_the_split_is_a_function_of_seed_and_ids_alone(seed, random, count):
    records = toys.records(count)
    mixed = list(records.ids)
    random.shuffle(mixed)
    other = toys.records(count, seed=9).select(mixed)
    first, second = halves(records, seed, "forget"), halves(other, seed, "forget")
    assert set(first[0].ids) == set(second[0].ids)
    assert set(first[1].ids) == set(second[1].ids)
    assert [name for name in mixed if name in set(first[0].ids)] == list(second[0].ids), "in the records' order"


def test_seeds_and_names_give_other_splits():
    records = toys.records(40)
    found = {halves(records, seed, name)[0].ids for seed in range(5) for name in ("forget", "holdout")}
    assert len(found) == 10


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 100])
def test_a_third_is_for_choosing(count):
    assert judged_count(count) == count - count // 3
    choosing, judging = halves(toys.records(count), 1, "forget")
    assert (len(choosing), len(judging)) == (count // 3, count - count // 3)


def test_a_third_of_any_number_is_whole():
    assert all(judged_count(count) == count - count // 3 for count in range(20_000))


def test_every_record_is_as_likely_to_be_chosen():
    records = toys.records(30)
    chosen = [name for seed in range(600) for name in halves(records, seed, "forget")[0].ids]
    counts = [chosen.count(name) for name in records.ids]
    # 600 draws at a third: mean 200, standard deviation 11.5
    assert min(counts) > 200 - 4.5 * 11.5
    assert max(counts) < 200 + 4.5 * 11.5


def test_canaries_are_for_neither_part():
    """Nothing is chosen by them; methods see those that were trained on among what they must forget."""
    _, planted = plant(toys.records(300), count=100, secret=bytes(range(32)))
    problem = toys.problem(train=planted.train, forget=0, canaries=planted)
    asked = [name for name in planted.train.ids if name not in planted.included][:12]
    problem = replace(problem, forget=asked)
    choosing, judging = split(problem, 1)
    assert sorted([*choosing.forget.ids, *judging.forget.ids]) == sorted(asked)
    assert set(problem.forget_ids) == {*asked, *planted.included}
    assert forget_choosing(problem) == len(choosing.forget)
    assert not set(problem.retain_view.ids) & set(planted.included)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 24, 25])
def test_the_number_of_held_out_records_to_choose_by_is_known_before(count):
    problem = toys.problem(holdout=count)
    chosen = split(problem, 1)[0].holdout
    assert held_choosing(problem) == (0 if chosen is None else len(chosen))


@pytest.mark.parametrize("count", [0, 1, 2, 3, 12, 13])
def test_the_number_of_forgotten_records_to_choose_by_is_known_before(count):
    problem = toys.problem(forget=count)
    assert forget_choosing(problem) == len(split(problem, 1)[0].forget)
