"""A replay is, byte for byte, the run from scratch that never had the records; and it refuses where it cannot be."""

import functools
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import expunge
from expunge.core.errors import Diverged, ForeignRun, Refused, UsageError
from expunge.engine import replay
from expunge.engine.ledger import Ledger
from expunge.engine.recorded import Recorded
from tests.support import languages
from tests.support import recordings as own

GONE = ["r3", "r117"]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def recorded(tmp_path):
    """Return a function that records a training and opens its ledger."""

    def run(name, seed=4):
        trainer = own.TRAINERS[name] if isinstance(name, str) else name
        model = expunge.train(trainer, own.records(), seed=seed, ledger=tmp_path / "ledger")
        return trainer, model, Ledger(tmp_path / "ledger")

    return run


def replayed(trainer, ledger, gone, tmp_path):
    return replay.replay(trainer, ledger, own.records().without(gone), gone, tmp_path / "new")


# --- bitwise ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", own.TRAINERS)
def test_it_equals_a_run_from_scratch(recorded, tmp_path, name):
    """Parameters, buffers, optimiser and schedule: the digest is over the files that hold all of them."""
    trainer, _, ledger = recorded(name)
    if not trainer.ours:
        assert replay.prove(trainer, own.records(), ledger, tmp_path / "work")
    found = replayed(trainer, ledger, GONE, tmp_path)
    assert found.trained.state == own.scratch(name, GONE, 4) == found.ledger.head.finished
    assert found.trained.state != ledger.head.finished
    if name not in ("a loop of one's own", "a step for hardly two"):  # an early end, and steps that are passed over
        assert found.forecast.visits == found.trained.recorder.visits


@pytest.mark.parametrize("name", ["adamw, dropout, one cycle", "mask"])
def test_another_process_without_ledger_and_ids_finds_the_same(recorded, tmp_path, name):
    trainer, _, ledger = recorded(name)
    found = replayed(trainer, ledger, GONE, tmp_path)
    words = [sys.executable, "-m", "tests.support.recordings", name, "4", *GONE]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    other = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=True)
    assert other.stdout == found.trained.state


def test_a_gradient_that_is_cut_makes_another_run_and_another_program():
    trainer = own.TRAINERS["cut, linear after a warm-up"]
    longer = replace(trainer, loop=replace(trainer.loop, config=replace(trainer.loop.config, clip=0.0)))
    assert trainer.program != longer.program
    assert trainer.run(own.records(), seed=4).state != longer.run(own.records(), seed=4).state


def test_a_late_first_use_is_a_short_replay(recorded, tmp_path):
    trainer, _, ledger = recorded("late")
    found = replayed(trainer, ledger, ["r117"], tmp_path)
    assert found.forecast.first >= 2.5 * trainer.steps
    assert found.forecast.share < 0.4
    assert found.trained.state == own.scratch("late", ["r117"], 4)
    assert found.stretch > 0 or found.forecast.first == found.forecast.start


def test_the_next_request_starts_from_the_new_ledger(recorded, tmp_path):
    trainer, _, ledger = recorded("adamw, dropout, one cycle")
    first = replayed(trainer, ledger, GONE[:1], tmp_path)
    kept = own.records().without(GONE)
    second = replay.replay(trainer, first.ledger, kept, GONE[1:], tmp_path / "second")
    assert second.trained.state == own.scratch("adamw, dropout, one cycle", GONE, 4)
    assert {entry.id for entry in second.ledger.entries} == set(kept.ids)


def test_a_changed_derived_value_starts_from_nothing(recorded, tmp_path):
    trainer, _, ledger = recorded("derived, changed")
    found = replayed(trainer, ledger, GONE, tmp_path)
    assert (found.forecast.derived, found.forecast.start) == (True, 0)
    assert found.ledger.head.derived != ledger.head.derived


