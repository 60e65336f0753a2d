"""Losses and gradients of scored tokens against plain PyTorch in float64 and NumPy; no [tokens, vocabulary] is made."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from torch.nn import functional as F

from expunge.numerics import tokens
from expunge.numerics.tokens import Head, Made, Tokens, said
from expunge.numerics.units import Scored

N, H, V = 37, 8, 50


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(tokens, "CHUNK", 10 * V)


def drawn(dtype=torch.float64, *, bias=True, **more):
    draw = torch.Generator().manual_seed(0)
    hidden, weight = (torch.randn(n, H, generator=draw, dtype=dtype).requires_grad_() for n in (N, V))
    extra = torch.randn(V, generator=draw, dtype=dtype).requires_grad_() if bias else None
    target = torch.randint(V, (N,), generator=draw)
    return Tokens(hidden, Head(weight, extra, **more), target, torch.arange(N) // 4, 10), (hidden, weight, extra)


def gradients(value, leaves):
    return torch.autograd.grad(value, [leaf for leaf in leaves if leaf is not None])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("more", [{}, {"scale": 0.25}, {"cap": 3.0}], ids=["linear", "scaled", "capped"])
def test_loss_and_gradient_are_those_of_the_plain_way(bias, more):
    units, leaves = drawn(bias=bias, **more)
    logits = F.linear(*leaves) * more.get("scale", 1.0)
    logits = torch.tanh(logits / more["cap"]) * more["cap"] if "cap" in more else logits
    plain = F.cross_entropy(logits, units.target, reduction="none")
    slope = torch.randn(N, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(units.loss, plain, atol=1e-12, rtol=0)
    for mine, theirs in zip(gradients(units.loss @ slope, leaves), gradients(plain @ slope, leaves), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-11, rtol=0)


def test_what_is_written_per_unit_has_the_gradient_of_all_at_once():
    units, leaves = drawn()
    with torch.no_grad():
        teacher = Tokens(leaves[0] + 0.3, units.head, units.target, units.record, 10)

    def towards(logits, target, theirs):
        away = theirs - 2.0 * F.one_hot(target, V)
        return -(away.softmax(dim=1) * logits.log_softmax(dim=1)).sum(dim=1)

    whole = Scored.of(F.linear(*leaves), units.target, units.record, 10)
    other = Scored.of(F.linear(leaves[0].detach() + 0.3, *leaves[1:]).detach(), units.target, units.record, 10)
    mine, theirs = units.per_unit(towards, teacher), whole.per_unit(towards, other)
    torch.testing.assert_close(mine, theirs, atol=1e-12, rtol=0)
    for one, two in zip(gradients(mine.sum(), leaves), gradients(theirs.sum(), leaves), strict=True):
        torch.testing.assert_close(one, two, atol=1e-11, rtol=0)


def test_no_more_than_a_chunk_of_logits_is_made():
    seen = []

    class Watching(Head):
        def shaped(self, product):
            seen.append(len(product))
            return super().shaped(product)

    units, leaves = drawn()
    watched = Tokens(leaves[0], Watching(*leaves[1:]), units.target, units.record, 10)
    watched.per_unit(lambda logits, target: logits.amax(dim=1)).sum().backward()
    assert watched.output.shape == (N, 4)
    assert len(seen) == 3 * 4, "for the value, for its gradient, and for what is said"
    assert max(seen) == 10


def test_units_without_gradients_never_get_any():
    units, leaves = drawn()
    with torch.no_grad():
        teacher = Tokens(leaves[0], units.head, units.target, units.record, 10)
    for value in (teacher.loss, teacher.logits, teacher.per_unit(lambda logits, target: logits.sum(dim=1))):
        assert not value.requires_grad


def test_what_is_said_of_a_target_is_what_numpy_says():
    units, leaves = drawn()
    logits = F.linear(*leaves).detach()
    table = log_softmax(logits.numpy(), axis=1)
    mine = table[np.arange(N), units.target.numpy()]
    mean = (np.exp(table) * table).sum(axis=1)
    spread = np.sqrt((np.exp(table) * (table - mean[:, None]) ** 2).sum(axis=1))
    right = table.argmax(axis=1) == units.target.numpy()
    np.testing.assert_allclose(units.output.numpy(), np.stack([mine, right, mean, spread], axis=1), atol=1e-9)
    assert units.correct.tolist() == right.tolist()


def test_the_golden_fixture_of_min_k_plus_plus():
    logits = torch.tensor([[2.0, 0, -1, 0.5], [0, 1, 3, -1], [1, 1, 0, 0]], dtype=torch.float64)
    found = said(logits, torch.tensor([0, 2, 1]))
    z = (found[:, 0] - found[:, 2]) / found[:, 3]
    np.testing.assert_allclose(z.numpy(), [0.610011, 0.432641, 0.606531], atol=1e-6)
    np.testing.assert_allclose(-found[:, 0].numpy(), [0.342350, 0.185182, 1.006409], atol=1e-6)
    assert found[:, 1].tolist() == [1.0, 1.0, 0.0]  # a tie goes to the lowest token


def test_a_model_that_makes_its_own_logits_gives_the_same_units():
    units, leaves = drawn()
    logits = F.linear(*leaves)
    made = Tokens(logits, Made(V), units.target, units.record, 10)
    torch.testing.assert_close(made.loss, units.loss)
    torch.testing.assert_close(made.output, units.output)
    for one, two in zip(gradients(made.loss.sum(), leaves), gradients(units.loss.sum(), leaves), strict=True):
        torch.testing.assert_close(one, two)


def test_half_precision_is_summed_in_single():
    units, leaves = drawn(torch.bfloat16)
    assert units.loss.dtype == torch.float32
    exact = F.cross_entropy(F.linear(*leaves).float(), units.target, reduction="none")
    torch.testing.assert_close(units.loss, exact)
    assert all(g.dtype == torch.bfloat16 for g in gradients(units.loss.sum(), leaves))


def test_some_records_alone():
    units, _ = drawn()
    chosen = torch.arange(10) % 3 == 0
    some = units.among(chosen)
    assert some.batch_size == 4
    torch.testing.assert_close(some.by_record(some.loss), units.by_record(units.loss)[chosen])
    torch.testing.assert_close(some.sum_by_record(some.loss), units.sum_by_record(units.loss)[chosen])


def test_no_unit_at_all():
    units, leaves = drawn()
    none = Tokens(leaves[0][:0], units.head, units.target[:0], units.record[:0], 3)
    assert none.loss.shape == none.per_unit(lambda logits, target: logits.sum(dim=1)).shape == (0,)
    assert none.output.shape == (0, 4)
