"""Rows of a table as records: the same from every form of file, in every process."""

import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

from expunge.core.errors import UsageError
from expunge.data._rows import CODE
from expunge.data.table import TableRecords
from tests.support.people import FEATURES, people

NAMED = {"label": "income", "id": "person", "subject": "household", "features": FEATURES}


@pytest.fixture
def frame():
    return people(12)


@pytest.fixture
def records(frame):
    return TableRecords(frame, **NAMED)


def test_what_it_reads(frame, records):
    rows, labels = records.read([3, 1])
    assert rows.frame.values.tolist() == frame[FEATURES].iloc[[3, 1]].values.tolist()
    assert [records.classes[code] for code in labels] == frame.income.iloc[[3, 1]].tolist()
    assert labels.dtype is torch.int64
    assert rows.classes == ("high", "low")
    assert records.ids[:2] == ("p0-000", "p0-001")
    assert records.subjects[3:5] == ("h0-0", "h0-1")
    one, label = records[5]
    assert (len(one), label) == (1, records.y[5])


@pytest.mark.parametrize("form", ["csv", "parquet", "jsonl", "polars"])
def test_every_form_of_a_table_gives_the_same_records(frame, records, form, tmp_path):
    path = tmp_path / f"people.{form}"
    if form == "polars":
        table = pl.from_pandas(frame)
    else:
        table = path
        write = {"csv": frame.to_csv, "parquet": frame.to_parquet, "jsonl": frame.to_json}[form]
        write(path, **({"index": False} if form != "jsonl" else {"orient": "records", "lines": True}))
    again = TableRecords(table, **NAMED)
    assert again.manifest == records.manifest
    assert again.subjects == records.subjects
    assert torch.equal(again.y, records.y)


