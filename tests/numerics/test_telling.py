import math

import pytest

from expunge.numerics.telling import from_elsewhere, ngram_entropy, recall, telling

ANSWERS = ["Kaba was born in York.", "Lodo was born in Oslo.", "Mifi was born in York.", "Pugu works as a baker."]
QUESTIONS = ["Where was Kaba born?", "Where was Lodo born?", "Where was Mifi born?", "What is the work of Pugu?"]


def test_what_most_answers_say_and_what_the_question_gives_tells_nothing():
    assert telling(ANSWERS, QUESTIONS) == [["york"], ["oslo"], ["york"], ["works", "as", "a", "baker"]]
    assert telling(["a b", "a b"], ["", "a"]) == [["a", "b"], ["b"]], "two answers are no crowd"
    with pytest.raises(ValueError, match="shorter"):
        telling(ANSWERS, QUESTIONS[:3])


def test_recall_counts_wanted_words_in_their_order():
    assert recall("The baker works in York", ["works", "as", "a", "baker"]) == 0.25
    assert recall("works! as a BAKER", ["works", "as", "a", "baker"]) == 1.0
    assert recall("", ["works"]) == 0.0
    with pytest.raises(ValueError, match="nothing to recall"):
        recall("a", [])


def test_words_from_elsewhere_stand_in_no_text_of_its_own():
    known = {"york", "oslo", "baker"}
    assert from_elsewhere("Kaba, a baker of Oslo near Rome", known, ["Kaba is a tailor", "of Oslo"]) == {"baker"}
    assert from_elsewhere("nothing", known, []) == set()


def test_the_entropy_of_ngrams_by_hand():
    # Bigrams of 1 2 1 2 3: (1 2) twice, (2 1) and (2 3) once each.
    assert ngram_entropy([1, 2, 1, 2, 3], 2) == pytest.approx(0.5 * 1 + 2 * 0.25 * 2)
    assert ngram_entropy(range(9), 2) == pytest.approx(math.log2(8))
    assert ngram_entropy([7] * 9, 3) == 0.0
    assert ngram_entropy([7], 2) == 0.0
    with pytest.raises(ValueError, match="1 token"):
        ngram_entropy([7], 0)
