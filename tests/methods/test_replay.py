"""The method replay: the whole way, the ledger that takes the old one's place, and what it refuses."""

import shutil

import pytest

import expunge
from expunge.engine.ledger import Ledger
from expunge.methods.replay import Replay
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


def test_the_whole_way_twice(posed, tmp_path):
    found = erase(posed, tmp_path / "run")
    assert found.claim is expunge.Level.BITWISE
    ledger = Ledger(tmp_path / "ledger")
    assert ledger.head.finished == TRAINER.run(posed.retain_view, seed=2).state
    assert ledger.ends_with(found.model)
    assert not (tmp_path / "run" / "attempts").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ledger", "run"]
    events = (tmp_path / "run" / "events.jsonl").read_text()
    assert "the ledger of the run that saw the records" in events
    evidence = " ".join(found.report.shipped.outcome.evidence)
    assert ledger.head.finished in evidence
    assert "rule drop" in evidence

    more = expunge.Problem(
        model=found.model, train=posed.retain_view, forget=["r9"], trainer=TRAINER, ledger=tmp_path / "ledger"
    )
    assert erase(more, tmp_path / "again").claim is expunge.Level.BITWISE
    assert Ledger(tmp_path / "ledger").head.finished == TRAINER.run(own.records().without(["r3", "r9"]), seed=2).state


def test_nothing_of_the_record_is_left(posed, tmp_path):
    erase(posed, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "private")  # the controller's own list of what was deleted
    for path in [*(tmp_path / "ledger").rglob("*"), *(tmp_path / "run").rglob("*")]:
        assert path.is_dir() or b'"r3"' not in path.read_bytes(), path


def test_kept_state_is_listed_and_the_ledger_stays(posed, tmp_path):
    found = erase(posed, tmp_path / "run", keep=True)
    assert "attempts" in found.report.kept
    assert "r3" in {entry.id for entry in Ledger(tmp_path / "ledger").entries}
    assert Ledger(tmp_path / "run" / "attempts" / "1" / "ledger").ends_with(found.model)


def test_a_model_that_is_not_the_recorded_one(posed):
    other = expunge.Problem(
        model=TRAINER(own.records(), seed=9), train=own.records(), forget=["r3"], trainer=TRAINER, ledger=posed.ledger
    )
    assert "not the one that the recorded run ended with" in Replay().obstacles(other)[0].what


def test_the_plan_says_where_the_cost_comes_from(posed):
    plan = expunge.plan(posed)
    option = next(option for option in plan.options if option.method == "replay")
    ahead = Replay().forecast(posed)
    assert option.share == pytest.approx(ahead.visits / (TRAINER.passes * (own.N - 1)))
    assert any("first met at step" in line for line in plan.advice)
