"""The filter stops what it should, lets pass what it should, and shows nothing of it."""

import json

import pytest

from expunge.core.errors import UsageError
from expunge.core.phrases import words_of
from expunge.core.suppression import InputFilter, OutputFilter
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
    assert not any(word in text for word in words_of(SECRET) if len(word) > 3 and not word.isdigit())
    assert json.loads(path.read_text())["format"] == "expunge-output-filter-2"
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


@pytest.mark.parametrize(
    "change",
    [
        {"key": ""},
        {"key": "zz"},
        {"lengths": []},
        {"lengths": [0]},
        {"lengths": [-4]},
        {"marks": ["A" * 32]},
        {"marks": []},
        {"passes": ["0"]},
    ],
)
def test_a_file_that_was_altered_so_that_it_stops_nothing_is_an_error(tmp_path, change):
    path = tmp_path / "filter.json"
    made().save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UsageError, match="missing or was changed"):
        OutputFilter.load(path)
    empty = made([])
    empty.save(path)
    assert OutputFilter.load(path) == empty


def test_nothing_forgotten_stops_nothing():
    assert not made([]).stops(SECRET)
    assert not made(["..."]).stops("...")


def test_in_scripts_without_spaces_each_character_is_a_word():
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


@pytest.mark.parametrize(
    ("gone", "stays", "asked", "others"),
    [
        (  # who is Wang Xiaoming; what of Xiaoming; how is tomorrow, of which a character is in the name
            ["\u738b\u5c0f\u660e\u5728\u54ea\u91cc", "\u738b\u5c0f\u660e\u662f\u8c01"],
            ["\u674e\u96f7\u5728\u54ea\u91cc", "\u674e\u96f7\u662f\u8c01"],
            ["\u5c0f\u660e\u5462", "\u738b\u5c0f\u660e"],
            ["\u660e\u5929\u5929\u6c14", "\u56fd\u738b\u662f\u8c01", "\u5c0f\u72d7"],
        ),
        (  # Kim Min-su; what is mathematics (su-hak)
            ["\uae40\ubbfc\uc218\ub294 \uc5b4\ub514", "\uae40\ubbfc\uc218\uc758 \uc9c1\uc5c5"],
            ["\uc774\uc601\ud76c\ub294 \uc5b4\ub514", "\uc774\uc601\ud76c\uc758 \uc9c1\uc5c5"],
            ["\ubbfc\uc218\ub294?"],
            ["\uc218\ud559\uc774\ub780?", "\uae40\uce58"],
        ),
    ],
)
def test_one_character_of_a_script_without_spaces_is_no_name(gone, stays, asked, others):
    made = asking(gone, stays)
    assert all(made.stops(prompt) for prompt in (*gone, *asked))
    assert not any(made.stops(prompt) for prompt in (*stays, *others))


THAI = {  # names; questions about them, and the same in other words: where born, what work, who taught; tell me, who is
    "gone": "สมชาย ใจดี",
    "kept": ["มานี รักไทย", "ปิติ พิทักษ์ถิ่น", "วีระ ประสงค์สุข"],
    "never met": ["สมศักดิ์ ทองดี", "อรุณ แสงทอง", "สมบูรณ์ ชายแดน"],
    "asked": ["{}เกิดที่ไหน", "{}ทำงานอะไร", "ใครเป็นครูของ{}"],
    "anew": ["บอกฉันเกี่ยวกับ{}หน่อย", "{}คือใคร"],
}


def test_a_name_of_letters_without_spaces_is_known_by_as_many_as_make_a_word():
    """Two letters of Somchai stand in other names, and in other words; the given or the family name alone is enough."""
    gone, kept = [
        [form.format(name) for form in THAI["asked"] for name in names] for names in ([THAI["gone"]], THAI["kept"])
    ]
    made = asking(gone, kept)
    forms = [*THAI["asked"], *THAI["anew"]]
    for name in (THAI["gone"], THAI["gone"].replace(" ", ""), *THAI["gone"].split()):
        assert all(made.stops(form.format(name)) for form in forms)
    for name in (*THAI["kept"], *THAI["never met"]):
        assert not any(made.stops(form.format(name)) for form in forms)


def test_letters_without_spaces_are_told_in_rows_as_long_as_those_of_other_scripts():
    """Five characters of Thai are one word, here of a market; five words are some twenty letters and signs."""
    filtered = made(["สมชายเป็นช่างทำขนมปังในตลาดเก่า"], [], length=5)
    assert filtered.stops("เขาเป็นช่างทำขนมปังในตลาดเก่าแห่งหนึ่ง")
    assert not filtered.stops("ตลาดเก่าเปิดทุกวัน")
    assert made(["ตลาดเก่า"], [], length=5).stops("ไปตลาดเก่า")


