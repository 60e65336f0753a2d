"""Recorded training: what a ledger holds, a run that is killed, and training that goes on with more records."""

import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

import expunge
from expunge.core.errors import Diverged, ForeignRun, Refused, UsageError
from expunge.engine import replay
from expunge.engine.ledger import Ledger
from tests.support import languages
from tests.support import recordings as own

ROOT = Path(__file__).parents[2]
PLAIN = own.TRAINERS["adamw, dropout, one cycle"]


def train(folder, trainer=PLAIN, records=None, seed=4):
    model = expunge.train(trainer, own.records() if records is None else records, seed=seed, ledger=folder)
    return model, Ledger(folder)


def more():
    """Return the records, and one more."""
    x, y = own.table()
    return expunge.ArrayRecords(torch.cat([x, x[:1]]), torch.cat([y, y[:1]]), ids=[*own.records().ids, "new"])


# --- what is written --------------------------------------------------------------------------------------------


def test_writing_changes_nothing(tmp_path):
    """The model of a recorded run is that of the same trainer without a ledger."""
    model, ledger = train(tmp_path / "ledger")
    assert PLAIN.run(own.records(), seed=4).state == ledger.head.finished
    assert ledger.ends_with(model)
    assert not ledger.ends_with(PLAIN(own.records(), seed=5))


def test_the_rate_and_the_loss_are_those_of_the_run(tmp_path):
    _, ledger = train(tmp_path / "ledger")
    rates = [line.rate for line in ledger.lines()]
    wanted = [PLAIN.loop.config.rate(step, 32) for step in range(32)]
    assert rates == wanted
    assert all(line.loss > 0 for line in ledger.lines())


# --- killed -----------------------------------------------------------------------------------------------------

KILLED = """
    import os, signal, sys
    import expunge
    from tests.support import recordings as own
    left = int(sys.argv[2])

    def advance():
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    expunge.train(own.TRAINERS[{name!r}], own.records(), seed=4, ledger=sys.argv[1], advance=advance)
"""


@pytest.mark.parametrize("name", ["adamw, dropout, one cycle", "a loop of one's own"])
def test_a_killed_run_leaves_a_usable_ledger_and_goes_on(tmp_path, name):
    code = textwrap.dedent(KILLED.format(name=name))
    for step in (3, 14):
        words = [sys.executable, "-c", code, str(tmp_path / "ledger"), str(step)]
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(words, cwd=ROOT, env=env, check=False, timeout=120)
        assert done.returncode == -signal.SIGKILL
        assert Ledger(tmp_path / "ledger").head.finished == ""
    _, ledger = train(tmp_path / "ledger", own.TRAINERS[name])
    assert ledger.head.finished == own.TRAINERS[name].run(own.records(), seed=4).state


def test_a_replay_that_was_interrupted_goes_on(tmp_path):
    _, ledger = train(tmp_path / "ledger")
    kept, left = own.records().without(["r3"]), iter([*range(20)])

    def advance():
        if next(left, None) is None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replay.replay(PLAIN, ledger, kept, ["r3"], tmp_path / "new", advance=advance)
    found = replay.replay(PLAIN, ledger, kept, ["r3"], tmp_path / "new")
    assert found.trained.state == own.scratch("adamw, dropout, one cycle", ["r3"], 4)


def test_a_run_that_is_not_finished_is_not_replayed(tmp_path):
    _, ledger = train(tmp_path / "ledger")
    ledger.amend(finished="")
    with pytest.raises(Refused, match="not finished"):
        replay.replay(PLAIN, ledger, own.records().without(["r3"]), ["r3"], tmp_path / "new")


# --- states by room on disk -------------------------------------------------------------------------------------


def room(ledger):
    """Return the size of each state in MiB."""
    return [sum(file.stat().st_size for file in folder.iterdir()) / 2**20 for folder in ledger.checkpoints.values()]


def test_states_are_kept_as_far_as_there_is_room_where_they_save_most(tmp_path):
    """The last twenty records enter late: states are kept about where these are met."""
    late = own.recorded(own.dropped, config=own.config(epochs=8), steps=8, enters=own.late)
    size = max(room(train(tmp_path / "number", late)[1]))
    allowed = replace(late, disk_mib=4.2 * size)
    _, ledger = train(tmp_path / "disk", allowed)
    assert len(ledger.checkpoints) == 4
    assert sum(room(ledger)) <= allowed.disk_mib
    assert max(ledger.checkpoints) == 64
    assert ledger.head.finished == late.run(own.records(), seed=4).state
    assert replay.forecast(ledger, ["r119"]).start >= 16
    found = replay.replay(allowed, ledger, own.records().without(["r119"]), ["r119"], tmp_path / "new")
    assert found.trained.state == late.run(own.records().without(["r119"]), seed=4).state
    assert sum(room(found.ledger)) <= allowed.disk_mib


def test_room_for_less_than_a_state_is_refused(tmp_path):
    with pytest.raises(UsageError, match="budget holds no state"):
        train(tmp_path / "ledger", replace(PLAIN, disk_mib=1e-4))
    assert not Ledger(tmp_path / "ledger").checkpoints


# --- going on ---------------------------------------------------------------------------------------------------


