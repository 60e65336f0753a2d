"""Weights in few bits: a row by hand, NF4's levels from the normal law, and a small language model."""

import copy

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from expunge.numerics.quantised import (
    NF4_LEVELS,
    bucket_overlap,
    buckets,
    nf4,
    quantise,
    quantise_nf4,
    round_to_nearest,
)

ROW = torch.tensor([[0.52, -1.0, 0.26, 0.03]])


def weight(rows=12, inputs=40, *, seed=0, dtype=torch.float32):
    return torch.randn(rows, inputs, generator=torch.Generator().manual_seed(seed)).to(dtype)


def gpt(seed=0):
    torch.manual_seed(seed)
    return GPT2LMHeadModel(GPT2Config(vocab_size=31, n_positions=16, n_embd=16, n_layer=2, n_head=2)).eval()


@pytest.mark.parametrize(
    ("bits", "whole", "rounded"),
    [
        (4, [4, -7, 2, 0], [0.571429, -1, 0.285714, 0]),
        (8, [66, -127, 33, 4], [0.519685, -1, 0.259843, 0.031496]),
    ],
)
def test_a_row(bits, whole, rounded):
    assert buckets(ROW, bits)[0].tolist() == [whole]
    assert round_to_nearest(ROW, bits)[0].tolist() == pytest.approx(rounded, abs=1e-6)


@pytest.mark.parametrize("group", [None, 16, 1, 64])
@pytest.mark.parametrize("bits", [4, 8])
def test_nothing_moves_by_more_than_half_a_step_and_a_second_time_by_nothing(bits, group):
    w = weight()
    found, step = round_to_nearest(w, bits, group), buckets(w, bits, group)[1]
    assert bool(((found - w).abs() <= step / 2 * (1 + 1e-5)).all())
    torch.testing.assert_close(round_to_nearest(found, bits, group), found, rtol=1e-6, atol=0)
    size = group or 40
    for start in range(0, 40, size):  # 40 inputs are 16 + 16 + 8
        part = w[:, start : start + size]
        top = part.abs().max(dim=1, keepdim=True).values
        torch.testing.assert_close(step[:, start : start + size], (top / (2 ** (bits - 1) - 1)).expand(part.shape))
        np.testing.assert_allclose(found[:, start : start + size].abs().max(dim=1).values, top[:, 0], rtol=1e-6)


@pytest.mark.parametrize("rounding", [lambda w: round_to_nearest(w, 4), lambda w: round_to_nearest(w, 8, 8), nf4])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_the_type_stays_and_zeros_stay_zero(rounding, dtype):
    w = weight(dtype=dtype)
    w[3] = 0
    found = rounding(w)
    assert found.dtype == dtype
    assert not bool(found[3].any())
    wide = rounding(w.double())
    torch.testing.assert_close(found.double(), wide, rtol=1e-2 if dtype == torch.bfloat16 else 1e-12, atol=0)


def test_levels_of_nf4_are_quantiles_of_the_normal_law():
    """8 above and 7 below 0, evenly spaced from the tail .9677083 to the middle, over the largest."""
    above = stats.norm.ppf(np.linspace(0.9677083, 0.5, 9)[:-1])
    below = -stats.norm.ppf(np.linspace(0.9677083, 0.5, 8)[:-1])
    expected = np.sort(np.concatenate([above, [0.0], below])) / above.max()
    np.testing.assert_allclose(NF4_LEVELS, expected, atol=2e-7)


def test_nf4_takes_the_nearest_level_of_its_block():
    w = weight(5, 50)  # 250 numbers: blocks of 64, 64, 64 and 58, across rows
    flat, levels = w.flatten().double().numpy(), np.array(NF4_LEVELS)
    expected = []
    for start in range(0, 250, 64):
        block = flat[start : start + 64]
        top = np.abs(block).max()
        expected += [top * levels[np.abs(levels - value / top).argmin()] for value in block]
    np.testing.assert_allclose(nf4(w).flatten(), expected, rtol=1e-6)
    assert sorted(nf4(torch.tensor([NF4_LEVELS]))[0].tolist()) == pytest.approx(NF4_LEVELS, abs=1e-7)


def test_what_has_no_bucket_is_refused():
    for bits, group in ((1, None), (17, None), (4, 0)):
        with pytest.raises(ValueError, match="from 2 to 16"):
            buckets(ROW, bits, group)
    for rounding in (nf4, lambda w: round_to_nearest(w, 4)):
        with pytest.raises(ValueError, match="not finite"):
            rounding(torch.tensor([[1.0, float("nan")]]))
        with pytest.raises(ValueError, match="outputs, inputs"):
            rounding(torch.ones(3))


# --- models -----------------------------------------------------------------------------------------------------


