"""Cases are found, tried and told; exemptions are honest; and everything that is registered conforms."""

import sys
from typing import ClassVar

import pytest

from expunge.conformance import run
from expunge.conformance._case import Case
from expunge.conformance.run import Result, conform, find
from expunge.core import registry
from expunge.core.errors import UnknownName, UsageError
from tests.conformance import planted

EVERYTHING = [(room, name) for room in run.SUITES for name in registry.names(room)]


@pytest.mark.parametrize(("room", "name"), EVERYTHING, ids=lambda part: part)
def test_everything_registered_conforms(room, name):
    found = conform(room, registry.load(room, name))
    assert {one.case: one.because for one in found.tried if one.result is Result.FAILED} == {}
    assert found.passed


def test_the_rooms_are_not_empty():
    assert {"finetune", "neg_grad_plus", "noop", "retrain"} <= set(registry.names("methods"))
    assert len(EVERYTHING) >= 14
    assert all(len(suite) >= 8 for suite in run.SUITES.values())


@pytest.mark.parametrize("room", run.SUITES)
def test_cases_have_names_of_their_own_and_a_promise(room):
    cases = run.SUITES[room]
    assert len({case.name for case in cases}) == len(cases)
    assert all(isinstance(case, Case) and case.promise.endswith(".") for case in cases)


# --- exemptions -----------------------------------------------------------------------------------------------


def results(cls):
    found = conform("methods", cls)
    return found.passed, {one.case: (one.result, one.because) for one in found.tried}


def test_an_exempt_case_is_told_with_its_reason():
    class Exempt(planted.OneEpochTooMany):
        exempt: ClassVar = {"epochs_run_as_often_as_said": "counts from zero", "work_is_counted": "the same"}

    passed, said = results(Exempt)
    assert passed
    assert said["epochs_run_as_often_as_said"] == (Result.EXEMPT, "counts from zero")


@pytest.mark.parametrize(
    ("exempt", "case", "because"),
    [
        ({"same_seed_same_bits": "old line"}, "same_seed_same_bits", "not needed"),
        ({"interrupted_it_ends_the_same": "no loop"}, "interrupted_it_ends_the_same", "not applicable"),
        ({"no_such_case": "why not"}, "no_such_case", "no case has this name"),
        ({"epochs_run_as_often_as_said": " "}, "epochs_run_as_often_as_said", "no reason"),
    ],
)
def test_an_exemption_that_exempts_nothing_fails(exempt, case, because):
    passed, said = results(type("Exempt", (planted.Right,), {"exempt": exempt}))
    assert not passed
    assert said[case][0] is Result.FAILED
    assert because in said[case][1]


def test_what_is_never_tried_does_not_pass():
    nothing = run.Conformance("methods", "x", (run.Tried("a", "b.", (), Result.EXEMPT),))
    assert not nothing.passed
    assert not run.Conformance("methods", "x", ()).passed


def test_an_error_is_a_failure_and_the_others_go_on():
    class Raises(planted.Right):
        def unlearn(self, problem, run):
            raise ZeroDivisionError("one by zero")

    passed, said = results(Raises)
    assert not passed
    failed = [because for result, because in said.values() if result is Result.FAILED]
    assert len(failed) > 10
    assert all(because.startswith("raised ZeroDivisionError: one by zero (test_run.py, line") for because in failed)
    assert said["says_what_it_is"][0] is Result.PASSED


def test_every_case_is_told_as_it_ends():
    heard = []
    found = conform("methods", planted.Right, said=heard.append)
    assert tuple(heard) == found.tried


# --- finding --------------------------------------------------------------------------------------------------


def test_things_are_found_by_name_room_and_class(monkeypatch, tmp_path):
    assert find("finetune") == ("methods", registry.load("methods", "finetune"))
    assert find("checks/relearning") == ("checks", registry.load("checks", "relearning"))
    (tmp_path / "somebodys.py").write_text("from tests.conformance.planted import Right, OneSided\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    assert find("somebodys:Right") == ("methods", planted.Right)
    assert find("somebodys:OneSided") == ("checks", planted.OneSided)


@pytest.mark.parametrize(
    ("name", "error", "text"),
    [
        ("finetun", UnknownName, "nothing is called 'finetun'"),
        ("checks/finetune", UnknownName, "nothing is called"),
        ("no.such:Thing", UsageError, "cannot import"),
        ("expunge.core.level:Level", UsageError, "no contract"),
        ("expunge.core.level:PROMISES", UsageError, "no contract"),
    ],
)
def test_what_cannot_be_found_is_said(name, error, text):
    with pytest.raises(error, match=text):
        find(name)


def test_a_name_in_two_rooms_needs_its_room(monkeypatch):
    names = registry.names
    monkeypatch.setattr(registry, "names", lambda room: (*names(room), "twin"))
    with pytest.raises(UsageError, match="name the room as well: methods/twin"):
        find("twin")
