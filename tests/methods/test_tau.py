"""TAU is one method after the other."""

from dataclasses import replace

import pytest
import torch

from expunge.core.digest import keyed_int
from expunge.core.errors import UsageError
from expunge.core.method import Cost, Need
from expunge.methods.sga import SelectiveAscent
from expunge.methods.task_arithmetic import TaskArithmetic
from expunge.methods.tau import AscentThenArithmetic
from tests.support import toys
from tests.support.languages import spoken

FIRST = {"epochs": 8, "lr": 3e-3, "batch_size": 4}
SECOND = {"epochs": 2, "lr": 1e-3, "batch_size": 4, "scale": 0.7}


def test_it_is_ascent_and_then_arithmetic_from_there():
    """The task vector starts at the ascended model; from the original it would be another."""
    given = spoken()
    outcome = AscentThenArithmetic({"settings": [FIRST, SECOND]}).unlearn(given, toys.context(given))
    first = SelectiveAscent(FIRST).unlearn(given, toys.context(given))
    there = replace(given, model=first.model)
    seed = keyed_int(b"expunge tau", 3, 1) % 2**31  # of its own: the first of both would be replayed
    wanted = TaskArithmetic(SECOND).unlearn(there, toys.context(there, seed=seed))
    assert toys.same(outcome.model, wanted.model)
    assert not toys.same(outcome.model, TaskArithmetic(SECOND).unlearn(given, toys.context(given)).model)
    assert outcome.cost == first.cost + wanted.cost
    assert [row["stage"] for row in outcome.history] == [1] * len(first.history) + [2, 2]
    assert [row["epoch"] for row in outcome.history] == list(range(1, len(first.history) + 3))
    assert first.stopped in outcome.stopped


def test_without_the_second_it_is_the_first():
    given = spoken()
    settings = {"settings": [FIRST, {**SECOND, "scale": 0.0}]}
    outcome = AscentThenArithmetic(settings).unlearn(given, toys.context(given))
    first = SelectiveAscent(FIRST).unlearn(given, toys.context(given))
    assert toys.same(outcome.model, first.model)
    assert not any("no effect" in text for text in outcome.warnings)


def test_what_keeps_one_of_them_keeps_it():
    assert AscentThenArithmetic().obstacles(toys.problem())
    assert not AscentThenArithmetic().obstacles(spoken())
    with pytest.raises(UsageError, match="two stages"):
        AscentThenArithmetic({"settings": [FIRST]})
    assert "unseen text" in AscentThenArithmetic().obstacles(spoken(held=0))[0].what


def test_nothing_to_forget_is_no_work():
    outcome = AscentThenArithmetic().unlearn(spoken(names=0), toys.context(spoken(names=0)))
    assert outcome.cost == Cost()
    assert all(torch.isfinite(p).all() for p in outcome.model.parameters())


def test_each_stage_says_what_holds_the_retained_records():
    given = spoken()
    held = AscentThenArithmetic({"settings": [FIRST, {**SECOND, "retain": "kl"}]})
    assert held.needs == {Need.FORGET, Need.RETAIN}
    assert AscentThenArithmetic().needs == {Need.FORGET}
    outcome = held.unlearn(given, toys.context(given))
    free = AscentThenArithmetic({"settings": [FIRST, SECOND]}).unlearn(given, toys.context(given))
    assert outcome.cost.trained == free.cost.trained + 2 * 2 * 4  # two steps of four beside the six, in two epochs
    assert not toys.same(outcome.model, free.model)


def test_settings_of_one_stage_are_told_that_there_are_two():
    with pytest.raises(UsageError, match="unknown key 'lr'") as told:
        AscentThenArithmetic({"lr": 0.003})
    assert told.value.obstacles[0].expected == "settings, and nothing else"
