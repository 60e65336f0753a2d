"""Which records meet which step, and loops that leave out what they must do."""

import numpy as np
import pytest
import torch
from scipy import stats

from expunge.core.errors import UsageError
from expunge.engine.recorded import Recorded
from expunge.engine.recorder import Timetable, least_missed, timetable
from tests.support import recordings as own


def table(rule="drop", seed=0, steps=7, gone=(), enters=None, slots=None):
    """Return the timetable of the records that remain, and their names."""
    records = own.records().without(list(gone))
    when = [0.0 if enters is None else enters(name) for name in records.ids]
    if rule == "mask":
        order = {name: i for i, name in enumerate(own.records().ids)}
        slots = ([order[name] for name in records.ids], own.N)
    return timetable(records, rule=rule, seed=seed, steps=steps, enters=when, slots=slots), np.array(records.ids)


def named(found, epoch):
    made, names = found
    return [[names[i] if i >= 0 else None for i in step] for step in made.epoch(epoch)]


@pytest.mark.parametrize("epoch", [0, 5])
def test_leaving_records_out_moves_no_other(epoch):
    gone = ["r3", "r50", "r119"]
    whole, rest = named(table(), epoch), named(table(gone=gone), epoch)
    assert rest == [[name for name in step if name not in gone] for step in whole]


def test_masking_leaves_slots():
    gone = ["r3", "r50", "r119"]
    whole, rest = named(table("mask"), 2), named(table("mask", gone=gone), 2)
    assert rest == [[None if name in gone else name for name in step] for step in whole]
    assert {len(step) for step in rest} <= {own.N // 7, own.N // 7 + 1}


@pytest.mark.parametrize("rule", ["drop", "mask"])
def test_every_record_is_met_once_an_epoch(rule):
    for epoch in range(3):
        met = [name for step in named(table(rule), epoch) for name in step]
        assert sorted(met) == sorted(own.records().ids)
    assert named(table(rule), 0) != named(table(rule), 1)
    assert named(table(rule), 0) != named(table(rule, seed=1), 0)


def test_steps_are_uniform():
    """Chi-squared of 200 epochs over 7 steps: at a fixed seed, inside its own distribution."""
    made, _ = table()
    counts = np.sum([[len(step) for step in made.epoch(epoch)] for epoch in range(200)], axis=0)
    assert stats.chisquare(counts).pvalue > 0.01


def test_who_enters_late_is_not_met_before():
    made, names = table(enters=own.late)
    late = [i for i, name in enumerate(names) if own.late(name)]
    assert not any(np.isin(step, late).any() for epoch in (0, 1) for step in made.epoch(epoch))
    half = made.epoch(2)
    assert not any(np.isin(step, late).any() for step in half[:3])  # from the middle of the third epoch on
    assert sum(np.isin(step, late).sum() for step in half) == len(late)


@pytest.mark.parametrize("rule", ["drop", "mask"])
def test_the_first_use_is_where_the_table_has_it(rule):
    made, _ = table(rule)
    for index in (0, 17, 64):
        wanted = next(n for n, step in enumerate(made.epoch(0)) if index in step)
        assert made.first_use(np.array([index]), 3) == wanted
    assert made.first_use(np.array([], dtype=int), 3) == 21


@pytest.mark.parametrize("rule", ["drop", "mask"])
def test_first_uses_are_those_of_each_record(rule):
    made, _ = table(rule, enters=own.late)
    found = made.first_uses(4)
    assert found.tolist() == [made.first_use(np.array([i]), 4) for i in range(own.N)]
    assert made.first_uses(2).max() == 14  # who enters later meets none of two epochs


def test_the_state_that_is_missed_least_is_found_by_trying_all():
    draw = np.random.default_rng(0)
    for _ in range(50):
        states = sorted(draw.choice(100, 6, replace=False).tolist())
        first = draw.integers(0, 100, 80)

        def cost(kept, first=first):
            return sum(max((one for one in kept if one < use), default=0) for use in first.tolist())

        without = {one: cost([other for other in states if other != one]) for one in states[:-1]}
        assert without[least_missed(states, first)] == max(without.values())


def test_a_timetable_hangs_on_names_alone():
    """Another order of the records, another process: the same steps."""
    made, names = table()
    turned = Timetable("drop", 0, 7, made.words[::-1].copy(), made.enters)
    back = names[::-1]
    assert [[back[i] for i in step] for step in turned.epoch(1)] == named((made, names), 1)


# --- loops ------------------------------------------------------------------------------------------------------


def broken(recorder):
    model = own.dropped()
    recorder.track(model, torch.optim.SGD(model.parameters(), lr=0.1))
    for step in recorder:
        step.done(0.0)
        break
    return model


def silent(recorder):
    model = own.dropped()
    recorder.track(model, torch.optim.SGD(model.parameters(), lr=0.1))
    for step in recorder:
        assert step.batch is not None
    return model


def without_track(recorder):
    return own.dropped()


@pytest.mark.parametrize(
    ("loop", "words"),
    [(broken, "ended before"), (silent, "was not ended"), (without_track, "track\\(\\) was not called")],
)
def test_a_loop_that_leaves_out_what_it_must_do_is_told(loop, words):
    with pytest.raises(UsageError, match=words):
        Recorded(loop=loop, epochs=1, steps=2)(own.records(), seed=0)


def test_masking_is_refused_where_records_mix():
    with pytest.raises(UsageError, match="mixes the records"):
        own.recorded(own.normed, config=own.config(), steps=8, rule="mask")(own.records(), seed=0)