def test_linear_layers_are_rounded_and_nothing_else():
    """GPT-2's layers hold their weights as [inputs, outputs], its head is its embedding."""
    model, before = gpt(), gpt()
    found = quantise(model, 4)
    kinds = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    expected = {f"transformer.h.{i}.{kind}.weight" for i in (0, 1) for kind in kinds}
    assert set(found.rounded) == expected
    assert found.left == ("lm_head.weight",)
    assert found.tied == (("transformer.wte.weight", "lm_head.weight"),)
    for name, parameter in model.named_parameters():
        original = before.get_parameter(name)
        should = round_to_nearest(original.detach().t(), 4).t() if name in expected else original
        assert torch.equal(parameter, should), name
    assert model.lm_head.weight is model.transformer.wte.weight
    rounded = sum(model.get_parameter(name).numel() for name in expected)
    assert found.share == pytest.approx(rounded / sum(p.numel() for p in model.parameters()))
    assert all(p.requires_grad for p in model.parameters())


def test_a_head_that_is_given_stays_and_one_that_is_not_is_a_layer_like_others():
    model = nn.Sequential(nn.Embedding(9, 6), nn.Linear(6, 5), nn.LayerNorm(5), nn.Conv1d(5, 5, 1), nn.Linear(5, 2))
    before = copy.deepcopy(model)
    assert quantise(copy.deepcopy(model), 8, group=4).rounded == ("1.weight", "4.weight")
    found = quantise_nf4(model, head=model[4])
    assert (found.rounded, found.left, found.tied) == (("1.weight",), ("4.weight",), ())
    assert torch.equal(model[1].weight, nf4(before[1].weight))
    with pytest.raises(ValueError, match="1 linear weights"):
        quantise(nn.Sequential(model[4]), 4, head=model[4])
    with pytest.raises(ValueError, match="0 linear weights"):
        quantise(nn.Conv1d(1, 1, 1), 4)


def test_one_tensor_of_two_layers_is_rounded_once_and_one_of_an_embedding_stays():
    twins = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4), nn.Embedding(4, 4))
    twins[1].weight, twins[2].weight = twins[0].weight, twins[3].weight
    before = copy.deepcopy(twins)
    found = quantise(twins, 4)
    assert (found.rounded, found.left) == (("0.weight",), ("2.weight",))
    assert found.tied == (("0.weight", "1.weight"), ("2.weight", "3.weight"))
    assert torch.equal(twins[0].weight, round_to_nearest(before[0].weight, 4))
    assert torch.equal(twins[3].weight, before[3].weight)


def test_four_bits_change_what_a_model_says_more_than_eight():
    ids = torch.randint(0, 31, (8, 12), generator=torch.Generator().manual_seed(1))
    change = {}
    with torch.no_grad():
        for bits in (4, 8):
            model = gpt()
            for p in model.parameters():
                p.mul_(4)  # far from a uniform answer
            plain = model(ids).logits
            quantise(model, bits)
            change[bits] = float((model(ids).logits - plain).abs().mean())
    assert 0 < change[8] < change[4] / 5


def test_of_a_small_update_the_size_over_the_step_changes_its_bucket():
    one, other = nn.Linear(64, 50, bias=False), nn.Linear(64, 50, bias=False)
    with torch.no_grad():
        one.weight.copy_(torch.rand(50, 64, generator=torch.Generator().manual_seed(0)) * 1.8 - 0.9)
        one.weight[:, 0] = 1.0  # the step of every row: 1/7
        move = (torch.rand(50, 64, generator=torch.Generator().manual_seed(1)) - 0.5) * 0.08
        move[:, 0] = 0
        other.weight.copy_(one.weight + move)
    expected = 1 - float(move.abs().mean()) * 7
    assert bucket_overlap(one, other, 4) == pytest.approx(expected, abs=0.02)
    assert bucket_overlap(one, one, 4) == 1.0
    assert bucket_overlap(one, other, 8) < bucket_overlap(one, other, 4)


def test_an_update_below_the_step_of_a_language_model_is_gone_after_four_bits():
    model, other = gpt(), gpt()
    with torch.no_grad():
        for p in other.parameters():
            p.add_(1e-6)
    assert 0.999 < bucket_overlap(model, other, 4) < 1
    quantise(model, 4)
    quantise(other, 4)
    for name in ("transformer.h.0.mlp.c_fc.weight", "transformer.h.1.attn.c_attn.weight"):
        gap = (model.get_parameter(name) - other.get_parameter(name)).abs()
        assert float((gap < 2e-6).float().mean()) > 0.999


def test_models_of_other_shapes_do_not_compare():
    with pytest.raises(ValueError, match=r"0\.weight is not in both"):
        bucket_overlap(nn.Sequential(nn.Linear(3, 2)), nn.Sequential(nn.Linear(2, 2)), 4)
