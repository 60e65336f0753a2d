"""What a few differences of gradients say of a Hessian: the limited-memory BFGS matrix, and its product with a vector.

Shapes: p pairs of d numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor

LEAST = 1e-12
"""A pair of less curvature, as a share of what its lengths allow, says nothing: no convex function has it."""


class Hessian:
    """The matrix B that BFGS makes of pairs (s, y), a difference of weights and one of gradients, from the oldest on.

    It begins with ``sigma I``, ``sigma = s'y / s's`` of the newest pair, and is never formed: a product takes 4 p d
    multiplications (Byrd, Nocedal and Schnabel 1994, Mathematical Programming 63, theorem 2.3). ``B s = y`` holds for
    the newest pair, and ``v'Bv > 0`` for every v.
    """

    def __init__(self, pairs: int) -> None:
        self._most = pairs
        self._pairs: list[tuple[Tensor, Tensor]] = []

    def add(self, weights: Tensor, gradients: Tensor) -> None:
        """Take a pair, [d] each, and let go of the oldest; one without curvature is left out."""
        s, y = weights.double(), gradients.double()
        if float(s @ y) > LEAST * float(s.norm() * y.norm()):
            self._pairs = [*self._pairs, (s, y)][-self._most :]

    def __matmul__(self, vector: Tensor) -> Tensor:
        """Return B v, [d]; nothing but zeros while there is no pair."""
        if not self._pairs:
            return torch.zeros_like(vector)
        s, y = (torch.stack(side) for side in zip(*self._pairs, strict=True))  # [p, d]
        sigma = (s[-1] @ y[-1]) / (s[-1] @ s[-1])
        sy = s @ y.T  # [p, p], s_i' y_j
        low, diagonal = torch.tril(sy, -1), torch.diag(torch.diag(sy))
        middle = torch.cat([torch.cat([sigma * s @ s.T, low], 1), torch.cat([low.T, -diagonal], 1)])
        v = vector.double()
        inner = torch.linalg.solve(middle, torch.cat([sigma * (s @ v), y @ v]))
        return (sigma * v - torch.cat([sigma * s, y]).T @ inner).to(vector.dtype)
