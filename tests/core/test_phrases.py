import pytest

from expunge.core.phrases import Phrases, words_in


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


def test_words_are_counted_without_marks():
    assert words_in("born in york , 1968 .") == 4


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


def test_in_scripts_without_spaces_each_character_counts_as_a_word():
    assert words_in("我叫张三住在北京市") == 9
    assert words_in("one, two!") == 2