def test_new_records_enter_at_the_end_and_cost_a_short_replay(tmp_path):
    constant = own.recorded(own.dropped, config=own.config(), steps=8)
    train(tmp_path / "ledger", constant, own.records().select([f"r{i}" for i in range(100)]))
    longer = own.recorded(own.dropped, config=own.config(epochs=6), steps=8)
    _, ledger = train(tmp_path / "ledger", longer)
    assert ledger.head.stages == (4, 6)
    enters = {entry.id: entry.enters for entry in ledger.entries}
    assert (enters["r99"], enters["r100"]) == (0.0, 4.0)

    whole = replace(longer, stages=(4, 6))
    scratch = whole.run(own.records(), seed=4, enters=enters)
    assert scratch.state == ledger.head.finished

    seen = replay.forecast(ledger, ["r110"])
    assert seen.first >= 32
    assert seen.share <= 1 / 3 + 0.07
    found = replay.replay(whole, ledger, own.records().without(["r110"]), ["r110"], tmp_path / "new")
    rest = {name: when for name, when in enters.items() if name != "r110"}
    assert found.trained.state == whole.run(own.records().without(["r110"]), seed=4, enters=rest).state


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": 5}, "seed"),
        ({"trainer": own.recorded(own.dropped, config=own.config(lr=0.5), steps=8)}, "program"),
        ({"trainer": replace(PLAIN, steps=9)}, "steps"),
        ({"trainer": replace(PLAIN, epochs=3)}, "epochs"),
        ({"records": more()}, "1 new records, and no epochs for them"),
        ({"records": own.records().without(["r5"])}, "1 records that are gone or changed"),
    ],
)
def test_the_ledger_of_another_run_is_left_alone(tmp_path, change, words):
    train(tmp_path / "ledger")
    before = {path.name: path.read_bytes() for path in (tmp_path / "ledger").iterdir() if path.is_file()}
    with pytest.raises(ForeignRun, match=words):
        train(tmp_path / "ledger", **change)
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "ledger").iterdir() if path.is_file()}


@pytest.mark.parametrize("more", [{"steps": 0}, {"rule": "skip"}, {"stages": (2, 3)}, {"threads": 0}])
def test_settings_that_mean_nothing(more):
    with pytest.raises(UsageError):
        own.recorded(own.dropped, config=own.config(), **{"steps": 8, **more})


def test_a_weight_that_was_left_empty_is_told():
    """Memory that nobody wrote is filled while the model is built, so that it is no chance number."""

    def build():
        model = own.dropped()
        model[0].bias = torch.nn.Parameter(torch.empty(16))
        return model

    with pytest.raises(Diverged, match="NaN"):
        own.recorded(build, config=own.config(), steps=8).run(own.records(), seed=4)


# --- texts, of which every scored token is a unit ----------------------------------------------------------------


def told(build=languages.based, **more):
    """Return a trainer of one step of SGD, all records in it, by the loss of a token."""
    plain = own.config(epochs=1, lr=0.5, optimiser="sgd", momentum=0.0)
    return own.recorded(build, config=plain, steps=1, task="causal_lm", **more)


@pytest.mark.parametrize("micro_batch", [0, 5])
def test_a_step_on_texts_is_one_by_the_mean_loss_of_a_token(tmp_path, micro_batch):
    """Records have answers of several lengths, and parts of a step as many tokens as they have."""
    records = languages.records()
    model, ledger = train(tmp_path / "ledger", told(micro_batch=micro_batch), records)
    wanted = languages.based()
    inputs, labels = records.read(range(len(records)))
    logits = wanted(**inputs).logits[:, :-1]
    loss = F.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten())  # -100 is left out, and not counted
    loss.backward()
    for p, mine in zip(wanted.parameters(), model.parameters(), strict=True):
        assert torch.allclose(mine, p - 0.5 * p.grad, atol=1e-6)
    assert [line.loss for line in ledger.lines()] == [pytest.approx(loss.item(), rel=1e-6)]


def test_a_training_on_texts_is_another_program_than_when_its_steps_were_sums(tmp_path, monkeypatch):
    """And a training of a classifier is the program that it always was."""
    program, classifier = told().program, PLAIN.program
    monkeypatch.setattr("expunge.engine.recorded.by_record", lambda task: True)
    assert PLAIN.program == classifier
    assert told().program != program
    train(tmp_path / "ledger", told(), languages.records())
    monkeypatch.undo()
    with pytest.raises(ForeignRun, match="program"):
        train(tmp_path / "ledger", told(), languages.records())
    rest = languages.records().select(languages.records().ids[1:])
    found = replay.obstacles(Ledger(tmp_path / "ledger"), told(), rest, languages.records().ids[:1])
    assert [each.what[:44] for each in found] == ["the code or the settings of the training dif"]
    assert "version of expunge" in found[0].fix


def test_empty_slots_of_texts_are_refused_before_anything_is_written(tmp_path):
    with pytest.raises(UsageError, match="many units each"):
        expunge.train(told(rule="mask"), languages.records(), seed=0, ledger=tmp_path / "ledger")
    assert not (tmp_path / "ledger").exists()
    assert own.recorded(own.dropped, config=own.config(), steps=8, rule="mask").rule == "mask"
