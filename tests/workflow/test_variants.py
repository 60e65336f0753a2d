"""Columns of other questions and answers: what a cell may hold, and what is said of one that holds something else."""

import re

import pandas
import pytest

from expunge.core.errors import UsageError
from expunge.workflow.variants import Rows, variants_of


def rows(cells, *, where="train.jsonl", first=0, column="wrong"):
    frame = pandas.DataFrame({column: cells}, index=pandas.Index(range(1, len(cells) + 1), name="line"))
    names = [str(first + i) for i in range(len(cells))]
    return Rows(frame, where, [[f"q{name}" for name in names], [f"a{name}" for name in names]], names)


def written(prompts, answers, *, ids, at):
    return list(zip(ids, prompts, answers, strict=True)), at


def test_a_cell_holds_a_text_a_list_or_nothing():
    found, at = variants_of({"wrong_answer": "wrong"}, [rows(["x", ["y", "z"], None, ""])], written)["wrong_answer"]
    assert found == [("0#0", "q0", "x"), ("1#0", "q1", "y"), ("1#1", "q1", "z")]
    assert at[-1] == "train.jsonl, column wrong, first at line 2"


def test_a_question_in_other_words_has_the_answer_of_its_record():
    found, _ = variants_of({"paraphrased_question": "wrong"}, [rows(["x"])], written)["paraphrased_question"]
    assert found == [("0#0", "x", "a0")]


def test_the_holdout_adds_its_own_and_may_lack_the_column():
    held, bare = rows(["h"], where="others.jsonl", first=9), rows(["h"], first=9, column="other")
    of = {"wrong_answer": "wrong"}
    assert [one[0] for one in variants_of(of, [rows(["x"]), held], written)["wrong_answer"][0]] == ["0#0", "9#0"]
    assert [one[0] for one in variants_of(of, [rows(["x"]), bare], written)["wrong_answer"][0]] == ["0#0"]


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([None, [], ""], "column without a text.*nothing in 3 rows"),
        (["x", 3], "first at line 2.*int in 1 of 2 rows"),
        ([["x", " "]], "first at line 1.*an empty text"),
        ([["x", None]], "NoneType"),
    ],
)
def test_what_is_no_text_is_told(cells, message):
    with pytest.raises(UsageError) as told:
        variants_of({"wrong_answer": "wrong"}, [rows(cells)], written)
    found = str(told.value).replace("\n", " ")
    assert re.search(message, found), found
