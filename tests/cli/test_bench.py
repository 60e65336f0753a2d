"""``expunge bench``: the list, a small grid from the command line, and every form of its table."""

import csv
import io
import json

import pytest

from expunge.bench.networks import NETWORKS
from expunge.bench.scenarios import SCENARIOS
from expunge.bench.table import FORMS
from expunge.cli.bench import Form
from tests.bench.conftest import POLICY


def test_the_list_names_everything(call):
    found = json.loads(call("bench", "list", "--json").out)
    assert set(found["scenarios"]) == set(SCENARIOS)
    assert set(found["networks"]) == set(NETWORKS)
    assert {"noop", "finetune", "neg_grad_plus", "retrain"} <= set(found["methods"])
    assert "replay" not in found["methods"], "there is no ledger"
    assert "wrong_labels" in call("bench", "list").err


def test_forms_are_those_that_a_table_can_take():
    assert {form.value for form in Form} == set(FORMS)


@pytest.fixture
def alone(monkeypatch):
    from expunge.bench import run
    from expunge.engine.runtime import Here

    monkeypatch.setattr(run, "Workers", Here)


def test_run_compare_and_resume(tmp_path, call, alone):
    (tmp_path / "policy.toml").write_text(POLICY)
    (tmp_path / "settings.toml").write_text("[finetune]\nepochs = 1\n")
    words = ["--out", str(tmp_path / "out"), "--network", "mlp", "--records", "150", "--epochs", "2"]
    words += ["--scenario", "random_10", "--method", "finetune", "--seeds", "1", "--references", "3"]
    words += ["--policy", str(tmp_path / "policy.toml"), "--settings", str(tmp_path / "settings.toml")]
    done = call("bench", "run", *words, "--json")
    assert done.code == 0
    (row,) = [r for r in json.loads(done.out)["rows"] if r["method"] == "finetune"]
    assert row["scores"]["avg_gap"]["n"] == 1
    for name in ("table.md", "table.tex", "table.csv", "table.json", "bench.html"):
        assert (tmp_path / "out" / name).stat().st_size > 100
    again = call("bench", "compare", "--out", str(tmp_path / "out"), "--form", "csv")
    assert [r["method"] for r in csv.DictReader(io.StringIO(again.out))] == ["retrained", "original", "finetune"]
    page = tmp_path / "out" / "bench.html"
    assert page.name in again.err
    page.unlink()
    assert page.name not in call("bench", "compare", "--out", str(page.parent)).err
    assert "cells are done" not in again.err
    (cell,) = (tmp_path / "out").rglob("cell.json")
    data = cell.read_bytes()
    cell.unlink()
    unfinished = call("bench", "compare", "--out", str(tmp_path / "out"))
    assert "0 of 1 cells are done" in unfinished.err
    assert "bench resume --out" in unfinished.err
    cell.write_bytes(data)
    assert call("bench", "resume", "--out", str(tmp_path / "out")).code == 0
    other = call("bench", "run", *words, "--floor", "90%")
    assert (other.code, "differs in floor" in other.err) == (5, True)
    for action in ("resume", "compare"):
        refused = call("bench", action, "--out", str(tmp_path / "out"), "--floor", "90%", "--seeds", "3", "--json")
        (said,) = json.loads(refused.out)["error"]["problems"]
        assert (refused.code, said["found"]) == (2, "--floor, --seeds")
        assert all(said[part] for part in ("what", "where", "expected", "fix"))


def test_wrong_calls_say_so(tmp_path, call):
    assert "no benchmark there" in call("bench", "compare", "--out", str(tmp_path / "x")).err
    assert "no scenario called" in call("bench", "run", "--scenario", "nothing", "--out", str(tmp_path / "x")).err
    assert "cannot read the settings" in call("bench", "run", "--settings", str(tmp_path / "no")).err
    assert "not an accuracy" in call("bench", "run", "--floor", "0.9", "--out", str(tmp_path / "x")).err
    assert not (tmp_path / "x").exists()
