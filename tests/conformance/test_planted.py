"""Each mistake of published code is caught by the case that names it, and by what that case says."""

import pytest

from expunge.conformance.run import Result, conform
from tests.conformance import planted
from tests.conformance.cases import outcome

ROOMS = {True: "methods", False: "checks"}


def test_the_method_without_a_mistake_passes():
    results = {one.case: one for one in conform("methods", planted.Right).tried}
    assert {one.case: one.because for one in results.values() if one.result is Result.FAILED} == {}
    passed = [one for one in results.values() if one.result is Result.PASSED]
    assert len(passed) >= 20


@pytest.mark.parametrize("mistake", planted.MISTAKES, ids=lambda m: f"{m.number}-{m.planted.__name__}")
def test_a_planted_mistake_is_caught(mistake):
    room = ROOMS[issubclass(mistake.planted, planted.Method)]
    result, because, catches = outcome(room, mistake.planted, mistake.case)
    assert result is Result.FAILED, f"{mistake.what}: {because}"
    assert mistake.number in catches
    assert not because.startswith("raised") or mistake.number == "G-14"


def test_every_number_is_planted():
    assert {mistake.number for mistake in planted.MISTAKES} == {f"G-{n}" for n in range(1, 19)}
