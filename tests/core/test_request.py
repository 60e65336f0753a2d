import pytest

from expunge.core.problem import Problem
from expunge.core.request import Request
from expunge.core.serial import build, canonical, parse
from expunge.data.language import LanguageRecords
from expunge.engine.evidence import neighbours
from tests.support import languages as L

FACTS = {
    "a-town": ("kaba", "where was kaba born ?", "kaba was born in york ."),
    "b-town": ("kado", "where was kado born ?", "kado was born in bonn ."),
    "a-and-b": ("kaba", "what is the work of Kado ?", "kaba is the judge of kado ."),
    "neither": (None, "what is the work of kaba ?", "kado is a poet ."),
    "alike": ("kabado", "where was kabado born ?", "kabado was born in rome ."),
    **{f"c-{name}": (name, f"where was {name} born ?", f"{name} was born in oslo .") for name in L.NAMES[5:20]},
}
"""Whose a record is, what is asked and what is answered, by id."""


def asked(*associations, **more):
    """Return a problem in which associations are to be forgotten."""
    subjects, prompts, answers = zip(*FACTS.values(), strict=True)
    records = LanguageRecords(prompts, answers, tokenizer=L.tokenizer(), ids=list(FACTS), subjects=list(subjects))
    request = Request(associations=associations, **more)
    return Problem(model=L.untrained(), train=records, task="causal_lm", request=request)


def test_round_trip():
    request = Request(ids=("a", "b"), subjects=("s",), reference="dsr-1", ground="licence ended", corrections={"a": 3})
    assert build(Request, parse(canonical(request))) == request


def test_everything_may_be_left_out():
    assert build(Request, {}) == Request()


def test_arguments_are_named():
    with pytest.raises(TypeError):
        Request(("a",))


# --- what links two subjects ------------------------------------------------------------------------------------


def test_an_association_is_what_tells_of_both():
    problem = asked(("kaba", "kado"))
    assert problem.forget_ids == ("a-and-b", "neither"), "by whose it is or by name, in any case, as whole words"
    assert problem.associated == ("a-town", "b-town")
    assert not [each for each in problem._request_obstacles(problem.records)]
    assert set(problem.associated) <= set(neighbours(problem, problem.forget_view).ids), "and these are watched"


def test_a_job_file_writes_it_as_pairs():
    request = build(Request, {"associations": [["kaba", "kado"]]})
    assert request == Request(associations=(("kaba", "kado"),))
    assert build(Request, parse(canonical(request))) == request


@pytest.mark.parametrize(
    ("pair", "what", "fatal"),
    [
        (("kaba", "kaba"), "not of two subjects", True),
        (("kaba",), "not of two subjects", True),
        (("kaba", " "), "not of two subjects", True),
        (("kaba", "kado", "kaba"), "not of two subjects", True),
        (("kaba", "kabado"), "no record tells of", True),
    ],
)
def test_an_association_that_is_none_is_told(pair, what, fatal):
    problem = asked(pair)
    (found,) = problem._association_obstacles()
    assert what in found.what
    assert found.fatal is fatal
    assert "kaba" not in str(found), "names stay out of logs"


def test_a_subject_of_which_nothing_else_stays_is_told():
    problem = asked(("kaba", "kado"), subjects=("kado",))
    (found,) = problem._association_obstacles()
    assert not found.fatal
    assert found.found == "1 of the two"
