"""What stands beside the forgotten records, and must be no part of them."""

import pickle

import pytest

from expunge.core.errors import InvalidProblem
from expunge.core.problem import Problem
from expunge.data.canaries import plant
from tests.support import toys
from tests.support.reading import Words, make, told, varied

pytestmark = pytest.mark.usefixtures("reading")
WRONG = {
    "overlap": ({"holdout": Words("uv")}, "the holdout overlaps the training data"),
    "copies": ({"holdout": Words("abu", prefix="h")}, "holdout records have exact copies in the training data"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_told(name):
    changes, what = WRONG[name]
    assert what in told(**changes)
    with pytest.raises(InvalidProblem, match=r"the problem has \d obstacle"):
        make(**changes).check()


def test_no_holdout_and_a_few_copies_are_worth_knowing_and_no_more():
    for changes in ({"holdout": None}, {"holdout": Words("auvwx", prefix="h")}):
        (obstacle,) = make(**changes).check()
        assert not obstacle.fatal


def test_copies_of_forgotten_records_that_stay_are_counted():
    (obstacle,) = make(train=Words("abcbbf")).check()
    assert not obstacle.fatal
    assert obstacle.what == "retained records are exact copies of forgotten ones"
    assert obstacle.found == "2 of 5 retained"
    assert make(train=Words("abcbbf"), forget=["t1", "t3", "t4"]).check() == []


def planted():
    return plant(toys.records(300), count=100, secret=bytes(range(32)))


def test_training_records_that_are_not_those_of_the_coin_are_refused():
    _, given = planted()
    every = toys.records(300)
    found = [str(o.what) for o in toys.problem(train=every, canaries=given).validate()]
    assert "canaries that were to be trained on are not among the training records" in found
    both = given.aside  # canaries that were kept out, trained on all the same
    found = [o.what for o in toys.problem(train=both, canaries=given).validate() if o.fatal]
    assert "canaries that were kept out are among the training records" in found


def without_retained(**changes):
    whole = toys.problem(count=60, forget=12)
    forget = whole.forget_view
    given = {"train": forget, "forget": forget.ids, "calibration": toys.records(20, prefix="c", seed=9)}
    return Problem(model=whole.model, holdout=whole.held_out, **{**given, **changes})


def test_calibration_records_stand_for_retained_ones_that_are_gone():
    problem = without_retained()
    assert [obstacle for obstacle in problem.validate() if obstacle.fatal] == []
    assert problem.retain_view.ids == tuple(f"c{i}" for i in range(20))
    again = pickle.loads(pickle.dumps(problem))
    assert again.spec == problem.spec
    other = without_retained(calibration=toys.records(20, prefix="c", seed=8))
    assert other.spec.digest != problem.spec.digest
    assert problem.spec.committed(b"x").calibration not in (None, problem.spec.calibration)


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"forget": toys.records(60).ids[:3]}, "train"),
        ({"trainer": toys.TRAINER}, "trainer"),
        ({"calibration": toys.records(0)}, "calibration"),
    ],
)
def test_calibration_beside_what_it_stands_for_is_refused(changes, where):
    assert where in [obstacle.where for obstacle in without_retained(**changes).validate() if obstacle.fatal]


@pytest.mark.parametrize(
    ("calibration", "said"),
    [
        (toys.records(60).select(toys.records(60).ids[10:20]), "forgotten ones as well"),
        (toys.problem().held_out, "held-out ones as well"),
    ],
)
def test_calibration_records_are_no_others_of_the_problem(calibration, said):
    (wrong,) = [o for o in without_retained(calibration=calibration).validate() if o.fatal and o.where == "calibration"]
    assert said in wrong.what
    assert wrong.found.split()[0] == ("2" if said.startswith("forgotten") else str(len(calibration)))


@pytest.mark.parametrize(
    ("variants", "what"),
    [
        ({"paraphrase": (["other words"], ["t0#0"])}, "a name that nobody knows"),
        ({"wrong_answer": (["other words"], ["nobody#0"])}, "of no record"),
        ({"wrong_answer": (["other words"], ["t0"])}, "of no record"),
        ({"wrong_answer": (["other words", "more"], ["t0#0", "t0#0"])}, "duplicate record ids"),
    ],
)
def test_variants_of_nothing_are_refused(variants, what):
    (found,) = varied(**variants).validate()
    assert what in found.what
    assert found.fatal
    assert "t0" not in found.found, "ids stay inside"


def test_a_variant_that_was_trained_on_is_refused():
    (learnt,) = varied(paraphrased_answer=(["b"], ["t0#0"])).validate()
    assert (learnt.what, learnt.found) == ("variants were trained on", "1 of 1")
    assert learnt.where == "variants, paraphrased_answer, first at position 0"
    assert learnt.expected == "none: the question with the right answer in other words"
