"""Losses and gradients of scored tokens against plain PyTorch in float64 and NumPy; no [tokens, vocabulary] is made."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from torch import nn
from torch.nn import functional as F

from expunge.engine import loop
from expunge.numerics import tokens
from expunge.numerics.tokens import Head, Made, Tokens, said
from expunge.numerics.units import Scored

N, H, V = 37, 8, 50
SOME = torch.arange(10) % 2 == 0


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


def of_the_loss(units):
    return units.loss.sum()


def per_unit(units):
    return units.per_unit(lambda logits, target: logits.square().sum(dim=1)).sum()


@pytest.mark.parametrize("total", [of_the_loss, per_unit])
@pytest.mark.parametrize("hooked", [False, True])
def test_a_second_pass_adds_to_the_gradient_where_it_lies(hooked, total):
    units, (hidden, weight, _) = drawn(bias=False)
    plain = Scored.of(hidden @ weight.T, units.target, units.record, 10)
    expected = torch.autograd.grad(3 * total(plain) + (weight**2).sum(), weight, retain_graph=True)[0]
    seen = []
    if hooked:
        weight.register_hook(seen.append)
    with tokens.adding_up():
        (total(units) + (weight**2).sum()).backward(retain_graph=True)
        first = weight.grad
        (2 * total(units)).backward(retain_graph=True)
    assert weight.grad is first
    assert torch.allclose(weight.grad, expected, rtol=1e-12)
    assert len(seen) == 2 * hooked, "a hook is shown every gradient, also that of the second pass"
    assert all(isinstance(each, torch.Tensor) for each in seen)
    before = weight.grad.clone()
    handed = torch.autograd.grad(total(units), [weight, hidden], retain_graph=True)[0]
    assert torch.equal(weight.grad, before), "asked for apart, a gradient is handed out and added to nothing"
    assert torch.allclose(3 * handed + 2 * weight, expected, rtol=1e-12)


def buffers(monkeypatch, run, dtype=torch.float64):
    """Return how many gradients of the head are made anew in two passes."""
    units, _ = drawn(dtype, bias=False)
    made, zeros = [], torch.zeros_like
    with monkeypatch.context() as patch:
        patch.setattr(torch, "zeros_like", lambda like, **more: made.append(tuple(like.shape)) or zeros(like, **more))
        run(units)
    assert set(made) == {(V, H)}
    return len(made)


def twice(units):
    for _ in range(2):
        units.loss.sum().backward(retain_graph=True)


def adding(units):
    with tokens.adding_up():
        twice(units)


def test_a_second_pass_holds_no_gradient_of_its_own(monkeypatch):
    assert buffers(monkeypatch, adding) == 1
    assert buffers(monkeypatch, twice) == 2
    assert buffers(monkeypatch, adding, torch.bfloat16) == 2, "chunk by chunk, small ones would be rounded away"
    assert buffers(monkeypatch, lambda units: loop._descend([units.loss.sum(), units.among(SOME).loss.sum()])) == 1


IDS = torch.tensor([[3, 7, 3], [0, 49, 3]])


def looked_up(layer, rounds, *, sparing):
    """Return the gradient of an embedding that is also the head, after some passes of one step."""
    layer.weight.grad = None
    for _ in range(rounds):
        with tokens.by_rows(layer) if sparing else nullcontext():
            hidden = layer(IDS).flatten(0, 1)
        units = Tokens(hidden, Head(layer.weight), IDS.flatten(), torch.arange(2).repeat_interleave(3), 2)
        if sparing:
            loop._descend(units.loss.sum())
        else:
            F.cross_entropy(hidden @ layer.weight.T, IDS.flatten(), reduction="sum").backward()
    return layer.weight.grad


@pytest.mark.parametrize("padding", [None, 3])
@pytest.mark.parametrize("rounds", [1, 2])
def test_an_embedding_adds_the_gradients_of_its_rows_alone(rounds, padding, monkeypatch):
    torch.manual_seed(0)
    layer = nn.Embedding(V, H, padding_idx=padding, dtype=torch.float64)
    expected = looked_up(layer, rounds, sparing=False).clone()
    made, backward = [], torch.ops.aten.embedding_dense_backward
    monkeypatch.setattr(
        torch.ops.aten, "embedding_dense_backward", lambda *given: made.append(given) or backward(*given)
    )
    torch.testing.assert_close(looked_up(layer, rounds, sparing=True), expected, atol=1e-12, rtol=0)
    assert not made, "a gradient as large as the vocabulary was made"
    with tokens.by_rows(layer):
        said = layer(IDS)
    assert torch.equal(said, layer(IDS))
    handed = torch.autograd.grad(said.sum(), layer.weight)[0]
    assert len(made) == 1
    torch.testing.assert_close(handed, torch.autograd.grad(layer(IDS).sum(), layer.weight)[0])


class Noisy(nn.Embedding):
    def forward(self, ids):
        return super().forward(ids) + 1.0


@pytest.mark.parametrize(
    "layer",
    [
        nn.Embedding(V, H, max_norm=0.5),
        nn.Embedding(V, H, scale_grad_by_freq=True),
        nn.Embedding(V, H, sparse=True),
        Noisy(V, H),
        nn.Linear(H, V),
    ],
    ids=["max_norm", "scale_grad_by_freq", "sparse", "own class", "no embedding"],
)
def test_a_layer_that_does_more_than_look_up_is_left_as_it_is(layer):
    with tokens.by_rows(layer):
        assert "forward" not in vars(layer)


def test_an_embedding_is_itself_again_after_an_error():
    layer = nn.Embedding(V, H)
    with pytest.raises(IndexError), tokens.by_rows(layer):
        layer(torch.tensor([V]))
    assert "forward" not in vars(layer)
