"""Which blocks of a network carry the forgotten records, as the slope of their loss tells; and moving these alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import nn

from expunge.core.problem import Problem
from expunge.engine.anatomy import blocks
from expunge.engine.gradients import by_batch, gathered


@dataclass(frozen=True)
class Block:
    """One block: its name in the model, and its ``share`` of the lengths of the slopes of all blocks, in [0, 1]."""

    name: str
    share: float


def narrow(model: nn.Module, problem: Problem, *, share: float, size: int) -> tuple[list[Block], list[Block]]:
    """Freeze all but a ``share`` of the blocks, rounded up; return (those that move, those that rest), longest first.

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
    lengths.sort(key=lambda each: -each[0])
    chosen = lengths[: math.ceil(share * len(lengths) - 1e-9)]
    free = {id(p) for _, _, modules in chosen for module in modules for p in module.parameters()}
    for p in model.parameters():
        p.requires_grad_(p.requires_grad and id(p) in free)
    whole = sum(length for length, *_ in lengths) or 1.0
    told = [Block(name, length / whole) for length, name, _ in lengths]
    return told[: len(chosen)], told[len(chosen) :]


def words(moved: list[Block], rested: list[Block]) -> str:
    """Return what a reader must know of it."""
    count = len(moved) + len(rested)
    shares = [", ".join(f"{block.name} {block.share:.0%}" for block in part) for part in (moved, rested)]
    return f"{len(moved)} of {count} blocks moved, by their share of the slope: {shares[0]}" + (
        f"; {shares[1]} rested" if rested else ""
    )
