import pytest
import torch

from expunge.numerics.units import MANY, Scored, Units, alike


def scored(count=6, classes=3, seed=0):
    draw = torch.Generator().manual_seed(seed)
    logits = torch.randn(count, classes, generator=draw, dtype=torch.float64)
    return Scored.of(logits, torch.arange(count) % classes, torch.arange(count), count)


def test_the_loss_is_minus_the_log_probability_of_the_target():
    units = scored()
    expected = -units.logits.log_softmax(1)[torch.arange(6), units.target]
    torch.testing.assert_close(units.loss, expected)
    torch.testing.assert_close(units.log_probs.exp().sum(1), torch.ones(6, dtype=torch.float64))


def test_correct_breaks_ties_downwards():
    units = Scored.of(torch.tensor([[1.0, 1.0], [1.0, 1.0]]), torch.tensor([0, 1]), torch.arange(2), 2)
    assert units.correct.tolist() == [True, False]


def test_means_are_per_record():
    units = Units(torch.tensor([1.0, 3.0, 5.0]), torch.tensor([2, 0, 2]), 3)
    found = units.by_record(units.loss)
    assert found[0] == 3.0
    assert found[2] == 3.0
    assert torch.isnan(found[1]), "a record without units has no mean, and not 0"


def test_large_logits_have_finite_losses():
    units = Scored.of(torch.tensor([[1e4, -1e4]]), torch.tensor([1]), torch.tensor([0]), 1)
    assert units.loss.tolist() == [2e4]


def test_gradients_flow():
    logits = torch.zeros(2, 3, requires_grad=True)
    Scored.of(logits, torch.tensor([0, 1]), torch.arange(2), 2).loss.sum().backward()
    expected = torch.full((2, 3), 1 / 3)
    expected[0, 0] = expected[1, 1] = -2 / 3
    torch.testing.assert_close(logits.grad, expected)


@pytest.mark.parametrize("classes", [2, 10])
def test_many_units_lose_what_they_lose_a_few_at_a_time(classes):
    whole = scored(count=MANY + 76, classes=classes)
    logits = [part.clone().requires_grad_() for part in (whole.logits, whole.logits)]
    many = Scored.of(logits[0], whole.target, whole.record, whole.batch_size).loss
    pieces = zip(logits[1].split(100), whole.target.split(100), strict=True)
    few = torch.cat([Scored.of(one, to, torch.arange(len(to)), len(to)).loss for one, to in pieces])
    weights = torch.linspace(1, 2, len(many), dtype=many.dtype)
    for loss in (many, few):
        (loss * weights).sum().backward()
    torch.testing.assert_close(many, few)
    torch.testing.assert_close(logits[0].grad, logits[1].grad)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int16])
def test_any_integer_is_a_label(dtype):
    units = scored()
    other = Scored.of(units.logits, units.target.to(dtype), units.record, 6)
    torch.testing.assert_close(other.loss, units.loss)


def test_rows_that_say_the_same():
    logits = torch.tensor([[1.0, 2.0, 3.0]]).repeat(4, 1)
    assert alike(logits)
    assert alike(logits + torch.arange(4.0)[:, None]), "the same probabilities"
    logits[2, 0] += 1e-4
    assert not alike(logits)
    assert not alike(logits[:1]), "one answer shows nothing"
