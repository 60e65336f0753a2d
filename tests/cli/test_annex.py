"""``expunge annex``: the holder of a run directory finds the rows of a record; nobody else does."""

import io
import json
import sys

import pytest

from tests.support.tiny import tiny_problem as tiny

JUDGED, CHOSEN = 16, 8  # of the 24 records to forget


@pytest.fixture
def run(project, call, in_process):
    """The run directory of an erasure that was certified, and with it destroyed what held forgotten data."""
    assert call("erase", project / "job.toml", "--method", "retrain", "--json").code == 0
    return project / "run"


def test_the_rows_of_records(run, call, tmp_path, monkeypatch):
    wanted = [f"zebra-{i:03d}" for i in range(tiny.WRONG)]
    (tmp_path / "ids.txt").write_text("\n".join(wanted) + "\n")
    found = call("annex", run, "--ids", tmp_path / "ids.txt", "--json").json
    rows = {name: [row["model"] for row in rows] for name, rows in found["records"].items()}
    assert list(rows) == wanted
    assert list(rows.values()).count(["original", "attempt 1"]) == JUDGED
    assert list(rows.values()).count([]) == CHOSEN
    judged, chosen = (next(name for name in wanted if bool(rows[name]) == is_judged) for is_judged in (True, False))
    assert float(found["records"][judged][0]["z"]) < -2  # the original knows a wrong label that no retrained model does
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{judged}\n"))
    result = call("annex", run, "--id", chosen, "--ids", "-")
    assert (result.code, result.out) == (0, "")
    assert "not judged" in result.err.split(judged)[0]
    for word in ("original", "attempt 1", "0 of 6", "below 0: known better"):
        assert word in " ".join(result.err.split(judged)[1].split())


def test_no_id_is_left_anywhere_by_asking(run, call):
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert call("annex", run, "--id", "zebra-001").code == 0
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    public = [path for path in run.rglob("*") if path.is_file() and "private" not in path.parts]
    keyed = {row["record"] for row in call("annex", run, "--id", "zebra-001", "--json").json["records"]["zebra-001"]}
    assert [path for path in public for key in keyed if key.encode() in path.read_bytes()] == []


def test_errors_name_no_record(run, call, tmp_path):
    for words in (["annex", tmp_path, "--id", "zebra-001"], ["annex", run], ["annex", run, "--ids", tmp_path / "no"]):
        result = call(*words)
        assert result.code == 2
        assert "zebra" not in result.err
    assert "no annex" in json.dumps(call("annex", tmp_path, "--id", "zebra-001", "--json").json)
