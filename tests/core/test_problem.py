"""Problems over toy kinds of everything: what is wrong is told at once, before any work."""

import pickle
import sys
from dataclasses import replace

import pytest

from expunge.core.digest import combine, sha256
from expunge.core.errors import InvalidProblem, Obstacle, UnknownName, UsageError
from expunge.core.problem import Origin
from expunge.core.request import Request
from expunge.data.canaries import plant
from tests.support import toys
from tests.support.reading import Source, Words, make, told, train, varied

pytestmark = pytest.mark.usefixtures("reading")


# --- what must go -------------------------------------------------------------------------------------------


def test_ids_and_subjects_are_joined_in_the_order_of_the_records():
    problem = make(forget=["t5"], request=Request(ids=("t2",), subjects=("anna",)))
    assert problem.forget_ids == ("t0", "t2", "t3", "t5")
    assert list(problem.forget_view) == list("acdf")
    assert list(problem.retain_view) == list("be")


def test_a_good_problem_has_no_obstacles():
    assert make().validate() == []
    assert make().check() == []


# --- what is wrong ------------------------------------------------------------------------------------------

WRONG = {
    "a broken model": ({"model": Source(wrong=[Obstacle(what="NaN")])}, "NaN"),
    "records that do not fit": ({"train": Words(["a", "", "b"])}, "empty word"),
    "holdout that does not fit": ({"holdout": Words([""], prefix="h")}, "empty word"),
    "unknown task": ({"task": "raeding"}, "no task called 'raeding'"),
    "unknown data": ({"train": 1j}, "cannot use a complex here"),
    "unknown holdout": ({"holdout": 1j}, "cannot use a complex here"),
    "unknown model": ({"model": 1j}, "cannot use a complex here"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_told(name):
    changes, what = WRONG[name]
    assert what in told(**changes)
    with pytest.raises(InvalidProblem, match=r"the problem has \d obstacle"):
        make(**changes).check()


def test_everything_wrong_is_told_at_once():
    wrong = told(
        model=Source(wrong=[Obstacle(what="NaN")]), forget=["nobody", "nobody"], holdout=Words("ab"), task="nothing"
    )
    assert len(wrong) == 5


# --- identity -----------------------------------------------------------------------------------------------


def test_one_id_is_no_list_of_ids():
    with pytest.raises(UsageError, match=r"(?s)one text.*forget=\[") as caught:
        make(forget="t1")
    assert "t1" not in str(caught.value)


def test_equal_problems_have_equal_digests():
    assert make().spec.digest == make().spec.digest


CHANGES = {
    "records": {"train": Words("abcdeg")},
    "request": {"forget": ["t2"]},
    "ground": {"request": Request(ground="licence ended")},
    "holdout": {"holdout": None},
    "trainer": {"trainer": None},
}


@pytest.mark.parametrize("name", CHANGES)
def test_another_problem_has_another_digest(name):
    assert make(**CHANGES[name]).spec.digest != make().spec.digest


def test_the_spec_holds_no_ids():
    assert "t1" not in str(make().spec)


def test_what_is_published_cannot_be_guessed():
    """The digest of one record's id would be found by trying ids; keyed, it is found by nobody."""
    spec = make().spec
    published = spec.committed(b"secret")
    guess = combine([sha256(b"t1")])
    assert spec.forget == guess
    hidden = ("train", "forget", "holdout", "request")
    for name in hidden:
        assert getattr(published, name) not in {guess, *(getattr(spec, other) for other in hidden)}
        assert getattr(spec.committed(b"another"), name) != getattr(published, name)
    assert published == spec.committed(b"secret")
    assert (published.model, published.task) == (spec.model, spec.task)
    assert make(holdout=None).spec.committed(b"secret").holdout is None


def test_a_trainer_may_describe_itself():
    class Described:
        def __call__(self, records, *, seed): ...

        def describe(self):
            return "described"

    assert make(trainer=Described()).spec.trainer == "described"
    assert make().spec.trainer.endswith(":train")


# --- another process ----------------------------------------------------------------------------------------

FACTORY = """
from expunge.core.problem import Problem
def problem(count=3, **more):
    return Problem(model=None, train=count, forget=more.get("forget", ()))
def number():
    return 5
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with a module that makes problems."""
    (tmp_path / "factory_of_a_test.py").write_text(FACTORY)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield str(tmp_path)
    sys.modules.pop("factory_of_a_test", None)


def test_a_problem_with_an_origin_is_made_again_elsewhere(project):
    origin = Origin("factory_of_a_test:problem", project, (("count", 7),), Request(ids=("a",)))
    problem = origin.make()
    assert (problem.train, problem.request.ids, problem.origin) == (7, ("a",), origin)
    again = pickle.loads(pickle.dumps(problem))
    assert (again.train, again.request) == (7, problem.request)
    assert again is not problem


def test_the_request_is_given_once(project):
    origin = Origin("factory_of_a_test:problem", project, (("forget", ["b"]),), Request(ids=("a",)))
    with pytest.raises(UsageError, match="given twice"):
        origin.make()


TARGETS = ["factory_of_a_test:nothing", "no_such_module:problem", ":problem", "factory_of_a_test", "", "..:x"]


@pytest.mark.parametrize("target", TARGETS)
def test_what_cannot_be_imported_is_a_usage_error(project, target):
    with pytest.raises(UsageError, match="cannot import"):
        Origin(target, project).make()


def test_what_is_no_problem_is_a_usage_error(project):
    with pytest.raises(UsageError, match=r"did not return a Problem \(problem\)\n  found: int"):
        Origin("factory_of_a_test:number", project).make()


def test_without_an_origin_the_handles_cross():
    again = pickle.loads(pickle.dumps(make(request=Request(ground="x"))))
    assert again.forget_ids == ("t1",)
    assert (list(again.records), list(again.held_out)) == (list("abcdef"), list("uvwxyz"))
    assert (again.task, again.trainer, again.request.ground) == ("reading", train, "x")


def test_an_unknown_task_lists_the_known():
    with pytest.raises(UnknownName, match="classification"):
        assert make(task="nothing").meaning


def planted():
    return plant(toys.records(300), count=100, secret=bytes(range(32)))


def test_canaries_that_were_trained_on_are_forgotten_with_the_request():
    record, given = planted()
    problem = toys.problem(train=given.train, forget=5, canaries=given)
    assert problem.planted_ids == set(given.included)
    assert set(problem.forget_ids) == {*given.train.ids[:5], *given.included}
    assert problem.validate() == []
    assert problem.spec.canaries == record.commitment
    assert problem.spec.digest != replace(problem, canaries=None).spec.digest


def test_canaries_cross_a_process_boundary():
    _, given = planted()
    there = pickle.loads(pickle.dumps(toys.problem(train=given.train, canaries=given)))
    assert there.forget_ids == toys.problem(train=given.train, canaries=given).forget_ids
    assert there.canaries.aside.manifest == given.aside.manifest


# --- variants of texts --------------------------------------------------------------------------------------------


def test_variants_are_part_of_what_the_problem_is():
    one = varied(wrong_answer=(["a wrong one"], ["t0#0"]))
    other = varied(wrong_answer=(["another wrong one"], ["t0#0"]))
    assert len({one.spec.digest, other.spec.digest, make().spec.digest}) == 3
    assert one.spec.committed(b"secret").variants not in (None, one.spec.variants)
    again = pickle.loads(pickle.dumps(one))
    assert again.variant_records["wrong_answer"].ids == ("t0#0",)
    assert again.spec.digest == one.spec.digest
