"""Groups are looked at where there are records enough of each, and else that is said."""

from dataclasses import replace

import pytest

from expunge.audit import policy
from expunge.core.check import EvidenceKind
from expunge.engine.available import available
from expunge.engine.groups import Groups, ungrouped
from expunge.workflow import bad_input
from tests.support import toys

HELD = 120


def posed(name_of):
    """Return a problem whose holdout records h0, h1, ... have the groups that ``name_of`` gives to (place, label)."""
    whole = toys.problem(holdout=HELD)
    labels = whole.held_out.read(range(HELD))[1].tolist()
    groups = {f"h{i}": name for i, label in enumerate(labels) if (name := name_of(i, label))}
    return toys.problem(holdout=HELD, groups=groups)


def asked(problem):
    checks = policy.load("standard").suite(available(problem))
    return {"worst_group_accuracy", "equalised_odds"} & set(checks)


def test_both_checks_are_asked_where_each_group_has_enough_of_each_class():
    problem = posed(lambda place, label: "few" if place % 2 else "many")
    assert Groups.of(problem).rarest >= Groups.ENOUGH
    assert (asked(problem), ungrouped(problem)) == ({"worst_group_accuracy", "equalised_odds"}, None)


def test_a_group_without_a_class_is_still_looked_at_and_the_gap_is_not():
    """As where a shortcut was learnt: of one group and class there is next to nothing."""
    problem = posed(lambda place, label: "few" if label == 0 else "many")
    assert Groups.of(problem).rarest == 0
    assert asked(problem) == {"worst_group_accuracy"}
    note = ungrouped(problem)
    assert (note.what, note.fatal) == ("the gap between groups is not looked at", False)
    assert note.found == "0 holdout records of the rarest class in a group"
    assert note in bad_input.look(problem)[0]


@pytest.mark.parametrize(
    ("name_of", "found"),
    [
        (lambda place, label: "few" if place < 5 else "many", "5 holdout records of the smallest group"),
        (lambda place, label: "all", "one group"),
        (lambda place, label: "few" if place < 60 else "", "one group"),
    ],
)
def test_groups_that_cannot_be_looked_at_are_told(name_of, found):
    problem = posed(name_of)
    assert asked(problem) == set()
    note = ungrouped(problem)
    assert (note.what, note.found) == ("the groups are not looked at", found)


def test_records_without_a_group_turn_nothing_off_and_count_for_none():
    groups = {0: "few", 1: "many", 2: ""}
    problem = posed(lambda place, label: groups[place % 3])
    whole = Groups.of(problem)
    assert asked(problem) == {"worst_group_accuracy"}
    assert whole.smallest == 40
    assert whole.rarest < Groups.ENOUGH
    assert Groups.of(posed(lambda place, label: "")).because == ""
    assert ungrouped(toys.problem(holdout=HELD, groups={"r0": "few"})).found == "no holdout record with a group"


def test_what_a_policy_always_asks_is_asked_and_missed():
    """Left out unsaid, a check that somebody required would pass for one that was made."""
    problem = posed(lambda place, label: "few" if label == 0 else "many")
    margin = replace(policy.load("standard").checks["equalised_odds"], when="always")
    own = replace(policy.load("standard"), checks={"equalised_odds": margin})
    assert set(own.suite(available(problem))) == {"equalised_odds"}


def test_a_holdout_that_is_missing_is_told_and_nothing_where_no_groups_are_named():
    assert ungrouped(toys.problem(holdout=0, groups={"h0": "few"})).found == "no holdout"
    assert ungrouped(toys.problem(holdout=0)) is None
    assert not available(toys.problem(holdout=HELD)) & {EvidenceKind.GROUPS, EvidenceKind.CELLS}
