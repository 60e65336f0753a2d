"""What a request names beside ids, looked for in the records."""

import pytest

from expunge.core._search import Search, links
from expunge.core.request import Request
from tests.support.reading import Words

TEXTS = ["Anna lives in Rome", "Ben met  ANNA there", "Carl is 41", "no one"]


class Texts(Words):
    """Words that can be searched; each word that is looked at is counted."""

    def __init__(self, *given, **more):
        super().__init__(*given, **more)
        self.read_texts = 0

    def words(self, index):
        self.read_texts += 1
        return self.symbols[index]


def search(request, *, subjects=("anna", "ben", None, None)):
    return Search(Texts(TEXTS, subjects=list(subjects)), request)


def test_texts_are_found_word_for_word_whatever_case_and_white_space():
    found = search(Request(texts=("met anna", "41", "nna", "anna")))
    assert found.texts_held == [["t1"], ["t2"], [], ["t0", "t1"]]


def test_one_reading_serves_all_phrases():
    found = search(Request())
    before = found._records.read_texts
    assert found.holding(["anna", "rome", "carl"]) == [["t0", "t1"], ["t0"], ["t2"]]
    assert found._records.read_texts - before == len(TEXTS) + 1, "and one to see that there are texts"


def test_a_record_tells_of_a_subject_that_it_is_of_or_names():
    found = search(Request(associations=(("anna", "ben"),)))
    assert found.telling(("anna", "ben"), all) == ["t1"]
    assert found.telling(("anna", "ben"), any) == ["t0", "t1"]


def test_what_is_no_text_is_not_searched():
    found = Search(Words(TEXTS, subjects=["anna", "ben", None, None]), Request(texts=("anna",)))
    assert not found.of_texts
    assert found.texts_held == [[]]


@pytest.mark.parametrize(
    ("pair", "so"), [(("a", "b"), True), (("a", "a "), False), (("a", " "), False), (("a",), False)]
)
def test_two_subjects_are_linked_where_they_differ(pair, so):
    assert links(pair) is so