def test_masked_records_are_not_needed(recorded, tmp_path):
    """With their content replaced by nothing at all: the records that are handed over do not hold them."""
    trainer, _, ledger = recorded("mask")
    x, y = own.table()
    kept = [i for i in range(own.N) if f"r{i}" not in GONE]
    alone = expunge.ArrayRecords(x[kept].clone(), y[kept].clone(), ids=[f"r{i}" for i in kept])
    found = replay.replay(trainer, ledger, alone, GONE, tmp_path / "new")
    assert found.trained.state == own.scratch("mask", GONE, 4)


def test_the_rules_are_two_programs(recorded, tmp_path):
    """P-29: dropping and masking give other bits; a ledger of one rule is not replayed with the other."""
    trainer, _, ledger = recorded("mask")
    drop = replace(trainer, rule="drop")
    assert drop.run(own.records(), seed=4).state != trainer.run(own.records(), seed=4).state
    with pytest.raises(Refused, match="another filter rule"):
        replayed(drop, ledger, GONE, tmp_path)


def test_order_of_the_records_means_nothing(tmp_path):
    trainer = own.TRAINERS["adamw, dropout, one cycle"]
    one = trainer.run(own.records(), seed=1).state
    assert trainer.run(own.records().select([f"r{i}" for i in reversed(range(own.N))]), seed=1).state == one
    assert trainer.run(own.records(), seed=2).state != one


def test_all_records_of_a_step_may_go(recorded, tmp_path):
    """P-31: a step that is left with none, or under batch statistics with one, is passed over; the rate goes on."""
    trainer, _, ledger = recorded("a step for hardly two")
    sizes = [line.count for line in ledger.lines()]
    assert 0 in sizes
    assert 1 in sizes
    gone = [f"r{i}" for i in range(0, own.N, 2)]
    found = replayed(trainer, ledger, gone, tmp_path)
    assert found.trained.state == own.scratch("a step for hardly two", gone, 4)
    assert all(torch.isfinite(p).all() for p in found.model.parameters())


# --- forecast ---------------------------------------------------------------------------------------------------


def test_the_share_of_steps_is_the_expected_one():
    """Reference §2.5: K uniform rows of one pass are first met after 1/(K+1) of it, on average."""
    draw, shares = np.random.default_rng(0), []
    for seed in range(300):
        table = own.recorded(own.dropped, config=own.config(epochs=1), steps=100)
        ids = [f"r{i}" for i in range(own.N)]
        times = replay.Timetable("drop", seed, 100, replay.fingerprints(tuple(ids)), np.zeros(own.N))
        shares.append(1 - table.epochs * times.first_use(draw.choice(own.N, 3, replace=False), 1) / 100)
    # floor(u * steps) takes half a step off the mean of the minimum of three uniform draws.
    assert np.mean(shares) == pytest.approx(1 - 1 / 4 + 0.005, abs=4 * 0.194 / np.sqrt(300))


def test_unknown_ids_cost_nothing(recorded):
    trainer, _, ledger = recorded("adamw, dropout, one cycle")
    seen = replay.forecast(ledger, ["nobody"])
    assert (seen.first, seen.visits) == (trainer.epochs * trainer.steps, 0)


# --- what is refused --------------------------------------------------------------------------------------------


