"""Gradients that are only read: sums, squares and magnitudes over a set of records, with nothing of the model changed.

The model answers in evaluation mode; batch statistics, modes and ``.grad`` stay as they are, and the result does not
depend on the order of the records but for rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
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
    return by_pieces(model, problem, ([batch] for batch in in_order(records, size)), run, objective=objective)


def by_pieces(
    model: nn.Module,
    problem: Problem,
    batches: Iterable[Sequence[Any]],
    run: Context | None = None,
    *,
    objective: Callable[[Scored], Tensor],
) -> Iterator[tuple[Gradients, int]]:
    """Yield as :func:`by_batch`, for batches in pieces: records of two sets cannot be read as one.

    ``objective`` is a mean over units, and that of a batch is the mean over the units of all of its pieces.
    """
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    with evaluating(model), torch.enable_grad():
        for pieces in batches:
            parts: list[tuple[Gradients, int]] = []
            records = 0
            for piece in pieces:
                units: Any = problem.meaning.units(model, piece)
                found = torch.autograd.grad(objective(units), list(named.values()), allow_unused=True)
                if run is not None:
                    run.spent += Cost(trained=units.batch_size)
                own = {
                    name: torch.zeros_like(p) if g is None else g
                    for (name, p), g in zip(named.items(), found, strict=True)
                }
                parts.append((own, len(units.record)))
                records += units.batch_size
            yield parts[0][0] if len(parts) == 1 else _joined(parts), records


def _joined(parts: Sequence[tuple[Gradients, int]]) -> Gradients:
    """Return the gradient of the mean over all units, from those of the means over so many units each."""
    count = sum(units for _, units in parts)
    return {name: torch.stack([own[name] * (units / count) for own, units in parts]).sum(dim=0) for name in parts[0][0]}


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
