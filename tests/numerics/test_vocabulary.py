"""Gradients as large as the vocabulary are added up where they lie, and are those of plain PyTorch in float64."""

import gc
import weakref
from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from expunge.engine import loop
from expunge.numerics import tokens, vocabulary
from expunge.numerics.tokens import Head, Made, Tokens
from expunge.numerics.units import Scored

N, H, V = 37, 8, 50
IDS = torch.tensor([[3, 7, 3], [0, 49, 3]])
SOME = torch.arange(10) % 2 == 0


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(tokens, "CHUNK", 10 * V)


def drawn(dtype=torch.float64):
    draw = torch.Generator().manual_seed(0)
    hidden, weight = (torch.randn(n, H, generator=draw, dtype=dtype).requires_grad_() for n in (N, V))
    target = torch.randint(V, (N,), generator=draw)
    return Tokens(hidden, Head(weight), target, torch.arange(N) // 4, 10), (hidden, weight)


def of_the_loss(units):
    return units.loss.sum()


def per_unit(units):
    return units.per_unit(lambda logits, target: logits.square().sum(dim=1)).sum()


@pytest.mark.parametrize("total", [of_the_loss, per_unit])
@pytest.mark.parametrize("hooked", [False, True])
def test_a_second_pass_adds_to_the_gradient_where_it_lies(hooked, total):
    units, (hidden, weight) = drawn()
    plain = Scored.of(hidden @ weight.T, units.target, units.record, 10)
    expected = torch.autograd.grad(3 * total(plain) + (weight**2).sum(), weight, retain_graph=True)[0]
    seen = []
    if hooked:
        weight.register_hook(seen.append)
    with vocabulary.adding_up():
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


@pytest.mark.parametrize("total", [of_the_loss, per_unit])
def test_a_gradient_can_be_differentiated_again(total):
    units, (hidden, weight) = drawn()
    plain = Scored.of(hidden @ weight.T, units.target, units.record, 10)
    draw = torch.Generator().manual_seed(1)
    along = [torch.randn(p.shape, generator=draw, dtype=p.dtype) for p in (hidden, weight)]

    def hessian_times(value):
        first = torch.autograd.grad(value, [hidden, weight], create_graph=True)
        return torch.autograd.grad(sum((g * a).sum() for g, a in zip(first, along, strict=True)), [hidden, weight])

    for mine, theirs in zip(hessian_times(total(units)), hessian_times(total(plain)), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-10, rtol=0)


@pytest.mark.parametrize("total", [of_the_loss, per_unit])
def test_so_can_that_of_a_network_with_one_matrix_for_both_ends(total):
    torch.manual_seed(0)
    layer = nn.Embedding(V, H, dtype=torch.float64)

    def second(sparing):
        with vocabulary.by_rows(layer) if sparing else nullcontext():
            hidden = layer(IDS).flatten(0, 1).tanh()
        rest = IDS.flatten(), torch.arange(2).repeat_interleave(3), 2
        units = Tokens(hidden, Head(layer.weight), *rest) if sparing else Scored.of(hidden @ layer.weight.T, *rest)
        first = torch.autograd.grad(total(units), layer.weight, create_graph=True)[0]
        return first.detach(), torch.autograd.grad(first.square().sum(), layer.weight)[0]

    for mine, theirs in zip(second(True), second(False), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-10, rtol=0)


def test_nothing_is_kept_alive_by_what_was_computed():
    def gone():
        hidden = torch.randn(N, V, requires_grad=True)
        units = Tokens(hidden * 1.0, Made(V), torch.zeros(N, dtype=torch.long), torch.arange(N), N)
        units.loss.sum().backward()
        return weakref.ref(units.hidden)

    gc.disable()
    try:
        assert gone()() is None
    finally:
        gc.enable()


def test_other_dtypes_of_head_and_hidden_states_meet_in_backward():
    hidden = torch.randn(N, H, dtype=torch.float32, requires_grad=True)
    weight = torch.randn(V, H, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        units = Tokens(hidden, Head(weight), torch.zeros(N, dtype=torch.long), torch.arange(N), N)
        per_unit(units).backward()
    plain = (hidden.detach() @ weight.detach().T).requires_grad_()
    assert torch.allclose(weight.grad, 2 * plain.detach().T @ hidden.detach(), rtol=0.1, atol=2.0)


def test_a_gradient_of_what_was_looked_up_can_be_differentiated_again():
    layer = nn.Embedding(V, H, dtype=torch.float64)

    def hessian_diagonal(sparing):
        with vocabulary.by_rows(layer) if sparing else nullcontext():
            said = layer(IDS)
        first = torch.autograd.grad(said.pow(3).sum(), layer.weight, create_graph=True)[0]
        return torch.autograd.grad(first.sum(), layer.weight)[0]

    assert torch.allclose(hessian_diagonal(True), hessian_diagonal(False), atol=1e-12)


def buffers(monkeypatch, run, dtype=torch.float64):
    """Return how many gradients of the head are made anew in two passes."""
    units, _ = drawn(dtype)
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
    with vocabulary.adding_up():
        twice(units)


def test_a_second_pass_holds_no_gradient_of_its_own(monkeypatch):
    assert buffers(monkeypatch, adding) == 1
    assert buffers(monkeypatch, twice) == 2
    assert buffers(monkeypatch, adding, torch.bfloat16) == 2, "chunk by chunk, small ones would be rounded away"
    assert buffers(monkeypatch, lambda units: loop._descend([units.loss.sum(), units.among(SOME).loss.sum()])) == 1


def looked_up(layer, rounds, *, sparing):
    """Return the gradient of an embedding that is also the head, after some passes of one step."""
    layer.weight.grad = None
    for _ in range(rounds):
        with vocabulary.by_rows(layer) if sparing else nullcontext():
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
    with vocabulary.by_rows(layer):
        said = layer(input=IDS)
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
    with vocabulary.by_rows(layer):
        assert "forward" not in vars(layer)


def test_an_embedding_is_itself_again_after_an_error():
    layer = nn.Embedding(V, H)
    with pytest.raises(IndexError), vocabulary.by_rows(layer):
        layer(torch.tensor([V]))
    assert "forward" not in vars(layer)
