"""Steps by the inverse of a curvature matrix that is never written out."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor


def woodfisher(gradients: Tensor, vector: Tensor, *, damping: float) -> Tensor:
    """Return ``(damping I + G'G / N)^-1 vector`` for gradients G [N, P] and a vector [P], exactly; damping > 0.

    The recursion ``H_{i+1} = H_i + g_i g_i' / N`` from ``H_0 = damping I`` ends in this matrix; its inverse is had in
    one step (Woodbury), through a matrix of N by N.

    Source: Singh and Alistarh 2020, arXiv 2004.14340, equation 4.
    """
    count = len(gradients)
    small = inner_products(gradients) + count * damping * torch.eye(count, dtype=vector.dtype, device=vector.device)
    return (vector - gradients.T @ torch.linalg.solve(small, gradients @ vector)) / damping


def inner_products(rows: Tensor, *, size: int = 128) -> Tensor:
    """Return the products [N, N] of all pairs of ``rows`` [N, P]; those above the diagonal are copied, not made.

    A block of ``size`` rows meets those from its first on: little more than half of what a full product multiplies.
    """
    found = rows.new_empty(len(rows), len(rows))
    for start in range(0, len(rows), size):
        stop = min(start + size, len(rows))
        torch.mm(rows[start:], rows[start:stop].T, out=found[start:, start:stop])
        found[start:stop, stop:] = found[stop:, start:stop].T
    return found


def released(gradients: Iterable[Tensor], vector: Tensor, *, count: int) -> Tensor:
    """Return what the released code of influence unlearning makes of gradients [P] of single records and a vector [P].

    Nearly the vector itself: its second vector starts as the first gradient and is only ever shortened, so that no
    other direction of the curvature enters.

    Source: Jia et al. 2023, arXiv 2304.04934, released code (``Wfisher``).
    """
    step, other = vector.clone(), None
    for gradient in gradients:
        if other is None:
            other = gradient.clone()
            continue
        along = torch.dot(other, gradient)
        step = step - torch.dot(step, gradient) / (count + along) * other
        other = other - along / (count + along) * other
    return step


def conjugate_gradients(
    product: Callable[[Tensor], Tensor], vector: Tensor, *, iterations: int, tolerance: float
) -> tuple[Tensor, float, bool]:
    """Return (x, relative residual, whether the matrix was convex so far) with ``product(x)`` near ``vector`` [P].

    Stops after ``iterations`` products, at a residual of ``tolerance`` times the vector's length, or before a direction
    in which the matrix is not positive: what was found until then is returned.

    Source: Hestenes and Stiefel 1952; truncation as in Nocedal and Wright 2006, algorithm 7.1.
    """
    x = torch.zeros_like(vector)
    left, size = vector.clone(), float(vector.norm())
    direction, square = left.clone(), float(left @ left)
    for _ in range(iterations):
        if square**0.5 <= tolerance * size:
            break
        ahead = product(direction)
        bend = float(direction @ ahead)
        if bend <= 0:
            return x, square**0.5 / size, False
        x = x + square / bend * direction
        left = left - square / bend * ahead
        square, before = float(left @ left), square
        direction = left + square / before * direction
    return x, square**0.5 / size if size else 0.0, True