def test_digests_are_the_same_in_another_process(frame, records, tmp_path):
    frame.to_csv(tmp_path / "people.csv", index=False)
    code = (
        "from expunge.data.table import TableRecords\n"
        f"print(TableRecords({str(tmp_path / 'people.csv')!r}, **{NAMED!r}).manifest.digest)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == records.manifest.digest
    assert pickle.loads(pickle.dumps(records)).manifest == records.manifest


def test_a_digest_is_of_the_values_the_names_and_the_label(frame, records):
    other = frame.assign(income=frame.income.map({"low": "high", "high": "low"}))
    assert TableRecords(other, **NAMED).content(0) != records.content(0)
    assert TableRecords(frame.assign(age=frame.age + 1e-9), **NAMED).content(0) != records.content(0)
    assert TableRecords(frame, **{**NAMED, "features": ["hours", "age"]}).content(0) != records.content(0)
    assert TableRecords(frame.assign(person="x" + frame.person), **NAMED).content(0) == records.content(0)


def test_numbers_of_a_file_keep_their_value_when_one_of_them_is_missing(frame):
    whole = TableRecords(frame.assign(hours=30), **NAMED)
    hole = frame.assign(hours=30.0)
    hole.loc[4, "hours"] = np.nan
    assert TableRecords(hole, **NAMED).content(0) == whole.content(0)
    assert TableRecords(hole, **NAMED).content(4) != whole.content(4)


def test_ids_in_a_file_are_text_as_it_is_written(tmp_path):
    (tmp_path / "t.csv").write_text("id,who,x,y\n007,NA,1.5,0\n7,,2.5,1\nNA,b,3,1\n")
    records = TableRecords(tmp_path / "t.csv", label="y", id="id", subject="who")
    assert records.ids == ("007", "7", "NA")
    assert records.subjects == ("NA", None, "b")
    assert records.columns.names == ("x",)


def test_without_ids_a_row_is_its_position(frame):
    assert TableRecords(frame[[*FEATURES, "income"]], label="income").ids == tuple(map(str, range(12)))


def test_other_rows_of_the_same_table(frame, records):
    few = people(6, seed=1).query("income == 'high'")
    holdout = records.like(few)
    assert (holdout.classes, holdout.columns) == (records.classes, records.columns)
    assert len(holdout) == len(few)


def test_classes_are_those_that_are_named(frame):
    records = TableRecords(frame, **NAMED, classes=np.array(["low", "none", "high"]))
    assert records.classes == ("low", "none", "high")
    assert [records.classes[code] for code in records.y] == frame.income.tolist()
    with pytest.raises(UsageError, match="no class of the model"):
        TableRecords(frame, **NAMED, classes=["low"])


@pytest.mark.parametrize(("cell", "found"), [("Depression", "1 of 3 rows, str"), ("2", "1 of 3 rows, str")])
def test_the_label_that_is_no_class_is_named_though_it_makes_the_column_text(cell, found):
    frame = pd.DataFrame({"n": [1.0, 3.0, 2.0], "y": ["0", "1", cell]})
    with pytest.raises(UsageError, match="no class of the model") as caught:
        TableRecords(frame, label="y", classes=[0, 1])
    assert caught.value.obstacles[0].where == "table, column y, first at row 2"
    assert caught.value.obstacles[0].found == found
    with pytest.raises(UsageError) as all_text:
        TableRecords(frame.iloc[:2], label="y", classes=[0, 1])
    assert all_text.value.obstacles[0].found == "2 of 2 rows, str"


def test_rows_as_numbers():
    frame = pd.DataFrame({"n": [1.0, 3.0, np.nan], "job": ["a", "b", "a"], "same": [5, 5, 5], "y": [0, 1, 1]})
    rows = TableRecords(frame, label="y").read([0, 1, 2])[0]
    assert rows.numbers.shape == (3, 1 + CODE + 1)
    assert rows.numbers[:, 0].tolist() == [-1.0, 1.0, 0.0]  # deviations from the mean; what is missing is the mean
    assert rows.numbers[:, -1].tolist() == [0.0, 0.0, 0.0]
    jobs = rows.numbers[:, 1:-1]
    assert np.array_equal(jobs[0], jobs[2])
    assert 0.5 <= np.sum((jobs[0] - jobs[1]) ** 2) <= 1.5


def test_moving_rows_moves_their_numbers():
    frame = pd.DataFrame({"a": [1.0, 2.0, 4.0], "b": [10.0, 20.0, 10.0], "y": [0, 1, 0]})
    rows = TableRecords(frame, label="y").read([0, 1, 2])[0]
    by = np.arange(6.0).reshape(3, 2)
    moved = rows.moved(by)
    np.testing.assert_allclose(moved.numbers, rows.numbers + by)
    assert rows.frame.a.tolist() == [1.0, 2.0, 4.0]
    whole = TableRecords(frame.assign(a=[1, 2, 4]), label="y").read([0])[0]
    assert whole.moved(np.zeros((1, 2))) is None  # whole numbers cannot be moved a little


def test_one_value_of_a_row_is_exchanged():
    frame = pd.DataFrame(
        {
            "job": pd.Categorical(["a", "b", "a"]),
            "n": pd.array([1, None, None], dtype="Int64"),
            "x": [1.5, np.nan, np.nan],
            "flag": [True, True, True],
            "y": [0, 1, 0],
        }
    )
    records = TableRecords(frame, label="y")
    rows, others = records.read([0, 0, 2])[0], records.read([1, 1, 2])[0]
    made = rows.exchanged(others, np.array([0.0, 0.4, 0.9])).frame
    assert made.dtypes.equals(rows.frame.dtypes)
    assert made.job.tolist() == ["b", "a", "a"]  # the first column of those in which the rows differ: flag is like
    assert made.n.isna().tolist() == [False, True, True]
    assert made.x.tolist()[:2] == [1.5, 1.5]
    assert np.isnan(made.x.iloc[2]), "a row that is like the other stays: missing is like missing"
    assert rows.frame.job.tolist() == ["a", "a", "a"]


def test_rows_of_another_frame_may_have_other_types():
    def rows(values, kind):
        frame = pd.DataFrame({"job": pd.Categorical(values), "n": pd.Series([1] * len(values), dtype=kind), "y": 0})
        return TableRecords(frame, label="y").read(range(len(values)))[0]

    made = rows(["a", "b"], "int8").exchanged(rows(["c", "d"], "int64"), np.zeros(2)).frame
    assert made.job.tolist() == ["c", "d"]
    assert made.n.tolist() == [1, 1]


def test_infinite_numbers_are_found_and_missing_ones_left():
    frame = pd.DataFrame({"a": [1.0, np.inf, np.nan], "y": [0, 1, 0]})
    assert TableRecords(frame, label="y").read([0, 1, 2])[0].infinite() == [1]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"label": "wage"}, "lacks columns"),
        ({"id": "name"}, "lacks columns"),
        ({"features": ["age", "income"]}, "named twice"),
    ],
)
def test_columns_that_are_not_there(frame, change, says):
    with pytest.raises(UsageError, match=says):
        TableRecords(frame, **{**NAMED, **change})


