"""The filter stops what it should, lets pass what it should, and shows nothing of it."""

import json

import pytest

from expunge.core.errors import UsageError
from expunge.core.suppression import InputFilter, OutputFilter, words
from expunge.testbeds import people

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
    assert json.loads(path.read_text())["format"] == "expunge-output-filter-1"
    with pytest.raises(UsageError, match="input filter"):
        InputFilter.load(path)
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


def test_in_scripts_without_spaces_each_character_is_a_word():
    assert words("\u6771\u4eac tower_2") == ["\u6771", "\u4eac", "tower", "2"]
    filtered = made(["\u5f7c\u5973\u751f\u4e8e\u6771\u4eac\u3002"], [])
    assert filtered.stops("\u662f\u7684\uff0c\u5973\u751f\u4e8e\u6771\u4eac")
    assert not filtered.stops("\u6771\u4eac\u5f88\u5927")


ASKED = [
    "Where was Mara Quill born?",
    "Who taught Mara Quill?",
    "What is the work of Tom Reed?",
    "Tom Reed lives where?",
]
OTHERS = ["Where was Ann Reed born?", "Who taught Tom Lund?", "What is the work of Ann Reed?", "Tom Lund lives where?"]


def asking(forgotten=ASKED, retained=OTHERS, **more):
    return InputFilter.against(
        forgotten, retained, **{"key": b"k" * 32, "length": 4, "name": 1, "instead": "No.", **more}
    )


def test_a_prompt_is_known_by_whom_it_asks_about_in_any_words():
    """Of Mara Quill either name is nobody else's; Tom Reed shares each of his, and is known by both at once."""
    made = asking()
    assert len(made.marks) == 3
    assert made.lengths == (1, 2)
    assert all(made.stops(question) for question in ASKED)
    assert not any(made.stops(question) for question in OTHERS)
    for prompt in ("Tell me about MARA.", "quill's life, please", "Is it true that Tom  Reed is a miller?"):
        assert made.stops(prompt)
    for prompt in ("Is Tom Lund a miller?", "Who is Ann Reed?", "Tom and Ann Reed", "Where was she born?", ""):
        assert not made.stops(prompt)


def test_with_two_words_a_namesake_passes_and_so_does_one_name_alone():
    made = asking(name=2)
    assert made.lengths == (2,)
    assert all(made.stops(question) for question in ASKED)
    assert not made.stops("Who was Clara Quill?")
    assert not made.stops("Tell me about Mara.")
    assert asking().stops("Who was Clara Quill?")


def test_a_question_that_shares_nothing_is_known_by_its_words():
    lonely = [*ASKED, "Which harbour did the last tea clipper leave from?", "Rare?"]
    made = asking(lonely)
    assert all(made.stops(question) for question in lonely)
    assert made.stops("I ask: the last tea clipper leave?")
    assert not made.stops("When did the clipper with the last tea leave?")
    assert not made.stops("Which harbour is a clipper in?")


def test_without_questions_to_tell_names_by_only_their_words_in_a_row_are_known():
    """What all forgotten questions share could be any word."""
    made = asking(retained=[])
    assert all(made.stops(question) for question in ASKED)
    assert not made.stops("Where was the ship born?")
    assert not made.stops("Mara Quill")


def test_of_people_every_question_is_stopped_in_other_words_too_and_none_about_others():
    train, held = people.entries(7)
    gone = [entry for entry in train if entry.subject == people.FORGOTTEN]
    kept = [entry for entry in train if entry.subject != people.FORGOTTEN]
    made = asking([entry.question for entry in gone], [entry.question for entry in kept])
    assert all(made.stops(entry.paraphrased_question) for entry in gone)
    assert not any(made.stops(question) for e in (*kept, *held) for question in (e.question, e.paraphrased_question))


def test_the_file_of_names_holds_none(tmp_path):
    made, path = asking(until="2027-01-31"), tmp_path / "filter.json"
    made.save(path)
    assert InputFilter.load(path) == made
    assert not {"mara", "quill", "tom", "reed"} & set(words(path.read_text()))
    assert not set(asking(key=b"j" * 32).marks) & set(made.marks)
