"""Alternatives are the user's, for every forgotten record."""

from expunge.methods.alt_dpo import Alternatives
from tests.support import toys
from tests.support.languages import spoken

LOOP = {"epochs": 1, "batch_size": 4}


def posed(ids=None, each=2):
    records = spoken().records
    answers = ["he is a judge .", "he was born in lima ."][:each]
    given = records.answered({name: answers for name in (records.ids[:6] if ids is None else ids)})
    return spoken(variants={"alternative": given})


def test_those_of_forgotten_records_are_taken_and_no_others():
    given = posed(spoken().records.ids)
    method = Alternatives(LOOP)
    assert not method.obstacles(given)
    found = method.others(given, toys.context(given))
    assert found.ids == tuple(f"{name}#{k}" for name in given.forget_ids for k in range(2))
    assert method.count(given) == 12
    assert method.unlearn(given, toys.context(given)).touched > 0.5


def test_a_record_without_one_is_an_obstacle():
    (found,) = Alternatives().obstacles(spoken())
    assert found.found == "none to 6 of 6"
    (found,) = Alternatives().obstacles(posed(spoken().records.ids[:5]))
    assert found.found == "none to 1 of 6"
    assert Alternatives().count(spoken()) == 0
