import pytest

from expunge.core.finder import Found


def test_by_chance_is_what_the_held_out_records_say_of_as_many():
    found = Found(
        way="alike",
        named=10,
        searched=200,
        ids=("a", "b", "c"),
        likely=(0.9, 0.8, 0.6),
        strangers=50,
        taken=2,
        at_most=0.121,
    )
    assert found.by_chance == pytest.approx(8)
    assert "3 of 200 retained records are like the 10 of the request" in found.sentence
    assert "2 were taken for such: by that 3 of those that were found are none, and at most 3 (95%" in found.sentence, (
        "no more can be wrong than there are"
    )
    assert not any(name in found.sentence.split() for name in found.ids)


def test_nothing_found_says_why_and_needs_no_held_out_records():
    found = Found(way="alike", named=1234, searched=0, reason="0 records have a label of theirs")
    assert found.by_chance == 0.0
    assert found.sentence == (
        "None of 0 retained records was found to be like the 1,234 of the request: 0 records have a label of theirs."
    )
