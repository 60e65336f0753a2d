from dataclasses import replace

from tests.support.reports import GONE, STILL_THERE, attempt, report


def test_what_ships_is_found_by_number():
    escalated = report(attempt(STILL_THERE), attempt(GONE, number=2), chosen=2)
    assert escalated.shipped is escalated.attempts[1]
    assert replace(escalated, chosen=None).shipped is None
    assert replace(escalated, chosen=7).shipped is None
