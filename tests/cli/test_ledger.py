"""``expunge ledger``: show, verify, prove; a ledger that does not hold what was done is told."""

import json
import sys

import pytest

import expunge
from expunge.engine.ledger import Entry, Ledger
from expunge.engine.recorded import Recorded
from tests.support import recordings as own

PROBLEM = """
import expunge
from tests.support import recordings as own
NAME = {name!r}

def problem():
    trainer = own.TRAINERS[NAME]
    return expunge.Problem(
        model=own.dropped(), train=own.records(), forget=["r3"], trainer=trainer, ledger={ledger!r}
    )
"""


@pytest.fixture
def ledger(tmp_path, call, monkeypatch):
    """Return a function that records a training and gives (ledger, command)."""
    monkeypatch.setattr(sys, "path", [*sys.path])

    def make(name="adamw, dropout, one cycle"):
        expunge.train(own.TRAINERS[name], own.records(), seed=4, ledger=tmp_path / "ledger")
        (tmp_path / "recorded_problem.py").write_text(PROBLEM.format(name=name, ledger=str(tmp_path / "ledger")))
        (tmp_path / "job.toml").write_text('problem = "recorded_problem:problem"\n')
        return Ledger(tmp_path / "ledger"), lambda action, *words: call("ledger", action, tmp_path / "job.toml", *words)

    yield make
    sys.modules.pop("recorded_problem", None)


def test_show(ledger):
    made, run = ledger()
    result = run("show")
    assert (result.code, result.out) == (0, "")
    assert "32 steps over 120 records, rule drop, finished" in result.err
    assert "first met at step" in result.err
    found = run("show", "--json").json
    assert (found["steps"], found["records"], found["chain"]) == (32, own.N, made.chain)
    assert 0 < found["deletion"]["share_of_steps"] <= 1


def test_verify(ledger):
    _, run = ledger()
    result = run("verify", "--json")
    assert (result.code, result.json["fits"]) == (0, True)
    first, last = result.json["stretch"]
    assert first <= 16 < last
    assert run("verify", "--from", "0", "--steps", "32", "--json").json["stretch"] == [0, 32]
    assert "came out as written" in run("verify").err


def test_verify_tells_a_ledger_of_other_data(ledger):
    made, run = ledger()
    first, other, *rest = made.entries  # two records have changed names: the content of both is in the data
    made.rewrite([Entry(first.id, first.content), *rest, Entry("r1", other.content)])
    lines = (made.folder / "steps.bin").read_bytes()
    swapped = Ledger(made.folder)
    assert (made.folder / "steps.bin").read_bytes() == lines
    swapped.amend(finished=swapped.head.finished)
    assert run("verify").code == 0  # the order in which records are listed means nothing


def test_verify_refuses_a_broken_ledger(ledger):
    made, run = ledger()
    file = made.folder / "steps.bin"
    data = bytearray(file.read_bytes())
    data[1000] ^= 1
    file.write_bytes(data)
    result = run("verify")
    assert result.code == 3
    assert "the ledger is broken" in result.err


def test_prove(ledger):
    made, run = ledger("a loop of one's own")
    assert not made.head.proven
    assert run("prove").code == 0
    assert Ledger(made.folder).head.proven


def test_prove_tells_a_loop_with_hidden_state(ledger, monkeypatch):
    name = "hidden"
    monkeypatch.setitem(own.TRAINERS, name, Recorded(loop=own.forgetful_loop, epochs=4, steps=8))
    made, run = ledger(name)
    result = run("prove")
    assert (result.code, Ledger(made.folder).head.proven) == (1, False)
    assert "is not a run from scratch" in result.err


def test_without_a_ledger(project, call):
    result = call("ledger", "show", project / "job.toml", "--json")
    assert result.code == 2
    assert "no recorded training" in json.dumps(result.json)
