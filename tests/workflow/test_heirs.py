"""A new ledger takes the place of the old one, killed anywhere; a method that leaves the old one is told of."""

import shutil

import pytest

import expunge
from expunge.engine.ledger import Ledger
from expunge.workflow import heirs
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


@pytest.mark.parametrize("at", ["copytree", "rename", "rmtree"])
def test_an_exchange_that_was_interrupted_is_finished(posed, tmp_path, monkeypatch, at):
    def die(*words, **more):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        if at == "rename":
            patched.setattr(heirs.Path, "rename", die)
        elif at == "copytree":
            patched.setattr(heirs.shutil, "copytree", die)
        else:
            real, calls = shutil.rmtree, []
            patched.setattr(
                heirs.shutil, "rmtree", lambda *w, **m: die() if calls.append(w) or len(calls) > 2 else real(*w, **m)
            )
        with pytest.raises(KeyboardInterrupt):
            erase(posed, tmp_path / "run")
    found = erase(posed, tmp_path / "run")
    assert found.claim is expunge.Level.BITWISE
    assert Ledger(tmp_path / "ledger").ends_with(found.model)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ledger", "run"]
