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