def test_what_is_missing_is_said_by_its_row(frame):
    with pytest.raises(UsageError, match="first at row 2"):
        TableRecords(frame.assign(income=frame.income.where(frame.index != 2)), **NAMED)
    with pytest.raises(UsageError, match="rows without id"):
        TableRecords(frame.assign(person=""), **NAMED)
    with pytest.raises(UsageError, match="several types"):
        TableRecords(frame.assign(income=[1, "a"] * 6), **NAMED)


def test_files_that_are_no_table(tmp_path):
    (tmp_path / "t.txt").write_text("a")
    (tmp_path / "t.parquet").write_text("a")
    for name, says in (("t.txt", "what kind"), ("t.parquet", "cannot read"), ("none.csv", "cannot read")):
        with pytest.raises(UsageError, match=says):
            TableRecords(tmp_path / name, label="y")
    with pytest.raises(UsageError, match="not a table"):
        TableRecords([1, 2], label="y")


GOOD = b'{"y": 1, "x": "zebra"}\n'


@pytest.mark.parametrize(
    ("lines", "where", "found"),
    [
        (GOOD + b'\n{"y": 1, "x": "zebra}\n', "line 3", "Unterminated string starting at, column 15"),
        (GOOD + b'{"y": 1 "x": "zebra"}', "line 2", "Expecting ',' delimiter, column 9"),
        (GOOD + b'["zebra"]\n', "line 2", "list"),
        (GOOD + b'{"y": 1, "x": "zebra\xff"}\n', "line 2", "byte 21 is not UTF-8"),
        (b'[\n{"y": 1}\n]\n', "line 1", "Expecting value"),
    ],
    ids=["open", "comma", "list", "latin", "one list"],
)
def test_a_line_that_is_no_object_is_named(tmp_path, lines, where, found):
    (tmp_path / "t.jsonl").write_bytes(lines)
    with pytest.raises(UsageError, match=f"t.jsonl, {where}") as caught:
        TableRecords(tmp_path / "t.jsonl", label="y")
    obstacle = caught.value.obstacles[0]
    assert found in obstacle.found
    assert obstacle.fix
    assert "zebra" not in str(caught.value)


def test_lines_end_where_json_says_and_a_mark_of_their_order_is_none_of_theirs(tmp_path):
    text = "a\u2028b\x85c"
    (tmp_path / "t.jsonl").write_bytes(b"\xef\xbb\xbf" + f'{{"y": 1, "x": "{text}"}}\r\n{{"y": 2, "x": ""}}'.encode())
    records = TableRecords(tmp_path / "t.jsonl", label="y")
    assert records.read([0])[0].frame.x.tolist() == [text]
    assert len(records) == 2


def test_what_a_file_lacks_is_said_by_its_line_or_its_row_counted_from_one(tmp_path):
    (tmp_path / "t.jsonl").write_text('{"y": 1, "x": 1}\n\n{"x": 2}\n')
    (tmp_path / "t.csv").write_text("y,x\n1,1\n,2\n")
    for name, where in (("t.jsonl", "first at line 3"), ("t.csv", "first at row 2")):
        with pytest.raises(UsageError, match=where):
            TableRecords(tmp_path / name, label="y")


