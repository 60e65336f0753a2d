"""Which blocks of a network carry the forgotten records, as the slope of their loss tells; and moving these alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from expunge.core.chart import Chart, Role, Series
from expunge.core.problem import Problem
from expunge.engine.anatomy import blocks
from expunge.engine.gradients import by_batch, gathered


@dataclass(frozen=True)
class Block:
    """One block: its name, its ``share`` of the lengths of the slopes of all blocks, in [0, 1], whether it moves."""

    name: str
    share: float
    moves: bool


def narrow(model: nn.Module, problem: Problem, *, share: float, size: int) -> tuple[Block, ...]:
    """Freeze all but a ``share`` of the blocks, rounded up: those of the longest slopes; return all, from the input on.

    The slope is that of the mean loss of the forgotten records, read at the model as it stands; its length in a block
    is the root of the summed squares over the parameters that may move. A parameter of two blocks (a head that is its
    embedding) counts in the first. What is in no block (a number of the model's own) rests.
    Source: module-wise saliency as in Zhang et al. 2025 (SURE), arXiv 2410.16454, with a share for their threshold.
    """
    total, _, count = gathered(by_batch(model, problem, problem.forget_view, size=size), lambda g, n: g * n)
    slopes = {id(model.get_parameter(name)): float((g / count).double().square().sum()) for name, g in total.items()}
    names = {id(module): name for name, module in model.named_modules()}
    lengths: list[tuple[float, str, list[nn.Module]]] = []
    for modules in blocks(model):
        mine = {id(p) for module in modules for p in module.parameters()} & slopes.keys()
        if mine:
            lengths.append((math.sqrt(sum(slopes.pop(each) for each in mine)), names[id(modules[0])], modules))
    chosen = sorted(lengths, key=lambda each: -each[0])[: math.ceil(share * len(lengths) - 1e-9)]
    names_of_chosen = {name for _, name, _ in chosen}
    free = {id(p) for _, _, modules in chosen for module in modules for p in module.parameters()}
    for p in model.parameters():
        p.requires_grad_(p.requires_grad and id(p) in free)
    whole = sum(length for length, *_ in lengths) or 1.0
    return tuple(Block(name, length / whole, name in names_of_chosen) for length, name, _ in lengths)


def words(blocks: Sequence[Block]) -> str:
    """Return what a reader must know of it."""
    ranked = sorted(blocks, key=lambda block: -block.share)
    moved, rested = ([block for block in ranked if block.moves is moves] for moves in (True, False))
    shares = [", ".join(f"{block.name} {block.share:.0%}" for block in part) for part in (moved, rested)]
    return f"{len(moved)} of {len(blocks)} blocks moved, by their share of the slope: {shares[0]}" + (
        f"; {shares[1]} rested" if rested else ""
    )


def chart(blocks: Sequence[Block], records: int) -> Chart:
    """Return where the slope of the loss of so many forgotten ``records`` lies in the original, block by block."""
    moved = ", ".join(str(place) for place, block in enumerate(blocks, start=1) if block.moves)
    return Chart(
        title="Where the forgotten records sit in the original",
        x="block, from the input on",
        y="share of the slope of their loss",
        series=(
            Series(
                role=Role.ORIGINAL,
                x=tuple(place + 0.5 for place in range(len(blocks) + 1)),
                y=tuple(block.share for block in blocks),
            ),
        ),
        histogram=True,
        n=records,
        note=f"Moved: {moved}; first {blocks[0].name}, last {blocks[-1].name}. The others rested.",
    )
