from itertools import pairwise

import numpy as np
import pytest
import torch

from expunge.numerics.masks import agreed, largest, part_of, shrunk

VALUES = {"a": torch.tensor([[3.0, 1.0], [5.0, 1.0]]), "b": torch.tensor(4.0), "c": torch.tensor([1.0, 1.0, 2.0])}


@pytest.mark.parametrize(
    ("count", "share", "part"), [(100, 0.29, 29), (10, 0.35, 3), (7, 1.0, 7), (7, 0.0, 0), (3, 0.3, 0)]
)
def test_a_part_is_rounded_down(count, share, part):
    assert part_of(count, share) == part


def test_the_largest_of_all_tensors_together_ties_in_order():
    """SALUN-2: exactly so many, however many are equal."""
    mask = largest(VALUES, 5 / 8)
    assert {name: one.tolist() for name, one in mask.items()} == {
        "a": [[True, True], [True, False]],
        "b": True,
        "c": [False, False, True],
    }


def test_masks_are_nested_and_as_large_as_said():
    draw = np.random.default_rng(1)
    values = {name: torch.tensor(draw.integers(0, 4, shape)) for name, shape in (("w", (9, 7)), ("b", (11,)))}
    masks = [largest(values, share) for share in np.arange(0, 1.01, 0.1)]
    for share, mask in zip(np.arange(0, 1.01, 0.1), masks, strict=True):
        assert sum(int(m.sum()) for m in mask.values()) == part_of(74, share)
    for small, large in pairwise(masks):
        assert all(bool((large[name] | ~small[name]).all()) for name in values)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.7, 1.0])
def test_shrinking_is_the_proximal_operator_of_the_l1_norm(share):
    """Its defining property: for each number, no other is nearer in |v - x|^2 / 2 + edge |x|."""
    draw = np.random.default_rng(2)
    values = {"w": torch.tensor(draw.normal(size=(6, 5))), "b": torch.tensor(draw.normal(size=10))}
    found = shrunk(values, share)
    flat = np.concatenate([v.numpy().ravel() for v in values.values()])
    edge = np.sort(np.abs(flat))[part_of(40, share) - 1] if part_of(40, share) else 0.0
    grid = np.linspace(-4, 4, 8001)
    nearest = grid[np.argmin((flat[:, None] - grid) ** 2 / 2 + edge * np.abs(grid), axis=1)]
    result = np.concatenate([v.numpy().ravel() for v in found.values()])
    np.testing.assert_allclose(result, nearest, atol=6e-4)
    assert (result == 0).sum() == part_of(40, share)


def test_what_agrees_is_averaged_and_nothing_else_is_kept():
    one = {"w": torch.tensor([[1.0, -2.0], [3.0, 0.0]]), "b": torch.tensor([-1.0])}
    other = {"w": torch.tensor([[3.0, 2.0], [-1.0, 1.0]]), "b": torch.tensor([-4.0])}
    found = agreed([one, other])
    assert {name: value.tolist() for name, value in found.items()} == {"w": [[2.0, 0.0], [0.0, 0.0]], "b": [-2.5]}
    assert all(torch.equal(agreed([one])[name], value) for name, value in one.items())
    opposite = agreed([one, {name: -value for name, value in one.items()}])
    assert not any(bool(value.any()) for value in opposite.values())
