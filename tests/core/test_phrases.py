import pytest

from expunge.core.phrases import Phrases, words_of


@pytest.mark.parametrize(
    ("phrase", "text", "stands"),
    [
        ("in York", "she lives in  york.", True),
        ("in york", "she lives in\nYork", True),
        ("york", "yorkshire", False),
        ("in york", "in new york", False),
        ("O'Brien", "it is O'Brien's", True),
        ("in york .", "in york , at last", False),
        ("Jose\u0301", "Jos\u00e9 said", True),
        ("a b c d e f g h", "0 a b c d e f g h 9", True),
        ("a b c d e f g h", "0 a b c d e f g i 9", False),
        ("a b c d e f g h", "a b c d e f g", False),
        ("ab", "", False),
        ("", "a", False),
        (" \n", "a", False),
    ],
)
def test_a_phrase_stands_in_a_text_word_for_word(phrase, text, stands):
    assert Phrases([phrase]).within(text) == ({0} if stands else set())


def test_phrases_that_begin_alike_are_told_apart():
    sought = Phrases(
        ["he was born in a town", "he was born in a town by the sea", "he was", "he was born in a city", "he was"]
    )
    assert sought.within("He was born in a town by the lake") == {0, 2, 4}
    assert sought.within("they say he was born in a town by the sea") == {0, 1, 2, 4}
    assert sought.within("she was born in a city") == set()


def test_words_are_runs_of_letters_and_digits():
    assert words_of("Born in york , 1968 .") == ["born", "in", "york", "1968"]
    assert words_of("one, two_three!") == ["one", "two", "three"]


@pytest.mark.parametrize(
    ("phrase", "text"),
    [
        ("张三", "我叫张三住在北京市"),
        ("田中", "昨日、田中さんに会った。"),
        ("김철수", "김철수는 서울에 산다"),
        ("O'Brien", "Mr O\u2019Brien came"),
        ("Jean-Luc", "Jean\u2010Luc, Jean\u2011Luc"),
        ("istanbul", "\u0130stanbul"),
    ],
)
def test_scripts_without_spaces_and_signs_of_several_forms_are_found(phrase, text):
    assert Phrases([phrase, "李四"]).within(text) == {0}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("我叫张三", ["我", "叫", "张", "三"]),
        ("ジョン・スミス。", list("ジョンスミス")),
        ("東京 tower_2", ["東", "京", "tower", "2"]),
        (
            "\u0e17\u0e35\u0e48\u0e1a\u0e49\u0e32\u0e19",
            ["\u0e17\u0e35\u0e48", "\u0e1a\u0e49", "\u0e32", "\u0e19"],
        ),  # Thai
        ("\u1785\u17b6\u1793\u17cb", ["\u1785\u17b6", "\u1793\u17cb"]),  # Khmer
    ],
)
def test_in_scripts_without_spaces_each_character_with_its_signs_is_a_word(text, words):
    assert words_of(text) == words


@pytest.mark.parametrize(
    ("text", "alike"),
    [
        ("\u0645\u064f\u062d\u064e\u0645\u0651\u064e\u062f", "\u0645\u062d\u0645\u062f"),  # vowels of Arabic
        ("\u0645\u062d\u0640\u0640\u0645\u062f", "\u0645\u062d\u0645\u062f"),  # drawn out
        ("\u0623\u062d\u0645\u062f", "\u0627\u062d\u0645\u062f"),  # a hamza on its alef
        ("\u05d3\u05b8\u05bc\u05d5\u05b4\u05d3", "\u05d3\u05d5\u05d3"),  # vowels of Hebrew
        ("\ufb2a\u05dc\u05d5\u05dd", "\u05e9\u05dc\u05d5\u05dd"),  # and a dot, in a form of the letter
        ("\u091c\u093c\u092b\u0930", "\u091c\u092b\u0930"),  # a dot below a letter of Hindi
        ("\u0130brahim", "ibrahim"),  # a capital of Turkish
        ("Ma\u00adra\u200e Qui\u200bll", "mara quill"),  # what is not seen
        ("\u8fbb\U000e0100", "\u8fbb"),  # which form of a character is drawn
        ("\u1785\u17b6\u200b\u1793\u17cb", "\u1785\u17b6\u1793\u17cb"),  # a space that is not seen
        ("\u0661\u0669\u0666\u0668", "1968"),
        ("Jose\u0301", "jos\u00e9"),
    ],
)
def test_signs_that_may_be_left_out_part_no_word(text, alike):
    assert words_of(text) == words_of(alike)
    assert Phrases([alike]).within(f"- {text}.") == Phrases([text]).within(f"- {alike}.") == {0}


@pytest.mark.parametrize(
    ("phrase", "text"),
    [
        ("\u0930\u093e\u092e", "\u0930\u093e\u092e\u0947\u0936"),  # Ram is no Ramesh
        ("\u0e17\u0e35", "\u0e17\u0e35\u0e48"),  # another tone is another word
        ("jose", "jos\u00e9"),
        ("\u043a\u0440\u0430\u0438", "\u043a\u0440\u0430\u0439"),  # of Cyrillic a letter of its own
        ("\u304b", "\u304c"),  # so of Japanese
    ],
)
def test_signs_that_write_a_sound_make_another_word(phrase, text):
    assert Phrases([phrase]).within(text) == set()


def test_vowels_of_indian_scripts_belong_to_their_words():
    assert words_of("\u0930\u093e\u091c\u0947\u0936 \u0915\u0941\u092e\u093e\u0930\u0964") == [
        "\u0930\u093e\u091c\u0947\u0936",
        "\u0915\u0941\u092e\u093e\u0930",
    ]
    assert words_of("\u0930\u094d\u092e") != words_of("\u0930\u092e")  # the sign that ends a consonant is written