def refused(trainer, ledger, tmp_path, words, records=None):
    with pytest.raises(Refused, match=words) as caught:
        replay.replay(trainer, ledger, records or own.records().without(GONE), GONE, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    return str(caught.value)


def test_another_environment(recorded, tmp_path):
    trainer, _, ledger = recorded("adamw, dropout, one cycle")
    ledger.amend(environment={**ledger.head.environment, "torch": "1.0.0"})
    with pytest.raises(expunge.core.errors.Tampered):  # the environment is the first link of the chain
        Ledger(ledger.folder)
    said = refused(trainer, ledger, tmp_path, "environment is not that")
    assert "torch: 1.0.0, now" in said


def test_another_number_of_threads(recorded, tmp_path):
    trainer, _, ledger = recorded("adamw, dropout, one cycle")
    refused(replace(trainer, threads=2), ledger, tmp_path, "number of threads")


def test_other_code_or_settings(recorded, tmp_path):
    trainer, _, ledger = recorded("adamw, dropout, one cycle")
    other = own.recorded(own.dropped, config=own.config(lr=0.03), steps=8)
    refused(other, ledger, tmp_path, "code or the settings")
    refused(own.recorded(own.normed, config=trainer.loop.config, steps=8), ledger, tmp_path, "code or the settings")


def test_other_data(recorded, tmp_path):
    trainer, _, ledger = recorded("adamw, dropout, one cycle")
    x, y = own.table()
    x[50, 0] += 1
    changed = expunge.ArrayRecords(x, y, ids=own.records().ids)
    refused(trainer, ledger, tmp_path, "have changed", changed.without(GONE))
    refused(trainer, ledger, tmp_path, "not at hand", own.records().without([*GONE, "r9"]))
    refused(trainer, ledger, tmp_path, "were not in the recorded run", own.records(own.N + 1).without(GONE))


def test_a_loop_of_ones_own_must_show_that_it_replays(recorded, tmp_path):
    trainer, _, ledger = recorded("a loop of one's own")
    refused(trainer, ledger, tmp_path, "was not shown")
    assert replay.prove(trainer, own.records(), ledger, tmp_path / "work")
    assert Ledger(ledger.folder).head.proven


def test_a_loop_with_hidden_state_is_found_out(recorded, tmp_path):
    trainer, _, ledger = recorded(Recorded(loop=own.forgetful_loop, epochs=4, steps=8))
    with pytest.raises(Diverged, match="leaves the recorded run"):
        replay.prove(trainer, own.records(), ledger, tmp_path / "work")
    assert not Ledger(ledger.folder).head.proven


# --- a stretch, run again ---------------------------------------------------------------------------------------


def test_a_stretch_comes_out_as_written(recorded, tmp_path):
    trainer, _, ledger = recorded("adamw, dropout, one cycle")
    first, last = replay.reproduce(trainer, ledger, own.records(), tmp_path / "work", start=10, stop=15)
    assert first <= 10 < 15 == last


def test_a_stretch_with_another_record_is_found_out(recorded, tmp_path):
    trainer, _, ledger = recorded("adamw, dropout, one cycle")
    x, y = own.table()
    x[7] += 0.001
    forged = expunge.ArrayRecords(x, y, ids=own.records().ids)
    contents = dict(forged.manifest.entries)
    ledger.rewrite([replace(entry, content=contents[entry.id]) for entry in ledger.entries])
    with pytest.raises(Diverged, match="another loss"):
        replay.reproduce(trainer, ledger, forged, tmp_path / "work", start=0, stop=32)


# --- what would make a claim untrue -----------------------------------------------------------------------------


def test_a_run_in_stages_is_replayed_in_stages(tmp_path):
    """The rate starts anew with each stage: without the ledger's stages another model would come out."""
    short = own.recorded(own.dropped, config=own.config(epochs=3, schedule="one_cycle"), steps=8)
    longer = own.recorded(own.dropped, config=own.config(epochs=6, schedule="one_cycle"), steps=8)
    expunge.train(short, own.records(), seed=4, ledger=tmp_path / "ledger")
    expunge.train(longer, own.records(), seed=4, ledger=tmp_path / "ledger")
    found = replayed(longer, Ledger(tmp_path / "ledger"), GONE, tmp_path)
    staged = replace(longer, stages=(3, 6)).run(own.records().without(GONE), seed=4).state
    assert found.trained.state == staged
    assert staged != longer.run(own.records().without(GONE), seed=4).state


@pytest.mark.parametrize("how", ["a record is taken from the list", "a record enters at another time"])
def test_the_list_of_records_is_that_of_the_steps(recorded, tmp_path, how):
    trainer, _, ledger = recorded("adamw, dropout, one cycle")
    rest = [entry for entry in ledger.entries if entry.id not in GONE]
    late = [replace(entry, enters=3.0) if entry.id in GONE else entry for entry in ledger.entries]
    ledger.rewrite(rest if how.startswith("a record is taken") else late)
    refused(trainer, ledger, tmp_path, "list of records is not that")


def test_a_changed_last_state_is_not_gone_on_from(recorded):
    _, _, ledger = recorded(own.recorded(own.dropped, config=own.config(), steps=8))
    file = ledger.checkpoints[ledger.head.total] / "state.safetensors"
    data = bytearray(file.read_bytes())
    data[-3] ^= 1
    file.write_bytes(data)
    longer = own.recorded(own.dropped, config=own.config(epochs=5), steps=8)
    with pytest.raises(expunge.core.errors.Tampered, match="checkpoints"):
        expunge.train(longer, own.records(), seed=4, ledger=ledger.folder)


def test_what_was_shown_does_not_outlive_what_it_was_shown_of(recorded, tmp_path):
    """A proof that was interrupted shows nothing, and going on asks for a new one."""
    constant = Recorded(loop=own.constant_loop, epochs=4, steps=8)
    trainer, _, ledger = recorded(constant)
    (tmp_path / "work").write_text("in the way")
    with pytest.raises(expunge.core.errors.StorageFailed):
        replay.prove(trainer, own.records(), ledger, tmp_path / "work")
    assert not Ledger(ledger.folder).head.proven
    assert replay.prove(trainer, own.records(), ledger, tmp_path / "other")
    expunge.train(replace(constant, epochs=5), own.records(), seed=4, ledger=ledger.folder)
    assert not Ledger(ledger.folder).head.proven


def test_a_proof_needs_a_checkpoint(recorded, tmp_path):
    trainer, _, ledger = recorded(Recorded(loop=own.constant_loop, epochs=1, steps=8, checkpoints=1))
    with pytest.raises(Refused, match="show nothing"):
        replay.prove(trainer, own.records(), ledger, tmp_path / "work")


def test_state_that_no_checkpoint_holds_is_seen_by_the_stretch(recorded, tmp_path):
    trainer, _, ledger = recorded(own.recorded(own.counting, config=own.config(), steps=8, enters=own.late))
    with pytest.raises(Diverged, match="leaves the recorded run"):
        replay.replay(trainer, ledger, own.records().without(["r117"]), ["r117"], tmp_path / "new")


def test_what_a_function_is_bound_to_is_part_of_the_program(recorded, tmp_path):
    half, more = (
        own.recorded(functools.partial(own.dropping, share), config=own.config(), steps=8) for share in (0.1, 0.5)
    )
    assert half.program != more.program
    _, _, ledger = recorded(half)
    refused(more, ledger, tmp_path, "code or the settings")


def test_a_function_without_text_is_refused():
    space = {}
    exec("def build(): return None", space)
    with pytest.raises(expunge.core.errors.UsageError, match="text of a function"):
        assert own.recorded(space["build"], config=own.config(), steps=8).program


# --- language models, and adapters on a frozen base ---------------------------------------------------------------


def dropping():
    """Return a new language model with dropout."""
    return languages.gpt(resid_pdrop=0.1, embd_pdrop=0.1)


def speaking(build=languages.based, **more):
    config = expunge.LoopConfig(epochs=2, lr=1e-2, schedule="one_cycle")
    return own.recorded(build, config=config, steps=4, task="causal_lm", checkpoints=8, **more)


FEW = languages.NAMES[:6]
LANGUAGE = {
    "all weights": speaking(dropping, micro_batch=2),
    "adapters": speaking(lora=2),
    "adapters in some layers": speaking(lora=3, lora_alpha=8, lora_layers=("c_fc",)),
}


def spoken(tmp_path, trainer):
    """Record a training, replay it without the record that is met last; return the parts."""
    records = languages.records(FEW)
    model = expunge.train(trainer, records, seed=4, ledger=tmp_path / "ledger")
    ledger = Ledger(tmp_path / "ledger")
    last = replay.timetable_of(ledger, ledger.entries).first_uses(2).argmax()
    gone = [ledger.entries[int(last)].id]
    rest = records.without(gone)
    return model, ledger, rest, replay.replay(trainer, ledger, rest, gone, tmp_path / "new")


@pytest.mark.parametrize("name", ["all weights", "adapters"])
def test_a_language_model_equals_a_run_from_scratch(tmp_path, name):
    trainer = LANGUAGE[name]
    model, ledger, rest, found = spoken(tmp_path, trainer)
    assert found.forecast.start > 0
    scratch = trainer.run(rest, seed=4)
    assert (found.trained.state, found.trained.weights) == (scratch.state, scratch.weights)
    assert all(torch.equal(a, b) for a, b in zip(found.model.parameters(), scratch.model.parameters(), strict=True))
    assert found.trained.weights != ledger.head.model
    assert ledger.ends_with(model)
    assert not ledger.ends_with(found.model)
    source = expunge.HuggingFaceModel.adopt(model)
    (tmp_path / "saved").mkdir()
    source.save(model, tmp_path / "saved")
    assert ledger.ends_with(expunge.HuggingFaceModel(tmp_path / "saved").open())
    assert all(p.requires_grad for p in model.parameters())


def test_checkpoints_hold_adapters_alone_and_the_base_stays(tmp_path):
    model, ledger, _, _ = spoken(tmp_path, LANGUAGE["adapters in some layers"])
    for folder in ledger.checkpoints.values():
        tensors = [name for name in load_file(folder / "state.safetensors") if name.startswith("model.")]
        assert tensors == [f"model.transformer.h.0.mlp.c_fc.lora_{x}.expunge.weight" for x in "AB"]
    base, last = languages.based().state_dict(), load_file(folder / "state.safetensors")
    moved = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, base[name])}
    assert moved == {"transformer.h.0.mlp.c_fc.weight"}
    a, b = (last[f"{tensors[0][:-16].removesuffix('A.')}{x}.expunge.weight"].double().numpy() for x in "AB")
    wanted = base[min(moved)].double().numpy() + 8 / 3 * (b @ a).T  # a Conv1D's weight is transposed
    np.testing.assert_allclose(model.state_dict()[min(moved)].double().numpy(), wanted, atol=1e-7)