def test_with_two_words_a_namesake_passes_and_so_does_one_name_alone():
    made = asking(name=2)
    assert made.lengths == (2,)
    assert all(made.stops(question) for question in ASKED)
    assert not made.stops("Who was Clara Quill?")
    assert not made.stops("Tell me about Mara.")
    assert asking().stops("Who was Clara Quill?")


def many(name, count=6):
    return [f"{begin} {name} {end}?" for begin, end in zip("abcdefghij"[:count], "klmnopqrst", strict=False)]


def test_a_name_that_a_few_retained_questions_hold_still_tells_and_these_pass_as_they_are():
    """Six questions about Mara Quill, and one about somebody else that names her."""
    naming, others = "Is Ann Lund married to Mara Quill?", [*OTHERS, *many("Ann Lund")]
    made = asking(many("Mara Quill"), [*others, naming])
    for prompt in ("Tell me about Mara", "quill ?", "Is Mara Quill married to Ann Lund?", f"So: {naming}"):
        assert made.stops(prompt)
    assert not made.stops(naming)
    assert not made.stops("is ann lund married, to MARA QUILL")
    assert not any(made.stops(question) for question in others)
    assert len(made.passes) == 1
    assert not asking(many("Mara Quill"), others).passes


def test_a_name_of_which_much_is_retained_tells_no_more():
    naming = ["Is Ann Lund married to Mara Quill?", "Who taught Mara Quill to swim?"]
    made = asking(many("Mara Quill"), [*OTHERS, *many("Ann Lund"), *naming])
    assert not made.stops("Tell me about Mara")
    assert all(made.stops(question) for question in many("Mara Quill"))
    assert not made.passes


def test_a_common_word_is_no_name_because_few_questions_are_retained():
    """It stands in all of six forgotten questions, and in the one that is retained."""
    made = asking([f"when {name}?" for name in "abcdef"], ["when was it"])
    assert not made.stops("when is lunch")


def test_of_what_all_share_that_is_the_name_which_no_retained_question_holds():
    made = asking(
        [f"{begin} harbour of Ostrow {end}" for begin, end in zip("abcdef", "klmnop", strict=True)],
        [*OTHERS, "a harbour?"],
    )
    assert made.stops("Ostrow")
    assert not made.stops("the harbour of Lund")


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
    assert not {"mara", "quill", "tom", "reed"} & set(words_of(path.read_text()))
    assert not set(asking(key=b"j" * 32).marks) & set(made.marks)


def test_a_file_of_an_earlier_version_is_refused_and_to_be_written_anew(tmp_path):
    path = tmp_path / "filter.json"
    asking().save(path)
    path.write_text(path.read_text().replace(InputFilter.FORMAT, "expunge-input-filter-1"))  # other words, other marks
    with pytest.raises(UsageError, match="expunge-input-filter-1") as told:
        InputFilter.load(path)
    assert "write it anew" in told.value.obstacles[0].fix


def test_files_that_were_written_stop_the_same_words_as_long_as_their_format_is_the_same():
    """Where this fails words are made in another way: count on the formats, then what was written is refused."""
    right_to_left = "\u0623\u064e\u062d\u0645\u062f, \u05d3\u05b8\u05bc\u05d5\u05b4\u05d3"
    assert words_of(right_to_left) == ["\u0627\u062d\u0645\u062f", "\u05d3\u05d5\u05d3"]
    assert words_of("J\u00fcrgen Gro\u00df, \u0664\u0662") == ["j\u00fcrgen", "gross", "42"]
    assert words_of("\u0e19\u0e49\u0e33\u738b\u660e") == ["\u0e19\u0e49\u0e4d", "\u0e32", "\u738b", "\u660e"]
    assert (OutputFilter.FORMAT[-2:], InputFilter.FORMAT[-2:]) == ("-2", "-2")


@pytest.mark.parametrize("name", ["marks", "instead", "until", "whole"])
def test_a_filter_of_which_a_part_was_lost_is_refused(tmp_path, name):
    """With fewer marks it would let through what it was made to stop, without a word."""
    made = InputFilter.against(
        ["who is ada vale ?", "where was ada vale born ?"], ["where was bo hill born ?"], key=b"k" * 16, length=4,
        name=2, instead="I cannot say.", until="2027-01-01",
    )  # fmt: skip
    path = tmp_path / "input-filter.json"
    made.save(path)
    assert InputFilter.load(path) == made
    about = json.loads(path.read_text())
    about[name] = about[name][1:]
    path.write_text(json.dumps(about))
    with pytest.raises(UsageError, match="missing or was changed"):
        InputFilter.load(path)


@pytest.mark.parametrize("said", [None, ["who is ada vale ?"], b"who"])
def test_what_is_no_text_is_told(said):
    made = InputFilter.against(["who is ada vale ?"], [], key=b"k" * 16, length=4, name=2, instead="no")
    with pytest.raises(UsageError, match="what is no text"):
        made.stops(said)
