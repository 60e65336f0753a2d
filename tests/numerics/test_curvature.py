"""Inverse curvature against dense inverses, a recursion written out, and SciPy."""

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import cg

from expunge.numerics.curvature import conjugate_gradients, inner_products, released, woodfisher


def drawn(*shape, seed=0):
    return torch.tensor(np.random.default_rng(seed).normal(size=shape))


@pytest.mark.parametrize(("count", "size"), [(5, 9), (30, 9)])
@pytest.mark.parametrize("damping", [1e-3, 2.0])
def test_woodfisher_is_the_dense_inverse_of_the_matrix_that_its_recursion_makes(count, size, damping):
    gradients, vector = drawn(count, size), drawn(size, seed=1)
    matrix = damping * np.eye(size)
    for g in gradients.numpy():
        matrix = matrix + np.outer(g, g) / count
    wanted = np.linalg.inv(matrix) @ vector.numpy()
    np.testing.assert_allclose(woodfisher(gradients, vector, damping=damping).numpy(), wanted, rtol=1e-9)


def test_the_released_recursion_is_next_to_a_gradient_step():
    """Cosine 1.000 with the vector, where the true inverse of the same curvature turns it far away."""
    gradients, vector = 0.1 * drawn(400, 20), drawn(20, seed=1)
    gradients[:, 0] *= 30

    def cosine(x):
        return float(torch.nn.functional.cosine_similarity(x, vector, dim=0))

    assert cosine(released(iter(gradients), vector, count=400)) > 0.98
    assert cosine(woodfisher(gradients, vector, damping=1e-3)) < 0.98
    assert torch.equal(released(iter([]), vector, count=1), vector)


def test_the_released_recursion_by_hand():
    """o = (1, 0), k = (1, 1), N = 2; g = (1, 1): o.g = 1, k.g = 2: k -= 2/3 o, o -= 1/3 o; g = (0, 3) is across o."""
    gradients = [torch.tensor(g, dtype=torch.float64) for g in ([1.0, 0.0], [1.0, 1.0], [0.0, 3.0])]
    found = released(gradients, torch.ones(2, dtype=torch.float64), count=2)
    # The third: o = (2/3, 0), o.g = 0, k.g = 3: k -= 3/2 (2/3, 0).
    np.testing.assert_allclose(found.numpy(), [1 / 3 - 1, 1.0], rtol=1e-14)
    assert gradients[0].tolist() == [1.0, 0.0], "what comes in stays as it is"


def test_conjugate_gradients_solve_as_scipy_does():
    half, vector = drawn(12, 12), drawn(12, seed=1)
    matrix = half @ half.T + 0.5 * torch.eye(12, dtype=torch.float64)
    found, residual, convex = conjugate_gradients(lambda x: matrix @ x, vector, iterations=60, tolerance=1e-12)
    np.testing.assert_allclose(found.numpy(), np.linalg.solve(matrix.numpy(), vector.numpy()), rtol=1e-7)
    assert residual <= 1e-12
    assert convex
    three, residual, _ = conjugate_gradients(lambda x: matrix @ x, vector, iterations=3, tolerance=1e-12)
    theirs, _ = cg(matrix.numpy(), vector.numpy(), maxiter=3, rtol=0)
    np.testing.assert_allclose(three.numpy(), theirs, rtol=1e-9)
    wanted = np.linalg.norm(vector.numpy() - matrix.numpy() @ theirs) / np.linalg.norm(vector.numpy())
    assert residual == pytest.approx(wanted)


def test_a_direction_that_bends_down_ends_the_search():
    matrix = torch.diag(torch.tensor([1.0, 2.0, -3.0], dtype=torch.float64))
    found, residual, convex = conjugate_gradients(
        lambda x: matrix @ x, torch.tensor([1.0, 1.0, 0.1], dtype=torch.float64), iterations=9, tolerance=1e-6
    )
    assert not convex
    assert residual > 1e-6
    assert bool(torch.isfinite(found).all())


def test_nothing_to_solve_is_solved():
    zero = torch.zeros(3, dtype=torch.float64)
    found, residual, convex = conjugate_gradients(lambda x: x, zero, iterations=5, tolerance=0.1)
    assert (found.tolist(), residual, convex) == ([0.0, 0.0, 0.0], 0.0, True)


@pytest.mark.parametrize("count", [1, 3, 4, 5, 11])
def test_half_of_the_products_make_all_of_them(count):
    rows = torch.from_numpy(np.random.default_rng(count).normal(size=(count, 7)))
    found = inner_products(rows, size=4)
    np.testing.assert_allclose(found.numpy(), rows.numpy() @ rows.numpy().T, rtol=1e-13)
    np.testing.assert_allclose(found.numpy(), found.T.numpy(), rtol=1e-13)