def test_another_base_is_refused(tmp_path, monkeypatch):
    trainer, records = LANGUAGE["adapters"], languages.records(FEW)
    expunge.train(trainer, records, seed=4, ledger=tmp_path / "ledger")
    monkeypatch.setattr(languages, "_base", lambda seed: languages.untrained(9))
    with pytest.raises(ForeignRun, match="frozen weights"):
        replay.reproduce(trainer, Ledger(tmp_path / "ledger"), records, tmp_path / "new", start=3, stop=4)


def test_no_layers_for_adapters(tmp_path):
    with pytest.raises(UsageError, match="no linear layers"):
        speaking(lora=2, lora_layers=("nowhere",)).run(languages.records(), seed=0)


def thawing_loop(recorder):
    """A loop that trains what was frozen when it was tracked."""
    model = own.dropped()
    model[0].requires_grad_(False)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    recorder.track(model, optimiser)
    model[0].requires_grad_(True)
    for step in recorder:
        x, y = step.batch
        loss = torch.nn.functional.cross_entropy(model(x), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        step.done(loss)
    return model


def test_weights_that_thaw_are_told():
    with pytest.raises(UsageError, match="frozen when training began have changed"):
        Recorded(loop=thawing_loop, epochs=1, steps=2).run(own.records(), seed=0)
