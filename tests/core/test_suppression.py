"""The filter stops what it should, lets pass what it should, and shows nothing of it."""

import json

import pytest

from expunge.core.errors import UsageError
from expunge.core.suppression import FORMAT, OutputFilter, words

SECRET = "Mara Quill was born in the harbour town of Ostrow in 1961."
SHORT = "In Ostrow."
KEPT = ["Ostrow lies by the sea.", "She was born in the harbour town of Lund in 1950."]


def made(forgotten=(SECRET,), retained=KEPT, **more):
    return OutputFilter.against(forgotten, retained, **{"key": b"k" * 32, "length": 4, "instead": "No.", **more})


@pytest.mark.parametrize(
    "text",
    [
        SECRET,
        "I think that mara quill was BORN somewhere.",
        "Well: «harbour town of Ostrow», they say",
        "the town_of Ostrow in\n1961",
        "\uff2dara Quill was born",  # full width
    ],
)
def test_words_in_a_row_are_stopped_however_they_are_written(text):
    assert made().stops(text)
    assert made().answer(text) == "No."


@pytest.mark.parametrize(
    "text", ["", "Mara Quill wrote books.", "was born in the harbour town of somewhere", "Ostrow in 1961", *KEPT]
)
def test_what_is_shorter_or_retained_as_well_passes(text):
    assert made().answer(text) == text


def test_a_short_answer_is_known_as_a_whole():
    filtered = made([SECRET, SHORT], [])
    assert filtered.lengths == (2, 4)
    assert filtered.stops("It was in Ostrow, I am sure")
    assert not filtered.stops("Ostrow it was in")


def test_the_file_holds_no_word_of_it_and_comes_back(tmp_path):
    filtered, path = made(until="2027-01-31"), tmp_path / "filter.json"
    filtered.save(path)
    assert OutputFilter.load(path) == filtered
    text = path.read_text().casefold()
    assert not any(word in text for word in words(SECRET) if len(word) > 3 and not word.isdigit())
    assert json.loads(path.read_text())["format"] == FORMAT
    other = made(key=b"j" * 32, until="2027-01-31")
    assert not set(other.marks) & set(filtered.marks)


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"key": "zz", "lengths": [1], "marks": [], "instead": ""}'])
def test_another_file_is_an_error_that_quotes_nothing(tmp_path, data):
    path = tmp_path / "filter.json"
    path.write_bytes(data)
    with pytest.raises(UsageError):
        OutputFilter.load(path)
    path.write_bytes(b'{"key": "00", "lengths": [1], "marks": [], "instead": "", "format": "another"}')
    with pytest.raises(UsageError, match="another"):
        OutputFilter.load(path)


def test_nothing_forgotten_stops_nothing():
    assert not made([]).stops(SECRET)
    assert not made(["..."]).stops("...")
