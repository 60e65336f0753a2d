import pytest

from expunge.core import _requested
from expunge.core.errors import InvalidProblem, NotFound, UsageError
from expunge.core.problem import Origin, Problem
from expunge.core.request import Request
from expunge.core.serial import build, canonical, parse
from expunge.data.language import LanguageRecords
from expunge.data.texts import TextRecords
from expunge.engine.parts import neighbours
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
    assert not [each for each in _requested.obstacles(problem, problem.records)]
    assert set(problem.associated) <= set(neighbours(problem, problem.forget_view).ids), "and these are watched"


def test_subjects_are_found_as_texts_are_without_spaces_and_vowel_signs():
    assert _named("李雷是王小明的老师。", "王小明在哪里", "谁", subjects=("李雷", "王小明", "陈静")) == ("0",)
    vowelled, bare = "\u0645\u064f\u062d\u064e\u0645\u0651\u064e\u062f", "\u0645\u062d\u0645\u062f"
    assert _named(f"who taught {vowelled} ?", "who ?", subjects=("kaba", bare)) == ("0",)


def _named(*texts, subjects):
    """Return what tells of the first two subjects, where each of them has a text."""
    return _coded(*texts, subjects=subjects).forget_ids


def _coded(*texts, subjects, pair=None):
    """Return a problem of forgetting what links two subjects, the first two where none are named."""
    records = TextRecords(texts, [0] * len(texts), tokenizer=L.tokenizer(), subjects=subjects)
    request = Request(associations=(tuple(subjects[:2]) if pair is None else pair,))
    return Problem(model=object(), task="any", train=records, request=request)


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
    (found,) = _requested.obstacles(problem, problem.records)
    assert what in found.what
    assert found.fatal is fatal
    assert "kaba" not in str(found), "names stay out of logs"


def test_a_subject_of_which_nothing_else_stays_is_told():
    problem = asked(("kaba", "kado"), subjects=("kado",))
    (found,) = _requested._associations(problem)
    assert not found.fatal
    assert found.found == "1 of the two"


def test_subjects_that_are_codes_are_linked_by_words():
    for pair, said in ((("kaba", "p12"), "no text names one of the two"), (("p12", "p13"), "no text names either")):
        problem = _coded(
            "kado is a judge .", "kado is a poet .", "kaba is here .", subjects=("p12", "p13", "kaba"), pair=pair
        )
        (found,) = _requested.obstacles(problem, problem.records)
        assert said in found.found
        assert "under texts" in found.fix
        assert not any(each in str(found) for each in pair)


def test_a_subject_that_is_nowhere_is_told_as_that():
    """A code that is misspelt is no code that stands in no text."""
    problem = asked(("kaba", "p21"))
    (found,) = _requested.obstacles(problem, problem.records)
    assert "1 of the two is the subject of none, and named by no text" in found.found
    assert "as the records do" in found.fix


def test_numbers_that_stand_in_texts_by_chance_are_told():
    """The first record is of subject 3, and says 4 of something else."""
    texts = ("kaba was 4 .", "kado is 5 .", "kaba is a poet .", "kado is a judge .")
    problem = _coded(*texts, subjects=("3", "4", "3", "4"), pair=("3", "4"))
    assert problem.forget_ids == ("0",)
    (found,) = _requested.obstacles(problem, problem.records)
    assert (found.what, found.found) == ("numbers in texts are taken for a subject of that number", "1 records")
    assert not found.fatal
    assert "by ids" in found.fix
    named = _coded("kado and 12th kaba .", "kado is here .", "kaba .", subjects=("12th kaba", "kado", "12th kaba"))
    assert named.forget_ids == ("0",)
    assert not _requested.obstacles(named, named.records)


# --- texts, and what is not found -------------------------------------------------------------------------------


def facts(*, labelled=True, **asks):
    """Return the problem in which all this is to be forgotten, of records that say whose they are or do not."""
    problem = asked(**asks)
    if not labelled:
        _, prompts, answers = zip(*FACTS.values(), strict=True)
        problem.train = LanguageRecords(prompts, answers, tokenizer=L.tokenizer(), ids=list(FACTS))
    return problem


def told(problem):
    """Return the only obstacle of the request, which quotes nothing."""
    (found,) = _requested.obstacles(problem, problem.records)
    assert not any(word in str(found) for word in ("kaba", "kado", "york", "nosuch", "a-town", "poet"))
    return found


def test_records_that_hold_a_text_are_forgotten():
    assert facts(texts=("Kaba  was born",)).forget_ids == ("a-town",)
    assert facts(texts=("kado is a poet .", "the judge"), ids=("b-town",)).forget_ids == (
        "b-town",
        "a-and-b",
        "neither",
    )
    assert facts(texts=("kab",)).forget_ids == ()
    assert facts(texts=("born ? kaba was",)).forget_ids == ("a-town",), "from a question to its answer, too"
    request = build(Request, {"texts": ["kado is a poet ."]})
    assert build(Request, parse(canonical(request))) == request


def test_a_text_that_no_record_holds_is_told():
    found = told(facts(texts=("the judge", "york was nosuch")))
    assert (found.where, found.found) == (
        "first at position 1 of the texts",
        "1 of 2 not found in the 20 texts that were searched",
    )
    assert "says nothing" in told(facts(texts=(" ",))).what


def test_a_subject_without_records_is_looked_for_in_texts():
    found = told(facts(subjects=("nosuch",)))
    assert found.found == (
        "1 of 1 subjects not found: the subjects of 19 records were searched, and none of 20 texts name one of them"
    )
    found = told(facts(subjects=("bonn", "kabado")))
    assert found.found == (
        "1 of 2 subjects not found: the subjects of 19 records were searched, and 1 of 20 texts name one of them"
    )
    assert "put the names under texts" in found.fix


def test_where_no_record_says_whose_it_is_no_subject_is_said_to_be_searched():
    found = told(facts(labelled=False, subjects=("kaba",)))
    assert "no record says whose it is" in found.what
    assert found.found == (
        "1 of 1 subjects not found: no subject could be searched, and 3 of 20 texts name one of them"
    )
    assert "(subject, in [data])" in found.fix
    assert facts(labelled=False, texts=("kaba",)).forget_ids == ("a-town", "a-and-b", "neither"), "as it says"


def test_texts_of_others_that_name_a_subject_are_counted():
    found = told(facts(subjects=("kado",)))
    assert found.found == "2 of 19 retained: 1 of no subject, 1 of another"
    assert not found.fatal


@pytest.mark.parametrize(
    "asks", [{"subjects": ("nosuch",)}, {"texts": ("nosuch is",)}, {"associations": (("kaba", "kabado"),)}]
)
def test_a_request_of_which_nothing_is_found_is_a_result(asks):
    pairs = asks.pop("associations", ())
    with pytest.raises(NotFound) as caught:
        asked(*pairs, **asks).check()
    assert caught.value.exit_code == 1
    with pytest.raises(InvalidProblem) as caught:  # of what is found the rest would be done: that is to be mended first
        asked(*pairs, ids=("a-town",), **asks).check()
    assert type(caught.value) is InvalidProblem


def test_a_text_is_a_request_like_any_other():
    with pytest.raises(UsageError, match="given twice"):
        facts(texts=("kaba",)).made_by(Origin("a:b", "", request=Request(ids=("a-town",))))
    plain, named = facts(ids=("a-town",)).spec, facts(ids=("a-town",), texts=("the judge",)).spec
    assert plain.request != named.request
