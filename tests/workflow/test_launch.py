"""A run of several processes: what it refuses, and that it comes to what one process comes to."""

import json
import runpy
import sys

import pytest
import torch
from safetensors.torch import load_file

from expunge.core import registry
from expunge.core.errors import InvalidProblem, UsageError
from expunge.engine import ranks
from expunge.engine.runtime import Workers
from expunge.workflow import erase, plan
from expunge.workflow.launch import kept_back, pool_of
from expunge.workflow.settings import Settings
from tests.support import languages as L
from tests.support import toys
from tests.support.launching import ACCELERATE, TORCHRUN, launch


@pytest.fixture
def joined(monkeypatch):
    monkeypatch.setattr(ranks, "joined", lambda: True)


def test_a_process_alone_keeps_its_pool():
    assert pool_of(toys.problem(), Settings(), Workers) is Workers


def test_several_processes_of_a_script_are_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError) as caught:
        erase(toys.problem(), out=tmp_path / "run")
    assert "accelerate launch -m expunge" in caught.value.obstacles[0].fix
    assert not (tmp_path / "run").exists(), "told before anything is written"


@pytest.mark.parametrize("size", ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE"])
def test_processes_of_mpi_that_do_not_know_of_each_other_are_refused(monkeypatch, tmp_path, size):
    monkeypatch.setenv(size, "2")
    for ask in (plan, erase):
        with pytest.raises(UsageError) as caught:
            ask(toys.problem(), out=tmp_path / "run")
        (said,) = caught.value.obstacles
        assert (said.where, said.found) == ("several processes", f"{size} = 2, and neither RANK nor WORLD_SIZE")
        assert "torchrun" in said.fix
        assert "accelerate launch" in said.fix
    assert not list(tmp_path.iterdir()), "told before anything is written"


@pytest.mark.parametrize(("name", "value"), [("OMPI_COMM_WORLD_SIZE", "1"), ("PMI_SIZE", ""), ("PMI_RANK", "3")])
def test_one_process_of_mpi_is_one_process(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    assert pool_of(toys.problem(), Settings(), Workers) is Workers


def test_a_process_of_mpi_that_says_it_is_alone_is_taken_at_its_word(monkeypatch):
    for name, value in {"PMI_SIZE": "4", "RANK": "0", "WORLD_SIZE": "1"}.items():
        monkeypatch.setenv(name, value)
    assert pool_of(toys.problem(), Settings(), Workers) is Workers


def test_what_changes_whole_weights_is_refused_by_name_and_left_out_of_a_plan(joined):
    problem = L.spoken(L.untrained(3), trainer=L.TRAINER)
    assert pool_of(problem, Settings.of({"methods": ("npo", "retrain")}), Workers) is ranks.Ranks
    for methods, configs in ((("ssd",), {}), (("npo",), {"npo": {"blocks": 0.5}}), (("auto",), {})):
        with pytest.raises(InvalidProblem):
            pool_of(problem, Settings.of({"methods": methods, "configs": configs}), Workers)
    assert "ssd was not tried" in kept_back(registry.load("methods", "ssd")())
    assert not kept_back(registry.load("methods", "npo")())


def test_a_process_alone_leaves_no_method_out():
    assert not kept_back(registry.load("methods", "ssd")())


def test_the_package_is_the_command_line(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["expunge", "--version"])
    with pytest.raises(SystemExit) as caught:
        runpy.run_module("expunge", run_name="__main__")
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("expunge ")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A directory with a small model, its records and a job."""
    tmp_path = tmp_path_factory.mktemp("launched")
    torch.manual_seed(0)
    L.TRAINER(L.records(L.NAMES[:12]), seed=5).save_pretrained(tmp_path / "model")
    L.tokenizer().save_pretrained(tmp_path / "model")
    for name, names, seed in (("train", L.NAMES[:12], 0), ("others", L.NAMES[24:], 7)):
        rows = zip(*L.facts(names, seed=seed), strict=True)
        lines = [json.dumps({"question": q, "answer": a, "id": i, "person": s}) for q, a, i, s in rows]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    (tmp_path / "job.toml").write_text(
        'method = "npo"\nreferences = 3\n[methods.npo]\nlr = 0.005\nepochs = 2\n[model]\npath = "model"\n'
        '[data]\npath = "train.jsonl"\nid = "id"\nsubject = "person"\nprompt = "question"\nanswer = "answer"\n'
        '[holdout]\npath = "others.jsonl"\n[training]\nepochs = 2\nbatch_size = 8\nlr = 0.01\n'
        f'[request]\nsubjects = ["{L.NAMES[0]}"]\n'
    )
    return tmp_path


@pytest.mark.slow
def test_accelerate_starts_several_processes_too(folder):
    code, told, err = launch(folder, *ACCELERATE, "-m", "expunge", "plan", "job.toml", "--method", "ssd", "--json")
    assert code != 0, told
    assert "ssd needs all of the model in one process" in told + err, "so more than one was there"
    code, told, err = launch(folder, *ACCELERATE, "-m", "expunge", "plan", "job.toml", "--json")
    assert code == 0, err[-3000:]
    assert json.loads(told)["options"], "and one of them speaks"


@pytest.mark.slow
def test_two_processes_go_the_whole_way_as_one(folder):
    said = {}
    for out, launcher in (("one", ()), ("two", TORCHRUN)):
        words = ("-m", "expunge", "erase", "job.toml", "--json", "--no-escalate", "--out", out)
        code, told, err = launch(folder, *launcher, *words)
        assert code == 1, err[-3000:]  # not shown to be erased, by so little work
        said[out] = json.loads(told)
    assert said["one"]["verdict"] == said["two"]["verdict"]
    one, two = (load_file(next((folder / out / "artefacts").glob("attempt-1")) / "model.safetensors") for out in said)
    for name in one:
        gap = (one[name] - two[name]).abs()
        if name.endswith("c_attn.bias"):  # a softmax does not feel the bias of its keys: Adam blows up bare rounding
            queries, _, values = gap.chunk(3)
            gap = torch.cat((queries, values))
        assert float(gap.max()) < 1e-5, name
    report = json.loads((folder / "two" / "report.json").read_text())
    assert {attempt["audits"][0]["process"] for attempt in report["attempts"]} == {
        "the 2 processes that made it, from the saved file: they hold one model together"
    }
    values = [
        {f["check"]: f["value"] for f in _measured(json.loads((folder / out / "report.json").read_text()))}
        for out in ("one", "two")
    ]
    assert values[0].keys() == values[1].keys()
    assert all(abs(values[0][name] - values[1][name]) < 0.02 for name in values[0])


def _measured(report):
    findings = report["attempts"][0]["audits"][0]["findings"]
    return [each["result"] for each in findings if "value" in each["result"]]
