import numpy as np
import pytest
import torch

from expunge.numerics.quasi_newton import Hessian


def dense(pairs):
    """The textbook recursion (Nocedal and Wright 2006, equation 6.19), matrix by matrix."""
    s, y = pairs[-1]
    b = np.eye(len(s)) * (s @ y) / (s @ s)
    for s, y in pairs:
        b = b - np.outer(b @ s, b @ s) / (s @ b @ s) + np.outer(y, y) / (y @ s)
    return b


def pairs(count, size, seed=0):
    draw = np.random.default_rng(seed)
    root = draw.normal(size=(size, size))
    curved = root @ root.T + np.eye(size)
    found = [(s, curved @ s) for s in draw.normal(size=(count, size))]
    return found, curved


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_it_is_the_matrix_of_the_textbook(count):
    given, _ = pairs(count, 6)
    made = Hessian(count)
    for s, y in given:
        made.add(torch.tensor(s), torch.tensor(y))
    v = np.random.default_rng(1).normal(size=6)
    assert (made @ torch.tensor(v)).numpy() == pytest.approx(dense(given) @ v, rel=1e-9)
    assert (made @ torch.tensor(given[-1][0])).numpy() == pytest.approx(given[-1][1], rel=1e-9), "the secant equation"


def test_the_oldest_goes_first_and_a_pair_without_curvature_is_left_out():
    given, _ = pairs(4, 6)
    made, like = Hessian(2), Hessian(2)
    for s, y in given:
        made.add(torch.tensor(s), torch.tensor(y))
        made.add(torch.tensor(s), torch.tensor(-y))
        made.add(torch.zeros(6), torch.tensor(y))
    for s, y in given[-2:]:
        like.add(torch.tensor(s), torch.tensor(y))
    v = torch.tensor(given[0][0])
    assert torch.equal(made @ v, like @ v)


def test_without_pairs_it_is_nothing_and_the_kind_of_numbers_stays():
    made = Hessian(2)
    assert not (made @ torch.ones(3)).any()
    made.add(torch.tensor([1.0, 0.0, 0.0]), torch.tensor([2.0, 0.0, 0.0]))
    assert (made @ torch.ones(3)).dtype == torch.float32
    assert (made @ torch.ones(3)).tolist() == pytest.approx([2.0, 2.0, 2.0])