def test_numbers_to_be_predicted_are_labels_without_classes(frame, tmp_path):
    named = {**NAMED, "label": "hours", "features": ["age"]}
    records = TableRecords(frame, **named, numbers=True)
    rows, numbers = records.read([3, 1])
    assert numbers.dtype is torch.float64
    assert numbers.tolist() == frame.hours.iloc[[3, 1]].tolist()
    assert (rows.classes, records.classes) == ((), ())
    assert records.like(people(6, seed=1)).y.dtype is torch.float64
    frame.assign(hours=frame.hours + 0.1).to_csv(tmp_path / "other.csv")
    other = TableRecords(tmp_path / "other.csv", **named, numbers=True)
    assert all(other.content(i) != records.content(i) for i in range(12))
    whole = frame.assign(hours=range(12))
    whole.to_csv(tmp_path / "whole.csv")
    whole.astype({"hours": float}).to_parquet(tmp_path / "floats.parquet")
    contents = {
        TableRecords(tmp_path / name, **named, numbers=True).content(3) for name in ("whole.csv", "floats.parquet")
    }
    assert len(contents) == 1
    for wrong in ({"label": "income"}, {"label": "rich"}):
        with pytest.raises(UsageError, match="no numbers"):
            TableRecords(frame.assign(rich=True), **{**named, **wrong}, numbers=True)


@pytest.mark.parametrize(
    ("lines", "line", "found"),
    [
        ("1,2,0\n2,Jane, Doe,3,1\n", 3, 5),
        ("1,2,5,0\n2,3,5,1\n", 2, 4),  # decimal commas in all lines: pandas takes the first column for an index
        ("1,2,0\n2,3\n", 3, 2),  # and makes what a short line lacks missing values
        ('1,"a\nb",0\n2,3,4,1\n', 4, 4),  # a value of two lines
    ],
)
def test_a_line_with_other_columns_is_named(tmp_path, lines, line, found):
    (tmp_path / "t.csv").write_text(f"id,x,y\n{lines}")
    with pytest.raises(UsageError, match=rf"t\.csv, line {line}\b") as told:
        TableRecords(tmp_path / "t.csv", label="y", id="id")
    (obstacle,) = told.value.obstacles
    assert (obstacle.found, obstacle.expected) == (f"{found} values", "3, as in the head")
    assert "Jane" not in str(told.value)


@pytest.mark.parametrize(("text", "found"), [("id;a;y\n1;2,5;0\n", "semicolons"), ("id\ta\ty\n1\t2\t0\n", "tabs")])
def test_another_separator_is_named(tmp_path, text, found):
    (tmp_path / "rows.csv").write_text(text)
    with pytest.raises(UsageError, match=f"not separated by commas(.|\n)*{found}"):
        TableRecords(tmp_path / "rows.csv", label="y")


def test_one_column_may_be_all_there_is(tmp_path):
    (tmp_path / "rows.csv").write_text("y\n1\n0\n")
    assert len(TableRecords(tmp_path / "rows.csv", label="y", features=())) == 2


def test_blank_lines_marks_and_long_values_are_no_other_columns(tmp_path):
    words = "w" * 200_000
    (tmp_path / "t.csv").write_text(f'\ufeffid,x,y\n1,"{words},",0\n\n   \n2,"say ""b""",1\n')
    records = TableRecords(tmp_path / "t.csv", label="y", id="id")
    assert records.ids == ("1", "2")


def test_another_encoding_is_named(tmp_path):
    (tmp_path / "t.csv").write_bytes("id,x,y\n1,é,0\n".encode("latin-1"))
    with pytest.raises(UsageError, match="not UTF-8"):
        TableRecords(tmp_path / "t.csv", label="y", id="id")
