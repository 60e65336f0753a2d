"""Gradients that are only read: sums, squares and magnitudes over a set of records, with nothing of the model changed.

The model answers in evaluation mode; batch statistics, modes and ``.grad`` stay as they are, and the result does not
depend on the order of the records but for rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from expunge.core.method import Cost
from expunge.core.problem import Problem
from expunge.core.records import Records
from expunge.engine.batches import in_order
from expunge.engine.context import Context
from expunge.engine.loop import evaluating
from expunge.numerics.units import Scored

Gradients = dict[str, Tensor]
"""One tensor for each parameter that may move, by its name."""


def by_batch(
    model: nn.Module,
    problem: Problem,
    records: Records,
    run: Context | None = None,
    *,
    size: int,
    objective: Callable[[Scored], Tensor] = lambda units: units.loss.mean(),
) -> Iterator[tuple[Gradients, int]]:
    """Yield (gradient of ``objective``, number of records) for every batch of ``size``, in the records' own order.

    Counted as work that trains where ``run`` is given.
    """
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    with evaluating(model), torch.enable_grad():
        for batch in in_order(records, size):
            units: Any = problem.meaning.units(model, batch)
            found = torch.autograd.grad(objective(units), list(named.values()), allow_unused=True)
            if run is not None:
                run.spent += Cost(trained=units.batch_size)
            yield (
                {
                    name: torch.zeros_like(p) if g is None else g
                    for (name, p), g in zip(named.items(), found, strict=True)
                },
                units.batch_size,
            )


def gathered(
    gradients: Iterator[tuple[Gradients, int]], term: Callable[[Tensor, int], Tensor]
) -> tuple[Gradients, int, int]:
    """Return (sum of ``term(gradient, records)`` by parameter, batches, records)."""
    total: Gradients = {}
    batches = records = 0
    for found, count in gradients:
        for name, gradient in found.items():
            one = term(gradient, count)
            total[name] = total[name] + one if name in total else one
        batches, records = batches + 1, records + count
    return total, batches, records


def mean_gradient(model: nn.Module, problem: Problem, records: Records, run: Context, *, size: int = 256) -> Gradients:
    """Return the gradient of the mean loss of all ``records``."""
    total, _, count = gathered(by_batch(model, problem, records, run, size=size), lambda g, n: g * n)
    return {name: value / count for name, value in total.items()}
