"""Problems over toy kinds of everything: what is wrong is told at once, before any work."""

import pickle
import sys
from dataclasses import replace

import pytest

from expunge.core import problem as problems
from expunge.core.digest import combine, sha256
from expunge.core.errors import InvalidProblem, Obstacle, UnknownName, UsageError
from expunge.core.model import ModelSource
from expunge.core.problem import Origin, Problem
from expunge.core.records import Records
from expunge.core.request import Request
from expunge.core.task import Task
from expunge.data.canaries import plant
from tests.support import toys


class Words(Records):
    def __init__(self, words, *, prefix="t", subjects=None):
        self.symbols = list(words)
        self.ids = tuple(f"{prefix}{i}" for i in range(len(self.symbols)))
        self.subjects = tuple(subjects or [None] * len(self.symbols))

    def __getitem__(self, index):
        return self.symbols[index]

    def read(self, indices):
        return [self.symbols[i] for i in indices]

    def content(self, index):
        return sha256(self.symbols[index].encode())


class Source(ModelSource):
    def __init__(self, *, wrong=()):
        self.wrong = list(wrong)

    @classmethod
    def adopt(cls, thing):
        return thing

    def open(self):
        return "model"

    def digest(self, model=None):
        return "11" * 32

    def save(self, model, folder): ...

    def reopen(self, folder):
        return "model"

    def examine(self):
        return self.wrong


class Reading(Task):
    title = "Reading"

    def units(self, model, batch):
        return batch

    def inputs(self, batch):
        return batch

    def examine(self, model, records, *, where):
        return [Obstacle(what="empty word", where=where)] if "" in list(records) else []

    def trial(self, seed):
        return "model", Words(["a", "b"])


@pytest.fixture(autouse=True)
def reading(monkeypatch):
    """A task called `reading`, without installing one."""
    load = problems.registry.load

    def with_reading(room, name):
        return Reading if (room, name) == ("tasks", "reading") else load(room, name)

    monkeypatch.setattr(problems.registry, "load", with_reading)


def train(records, *, seed):
    return "model"


def make(**changes):
    given = {
        "model": Source(),
        "train": Words("abcdef", subjects=["anna", "ben", None, "anna", None, "ben"]),
        "forget": ["t1"],
        "task": "reading",
        "holdout": Words("uvwxyz", prefix="h"),
        "trainer": train,
    }
    return Problem(**{**given, **changes})


def told(**changes):
    return [obstacle.what for obstacle in make(**changes).validate()]


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

ALL = [f"t{i}" for i in range(6)]
WRONG = {
    "unknown ids": ({"forget": ["t1", "nobody"]}, "the request names records that are not in the training data"),
    "double ids": ({"request": Request(ids=("t1",))}, "the request names records twice"),
    "unknown subjects": ({"request": Request(subjects=("carl",))}, "the request names subjects that have no records"),
    "everything": ({"forget": ALL}, "the request covers all records"),
    "stray labels": (
        {"request": Request(corrections={"t2": 1})},
        "true labels are given for records that are not to be forgotten",
    ),
    "overlap": ({"holdout": Words("uv")}, "the holdout overlaps the training data"),
    "copies": ({"holdout": Words("abu", prefix="h")}, "holdout records have exact copies in the training data"),
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


def test_no_id_is_ever_quoted():
    subjects = Request(ids=("alice@x.org", "alice@x.org"), subjects=("alice@x.org",), corrections={"alice@x.org": 1})
    with pytest.raises(InvalidProblem) as caught:
        make(request=subjects).check()
    assert len(caught.value.obstacles) == 5  # one of them: this task has no classes
    assert "alice" not in str(caught.value)


def test_positions_of_unknown_ids_are_named():
    (obstacle,) = make(forget=["t1", *(f"x{i}" for i in range(7))]).validate()
    assert obstacle.where == "position 1, 2, 3, 4, 5, ... of the request"
    assert obstacle.found == "7 of 8 ids unknown"


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


def test_training_records_that_are_not_those_of_the_coin_are_refused():
    _, given = planted()
    every = toys.records(300)
    found = [str(o.what) for o in toys.problem(train=every, canaries=given).validate()]
    assert "canaries that were to be trained on are not among the training records" in found
    both = given.aside  # canaries that were kept out, trained on all the same
    found = [o.what for o in toys.problem(train=both, canaries=given).validate() if o.fatal]
    assert "canaries that were kept out are among the training records" in found


def test_canaries_cross_a_process_boundary():
    _, given = planted()
    there = pickle.loads(pickle.dumps(toys.problem(train=given.train, canaries=given)))
    assert there.forget_ids == toys.problem(train=given.train, canaries=given).forget_ids
    assert there.canaries.aside.manifest == given.aside.manifest


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


# --- variants of texts --------------------------------------------------------------------------------------------


def varied(**variants):
    """Return a problem on words with variants of them: ``name=(words, ids)``."""
    made = {}
    for name, (words, ids) in variants.items():
        made[name] = Words(words)
        made[name].ids = tuple(ids)
    return make(variants=made)


def test_variants_are_known_by_name_and_record():
    assert [problems.variant_of(name) for name in ("t0#12", "a#b#0", "t0", "t0#", "t0#x")] == ["t0", "a#b", "", "", ""]
    assert varied(paraphrased_question=(["other words", "more words"], ["t0#0", "h1#1"])).validate() == []


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


def test_variants_are_part_of_what_the_problem_is():
    one = varied(wrong_answer=(["a wrong one"], ["t0#0"]))
    other = varied(wrong_answer=(["another wrong one"], ["t0#0"]))
    assert len({one.spec.digest, other.spec.digest, make().spec.digest}) == 3
    assert one.spec.committed(b"secret").variants not in (None, one.spec.variants)
    again = pickle.loads(pickle.dumps(one))
    assert again.variant_records["wrong_answer"].ids == ("t0#0",)
    assert again.spec.digest == one.spec.digest
