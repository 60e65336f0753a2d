"""Whether inputs are continuous numbers, which a small step changes a little: tokens and categories are none."""

from __future__ import annotations

import torch

from expunge.core.errors import Obstacle
from expunge.core.problem import Problem
from expunge.core.records import Records


def continuous(problem: Problem, records: Records) -> bool:
    """Return whether inputs can be moved, as the first of ``records`` (one at the least) tells."""
    batch, task = records.read([0]), problem.meaning
    return task.moved(batch, torch.zeros_like(task.inputs(batch))) is not None


def not_continuous(*, where: str, expected: str, fix: str) -> Obstacle:
    """Return the obstacle that inputs are no continuous numbers."""
    found = "tokens, categories or whole numbers"
    return Obstacle(what="inputs are no continuous numbers", where=where, found=found, expected=expected, fix=fix)
