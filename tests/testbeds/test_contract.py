from dataclasses import replace

import numpy as np
import pytest

from expunge.core.errors import UsageError
from expunge.core.registry import load, names
from expunge.core.testbed import ModelTestbed
from expunge.engine.references import check_trainer
from expunge.testbeds import digits, people

BEDS = names("testbeds")
MODELS = [name for name in BEDS if issubclass(load("testbeds", name), ModelTestbed)]


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    """One pass over the digits, and over some people: the contract does not depend on how well they are learnt."""
    for bed in (digits, people):
        monkeypatch.setattr(bed, "TRAINER", replace(bed.TRAINER, config=replace(bed.TRAINER.config, epochs=1)))
    monkeypatch.setattr(people, "TRAINED", 6)
    monkeypatch.setattr(people, "HELD_OUT", 2)


def same(one, other):
    return one.keys() == other.keys() and all(
        np.array_equal(one[name], other[name]) and one[name].dtype == other[name].dtype for name in one
    )


@pytest.fixture(params=BEDS)
def cls(request):
    return load("testbeds", request.param)


def test_all_that_were_asked_for_are_there():
    assert set(BEDS) >= {"digits", "gaussian_mean", "linear", "logistic", "nearest_neighbours", "ngrams", "ridge"}
    assert set(MODELS) == {"digits", "logistic", "people", "two_layer"}


def test_it_says_what_it_is(cls):
    assert cls.title
    assert cls.source
    assert cls.name in BEDS


def test_the_truth_is_a_function_of_seed_and_forget_set(cls):
    bed, again, other = cls(), cls(seed=0), cls(seed=1)
    assert bed.ids == again.ids
    assert len(set(bed.ids)) == len(bed.ids)
    assert all(isinstance(name, str) for name in bed.ids)
    whole = bed.truth()
    assert whole
    assert all(isinstance(array, np.ndarray) for array in whole.values())
    assert same(whole, again.truth())
    assert same(whole, bed.truth([]))
    assert not same(whole, other.truth())
    gone = list(bed.ids[:3])
    some = bed.truth(gone)
    assert same(some, bed.truth([*reversed(gone), gone[0]])), "order and repeats of the request decide nothing"
    assert same(some, again.truth(frozenset(gone)))
    assert not same(some, whole)
    assert same(whole, bed.truth()), "asking for a deletion deletes nothing"


def test_data_cannot_be_changed_by_mistake(cls):
    for name, value in vars(cls()).items():
        if isinstance(value, np.ndarray):
            with pytest.raises(ValueError, match="read-only"):
                value[0] = 0
            assert value.dtype in (np.float64, np.int64), name


@pytest.mark.parametrize("left", [0, 1, 2])
def test_few_records_answer_or_are_refused(cls, left):
    bed = cls()
    try:
        truth = bed.truth(bed.ids[left:])
    except UsageError as error:
        (obstacle,) = error.obstacles
        assert obstacle.found == f"{left} of {len(bed.ids)} remain"
        assert int(obstacle.expected.removeprefix("at least ")) > left
        assert obstacle.where == f"test bed {cls.name}"
    else:
        assert left
        assert all(np.isfinite(array).all() for array in truth.values() if array.dtype.kind == "f")


def test_unknown_ids_are_refused(cls):
    bed = cls()
    with pytest.raises(UsageError, match="not there"):
        bed.truth([bed.ids[0], "nobody"])


@pytest.mark.parametrize("name", MODELS)
def test_problems_are_valid_and_their_trainers_keep_the_contract(name):
    bed = load("testbeds", name)()
    gone = [bed.ids[4], bed.ids[2], bed.ids[4]]
    problem = bed.problem(gone)
    # Beds hold exact copies of some records on purpose; that they would stay is told, and nothing else.
    assert {told.what for told in problem.check()} <= {"retained records are exact copies of forgotten ones"}
    assert problem.records.ids == bed.ids
    assert set(problem.forget_ids) == set(gone)
    assert check_trainer(problem).passes == problem.trainer.passes
    with pytest.raises(UsageError, match="not there"):
        bed.problem(["nobody"])


def test_another_seed_draws_other_data(cls):
    for name, value in vars(cls()).items():
        if isinstance(value, np.ndarray):
            assert not np.array_equal(value, getattr(cls(seed=1), name)), name
