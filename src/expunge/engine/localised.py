"""Which blocks of a network carry the forgotten records, by one of three measures; and moving these alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from expunge.core.chart import Chart, Role, Series
from expunge.core.method import Cost
from expunge.core.model import ModelSource
from expunge.core.problem import Problem
from expunge.core.records import Records
from expunge.engine.anatomy import blocks
from expunge.engine.batches import in_order
from expunge.engine.gradients import by_batch, gathered
from expunge.engine.loop import evaluating

MEASURES = {
    "gradient": "slope of the forgotten records' loss",
    "fisher": "Fisher information about the forgotten records",
    "patching": "forgotten records' loss that a block prevents",
}
"""What is summed up over a block, in words."""


@dataclass(frozen=True)
class Block:
    """One block: its name, its ``share`` of the measure over all blocks, in [0, 1], whether it moves."""

    name: str
    share: float
    moves: bool


@dataclass(frozen=True)
class Located:
    """All blocks, from the input on, by which of :data:`MEASURES` they were told apart, and the work of that."""

    blocks: tuple[Block, ...]
    measure: str
    cost: Cost


def narrow(model: nn.Module, problem: Problem, *, share: float, size: int, measure: str = "gradient") -> Located:
    """Freeze all but a ``share`` of the blocks, rounded up: those in which most lies by the ``measure``; return all.

    At the model as it stands, of the forgotten records, in evaluation mode:

    - ``gradient``: the length of the slope of their mean loss. Module-wise saliency as in Zhang et al. 2025 (SURE),
      arXiv 2410.16454, with a share for their threshold;
    - ``fisher``: the trace of the empirical Fisher information, the mean over records of the squared slope of each, as
      Foster et al. 2024, arXiv 2308.07707, weigh parameters. Slopes of different records do not cancel here;
    - ``patching``: how much their mean loss rises where what a block adds to what it was given is replaced by the mean
      of that, over records, and over tokens of texts: activation patching with mean activations (Heimersheim and Nanda
      2024, arXiv 2404.15255). The norm behind a block stays. Blocks that return another shape than they are given add
      nothing, and rest.

    A parameter of two blocks (a head that is its embedding) counts in the first. What is in no block (a number of the
    model's own) rests.
    """
    names = {id(module): name for name, module in model.named_modules()}
    found, cost = _movable(model), Cost(trained=len(problem.forget_view))
    if measure == "patching":
        sizes = _risen(model, problem, found, size)
        cost = Cost(read=(1 + sum(each is not None for each in sizes)) * len(problem.forget_view))
    elif measure == "fisher":
        sizes = _owned(found, _traces(model, problem))
    else:
        sizes = [each if each is None else math.sqrt(each) for each in _owned(found, _slopes(model, problem, size))]
    told = {place: each for place, each in enumerate(sizes) if each is not None}
    count = max(1, math.ceil(share * len(told) - 1e-9))
    chosen = set(sorted(told, key=lambda place: -told[place])[:count])
    moving = {id(p) for place in chosen for module in found[place] for p in module.parameters()}
    for p in model.parameters():
        p.requires_grad_(p.requires_grad and id(p) in moving)
    whole = sum(told.values()) or 1.0
    rows = tuple(Block(names[id(found[i][0])], each / whole, i in chosen) for i, each in told.items())
    return Located(rows, measure, cost)


def _movable(model: nn.Module) -> list[list[nn.Module]]:
    """Return the blocks of which something may move."""
    return [block for block in blocks(model) if any(p.requires_grad for module in block for p in module.parameters())]


def adds(model: nn.Module, problem: Problem) -> bool:
    """Return whether any block that may move adds to what it is given, so that patching can tell; asks two records."""
    seen: list[int] = []
    found = _movable(model)
    with _watched(found, dict.fromkeys(range(len(found)), lambda place, *_: seen.append(place))):
        _loss(model, problem, problem.forget_view.select(problem.forget_view.ids[:2]), size=2)
    return bool(seen)


_counts: WeakKeyDictionary[ModelSource, int] = WeakKeyDictionary()


def most(problem: Problem, measure: str) -> Cost:
    """Return the most that :func:`narrow` takes; of patching a pass for every block and one more."""
    n, source = len(problem.forget_view), problem.source
    if measure != "patching":
        return Cost(trained=n)
    if source not in _counts:  # a search asks for every trial, and models are read from a disk
        _counts[source] = len(_movable(source.open()))
    return Cost(read=(1 + _counts[source]) * n)


# --- what is measured ---------------------------------------------------------------------------------------------


def _slopes(model: nn.Module, problem: Problem, size: int) -> dict[int, float]:
    """Return the squared length of the slope of the mean loss, by parameter."""
    total, _, count = gathered(by_batch(model, problem, problem.forget_view, size=size), lambda g, n: g * n)
    return {id(model.get_parameter(name)): float((g / count).double().square().sum()) for name, g in total.items()}


def _traces(model: nn.Module, problem: Problem) -> dict[int, float]:
    """Return the sum over records of the squared length of the slope of each, by parameter."""
    alone = by_batch(model, problem, problem.forget_view, size=1)
    total, _, _ = gathered(alone, lambda g, _: g.double().square().sum())
    return {id(model.get_parameter(name)): float(each) for name, each in total.items()}


def _owned(found: Sequence[Sequence[nn.Module]], of_each: dict[int, float]) -> list[float | None]:
    """Return what the parameters of each block come to; None of one whose own have all counted before."""
    sizes: list[float | None] = []
    for modules in found:
        mine = {id(p) for module in modules for p in module.parameters()} & of_each.keys()
        sizes.append(sum(of_each.pop(each) for each in mine) if mine else None)
    return sizes


def _risen(model: nn.Module, problem: Problem, found: Sequence[Sequence[nn.Module]], size: int) -> list[float | None]:
    """Return how much the mean loss rises without what each block adds; None of one that adds nothing."""
    records, sums = problem.forget_view, dict[int, tuple[Tensor, int]]()
    texts = isinstance(records.read([0])[0], Mapping)

    def gather(place: int, start: Tensor, said: Tensor) -> None:
        added = said.double() - start.double()
        added = added.flatten(0, added.dim() - 2 if texts else 0)  # what is said of a whole text has no tokens
        before, count = sums.get(place, (torch.zeros_like(added[0]), 0))
        sums[place] = before + added.sum(dim=0), count + len(added)

    with _watched(found, dict.fromkeys(range(len(found)), gather)):
        plain = _loss(model, problem, records, size=1 if texts else size)  # alone a text is not padded
    risen: list[float | None] = [None] * len(found)
    for place, (total, count) in sums.items():
        mean = total / count
        with _watched(found, {place: lambda _, start, said, mean=mean: (start.double() + mean).to(said.dtype)}):
            risen[place] = max(0.0, _loss(model, problem, records, size=size) - plain)
    return risen


def _loss(model: nn.Module, problem: Problem, records: Records, *, size: int) -> float:
    """Return the mean loss of the records' units."""
    total, count = 0.0, 0
    with evaluating(model), torch.no_grad():
        for batch in in_order(records, size):
            loss = problem.meaning.units(model, batch).loss.double()
            total, count = total + float(loss.sum()), count + len(loss)
    return total / count


@contextmanager
def _watched(found: Sequence[Sequence[nn.Module]], by: dict[int, Any]) -> Iterator[None]:
    """Show ``by[place](place, given, said)`` what a block is given and says, where these are of one shape.

    What it returns, if anything, is passed on in the place of what was said.
    """

    def hook(place: int, args: Any, named: Any, output: Any) -> Any:
        start = args[0] if args else named.get("hidden_states")
        said = output[0] if isinstance(output, tuple) else output
        if not isinstance(start, Tensor) or not isinstance(said, Tensor) or not said.is_floating_point():
            return None
        changed = by[place](place, start, said) if said.shape == start.shape else None
        return (changed, *output[1:]) if changed is not None and isinstance(output, tuple) else changed

    hooks = [
        found[place][0].register_forward_hook(lambda _, *seen, at=place: hook(at, *seen), with_kwargs=True)
        for place in by
    ]
    try:
        yield
    finally:
        for each in hooks:
            each.remove()


# --- what is told of it -------------------------------------------------------------------------------------------


def words(located: Located) -> str:
    """Return what a reader must know of it."""
    ranked = sorted(located.blocks, key=lambda block: -block.share)
    moved, rested = ([block for block in ranked if block.moves is moves] for moves in (True, False))
    shares = [", ".join(f"{block.name} {block.share:.0%}" for block in part) for part in (moved, rested)]
    return f"{len(moved)} of {len(ranked)} blocks moved, by their share of the {MEASURES[located.measure]}: " + (
        f"{shares[0]}; {shares[1]} rested" if rested else shares[0]
    )


def chart(located: Located, records: int) -> Chart:
    """Return where so many forgotten ``records`` lie in the original by the measure, block by block."""
    found = located.blocks
    moved = ", ".join(str(place) for place, block in enumerate(found, start=1) if block.moves)
    return Chart(
        title="Where the forgotten records sit in the original",
        x="block, from the input on",
        y=f"share of the {MEASURES[located.measure]}",
        series=(
            Series(
                role=Role.ORIGINAL,
                x=tuple(place + 0.5 for place in range(len(found) + 1)),
                y=tuple(block.share for block in found),
            ),
        ),
        histogram=True,
        n=records,
        note=f"Moved: {moved}; first {found[0].name}, last {found[-1].name}. The others rested.",
    )
