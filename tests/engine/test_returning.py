"""What comes back from a device: made here of units on the processor, and of a device of Python's in test_device."""

import pytest
import torch

from expunge.core import registry
from expunge.engine.returning import Brought, Returning, brought, returning
from expunge.numerics.losses import distillation
from expunge.numerics.tokens import Head, Tokens
from expunge.numerics.units import Answered, Scored


def tokens(graded=True):
    draw = torch.Generator().manual_seed(3)
    hidden = torch.randn(6, 4, generator=draw).requires_grad_(graded)
    head = Head(torch.randn(9, 4, generator=draw))
    record = torch.tensor([0, 0, 1, 2, 2, 2])
    return Tokens(hidden, head, torch.tensor([1, 5, 0, 8, 3, 3]), record, 3)


@pytest.mark.parametrize("what", ["loss", "logits", "target", "correct", "output", "classes", "record", "batch_size"])
def test_all_that_is_asked_of_units_is_what_they_say_themselves(what):
    local, away = tokens(), Brought(tokens())
    one, other = getattr(local, what), getattr(away, what)
    assert torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


def test_slopes_go_back_to_where_units_were_computed():
    local, there = tokens(), tokens()
    weights = torch.arange(6.0)
    (local.loss * weights).sum().backward()
    (Brought(there).loss * weights).sum().backward()
    assert torch.equal(local.hidden.grad, there.hidden.grad)
    assert local.hidden.grad.abs().max() > 0.1


def test_a_value_of_two_models_is_made_where_both_lie():
    one, other = tokens(), tokens(graded=False)
    other.hidden.add_(1.0)
    assert torch.equal(distillation(Brought(one), Brought(other)), distillation(one, other))


def test_some_records_are_told_from_the_others():
    chosen = torch.tensor([True, False, True])
    here, there = tokens().among(chosen), Brought(tokens()).among(chosen)
    assert torch.equal(here.loss, there.loss)
    assert (here.record.tolist(), here.batch_size) == (there.record.tolist(), there.batch_size)


def test_units_that_hold_all_they_say_stay_of_their_kind():
    logits, target = torch.randn(4, 3), torch.tensor([0, 2, 1, 1])
    scored = Scored.of(logits, target, torch.arange(4), 4)
    answered = Answered.of(torch.randn(4), torch.randn(4), torch.arange(4), 4)
    assert type(brought(scored)) is Scored
    assert type(brought(answered)) is Answered
    assert torch.equal(brought(scored).loss, scored.loss)
    assert type(brought(tokens())) is Brought


def test_a_task_that_brings_home_is_of_the_same_class_and_only_once():
    task = registry.load("tasks", "classification")()
    once = returning(task)
    assert isinstance(once, (type(task), Returning))
    assert returning(once) is once
    model, records = task.trial(1)
    batch = records.read(range(5))
    assert torch.equal(once.units(model, batch).loss, task.units(model, batch).loss)
    assert torch.equal(once.features(model, batch), task.features(model, batch))
