"""A new ledger takes the place of the old one, killed anywhere; a method that leaves the old one is told of."""

import shutil
from contextlib import suppress
from pathlib import Path

import pytest

import expunge
from expunge.core.errors import UsageError
from expunge.engine.ledger import Ledger
from tests.support import recordings as own
from tests.support import running

in_process = running.in_process

TRAINER = own.recorded(own.dropped, config=own.config(), steps=8)


@pytest.fixture
def posed(tmp_path, in_process):
    """Pose a problem with a recorded training."""
    model = expunge.train(TRAINER, own.records(), seed=2, ledger=tmp_path / "ledger")
    return expunge.Problem(model=model, train=own.records(), forget=["r3"], trainer=TRAINER, ledger=tmp_path / "ledger")


def erase(problem, out, **more):
    return expunge.erase(problem, out=out, **{"methods": ("replay",), "references": 0, **more})


def test_another_method_leaves_the_ledger_and_says_so(posed, tmp_path):
    found = erase(posed, tmp_path / "run", methods=("retrain",))
    assert any("The ledger of the recorded training still holds" in note for note in found.report.notes)


def kill(patched, function, after):
    """Let a function of the standard library, as heirs and ledger call it, die at a call."""
    real, calls = getattr(*function), []

    def die(*words, **more):
        calls.append(words)
        if len(calls) > after and ".aside-ledger" in str(words):
            raise KeyboardInterrupt
        return real(*words, **more)

    patched.setattr(*function, die)


@pytest.mark.parametrize("opened", [False, True])
@pytest.mark.parametrize("at", [(shutil, "copytree"), (Path, "rename"), (shutil, "rmtree")], ids=lambda at: at[1])
def test_an_exchange_that_was_interrupted_is_finished(posed, tmp_path, monkeypatch, at, opened):
    for after in (0, 1):  # of two renames and two removals the first or the second
        with monkeypatch.context() as patched, suppress(KeyboardInterrupt):
            kill(patched, at, after)
            erase(posed, tmp_path / "run")
            assert after, "nothing was killed"
        if opened:  # by anything, before the command is repeated
            there = Ledger(tmp_path / "ledger")
            assert not (tmp_path / ".aside-ledger-old").exists()
            assert there.head.finished
    found = erase(posed, tmp_path / "run")
    assert found.claim is expunge.Level.BITWISE
    assert Ledger(tmp_path / "ledger").ends_with(found.model)
    assert "r3" not in [entry.id for entry in Ledger(tmp_path / "ledger").entries]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ledger", "run"]


def test_a_ledger_that_was_put_aside_alone_comes_back(tmp_path):
    expunge.train(TRAINER, own.records(), seed=2, ledger=tmp_path / "ledger")
    (tmp_path / "ledger").rename(tmp_path / ".aside-ledger-old")
    assert Ledger(tmp_path / "ledger").head.finished


def test_a_training_goes_on_with_the_ledger_of_a_killed_exchange(tmp_path):
    """It does not begin another one in the empty place."""
    expunge.train(TRAINER, own.records(), seed=2, ledger=tmp_path / "ledger")
    before = Ledger(tmp_path / "ledger").head
    shutil.copytree(tmp_path / "ledger", tmp_path / ".aside-ledger-new")
    (tmp_path / "ledger").rename(tmp_path / ".aside-ledger-old")
    seen = []
    expunge.train(TRAINER, own.records(), seed=2, ledger=tmp_path / "ledger", advance=lambda: seen.append(1))
    assert not seen
    assert Ledger(tmp_path / "ledger").head == before


def test_a_run_directory_in_the_ledger_s_folder_is_refused(posed, tmp_path):
    with pytest.raises(UsageError, match="lies in the folder of the ledger"):
        erase(posed, tmp_path / "ledger" / "run")
    assert not (tmp_path / "ledger" / "run").exists()
