"""Around the forgotten records: what a model says of them when their inputs are moved a little.

A filter that recognises the forgotten inputs themselves is silent about inputs beside them, and what was memorised
is remembered there as well. Continuous numbers are moved by noise; of others (words, categories, whole numbers) one
is exchanged for what a retained record has in its place.

Source: membership over a range, Tao and Shokri 2024, arXiv 2408.05131, with Gaussian noise, or one exchange, for the
range.
Shapes: n records, D columns of inputs, R draws.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from expunge.core.digest import keyed_int
from expunge.core.problem import Problem
from expunge.core.records import Records
from expunge.engine.batches import bounds, in_order
from expunge.engine.continuous import continuous
from expunge.engine.loop import ready
from expunge.numerics.membership import confidence
from expunge.numerics.units import Scored

Array = NDArray[np.float64]
SHARE = 0.2
"""Of the deviation of each column of the inputs: enough to miss a table of what was forgotten, and so little that
the original says of a moved digit nearly what it says of the digit."""
DRAWS, EXCHANGES = 4, 8
"""Copies of each record: the mean of four that noise moved varies half as much as one. Of eight that lack one value
each, all places in turn, some lack one that matters little."""
_SIZE, _FEW = 512, 64


@dataclass(frozen=True)
class Noise:
    """Gaussian noise of deviation ``reach`` [D], float64, by column."""

    reach: Tensor
    name, copies = "around", DRAWS

    @property
    def key(self) -> list[object]:
        """What identifies it beside problem and seed."""
        return [SHARE, self.copies]

    def batch(self, problem: Problem, records: Records, places: range, *, seed: int, draw: int) -> Any:
        """Return the records at ``places``, moved; a function of seed, draw and record id."""
        rows = [
            torch.randn(len(self.reach), generator=_generator(seed, draw, name), dtype=torch.float64)
            for name in records.ids[places.start : places.stop]
        ]
        return problem.meaning.moved(records.read(places), torch.stack(rows) * self.reach)


@dataclass(frozen=True)
class Exchange:
    """One value of each record exchanged for that of one of ``others``, drawn for it."""

    others: Records
    name, copies = "exchanged", EXCHANGES

    @property
    def key(self) -> list[object]:
        """What identifies it beside problem and seed."""
        return ["largest of exchanged in turn", self.copies]

    def batch(self, problem: Problem, records: Records, places: range, *, seed: int, draw: int) -> Any:
        """Return the records at ``places``, exchanged; a function of seed, draw and record id.

        From draw to draw it goes on by an eighth of the places, so that all of a record is gone over.
        """
        drawn = []
        for name in records.ids[places.start : places.stop]:
            which = float(torch.rand(1, generator=_generator(seed, draw, name), dtype=torch.float64))
            first = float(torch.rand(1, generator=_generator(seed, self.copies, name), dtype=torch.float64))
            drawn.append((which, (first + draw / self.copies) % 1))
        others = self.others.read([int(which * len(self.others)) for which, _ in drawn])
        where = torch.tensor([where for _, where in drawn], dtype=torch.float64)
        return problem.meaning.exchanged(records.read(places), others, where)


def possible(problem: Problem) -> bool:
    """Return whether there is something beside records of this problem; reads a few."""
    return bool(len(problem.retain_view)) and (continuous(problem, problem.retain_view) or _exchangeable(problem))


def copies(problem: Problem) -> int:
    """Return how many copies of a record are asked; where there are none, as many as there would be of numbers."""
    return DRAWS if not len(problem.retain_view) or continuous(problem, problem.retain_view) else EXCHANGES


def beside(problem: Problem, sample: Records) -> Noise | Exchange | None:
    """Return how forgotten records are moved, by a ``sample`` of the retained ones; None where they cannot be."""
    if not len(sample):
        return None
    if continuous(problem, problem.retain_view):
        return Noise(reach(problem, sample))
    return Exchange(sample) if _exchangeable(problem) else None


def _exchangeable(problem: Problem) -> bool:
    """Return whether most of a few records have a value that can be exchanged for that of the next."""
    task, records = problem.meaning, problem.retain_view
    few = list(range(min(_FEW, len(records))))
    batch = records.read(few)
    made = task.exchanged(batch, records.read([*few[1:], 0]), torch.zeros(len(few), dtype=torch.float64))
    return made is not None and 2 * int((task.inputs(made) != task.inputs(batch)).any(dim=1).sum()) > len(few)


def reach(problem: Problem, records: Records) -> Tensor:
    """Return how far to move each column: :data:`SHARE` of its standard deviation over ``records``, [D], float64.

    A column that does not vary (the corner of an image, a mask of ones) is not moved.
    """
    count, mean, squares = 0, torch.zeros(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    for batch in in_order(records, _SIZE):
        rows = problem.meaning.inputs(batch)
        # Chan, Golub and LeVeque 1979: sums of squares of parts, joined without cancellation.
        own, apart, joined = rows.mean(dim=0), rows.mean(dim=0) - mean, count + len(rows)
        squares = squares + ((rows - own) ** 2).sum(dim=0) + apart**2 * count * len(rows) / joined
        mean, count = mean + apart * len(rows) / joined, joined
    return SHARE * torch.sqrt(squares / max(1, count - 1))


def confidences(problem: Problem, model: Any, records: Records, beside: Noise | Exchange, *, seed: int) -> Array:
    """Return the logit-scaled confidence of the label on copies of each record, [R, n].

    Of a regressor it is the answer: how far off it is, is measured by what other models say (``engine/answers``).

    The copies are a function of seed, draw and record id: the same for every model, and however records are batched.
    """
    model = ready(model)
    return np.stack([_draw(problem, model, records, beside, seed=seed, draw=draw) for draw in range(beside.copies)])


def _draw(problem: Problem, model: Any, records: Records, beside: Noise | Exchange, *, seed: int, draw: int) -> Array:
    rows = []
    for start, stop in bounds(len(records), _SIZE):
        batch = beside.batch(problem, records, range(start, stop), seed=seed, draw=draw)
        with torch.no_grad():
            units = problem.meaning.units(model, batch)
        if isinstance(units, Scored):
            rows.append(confidence(units.output.double().numpy(), units.target.numpy()))
        else:
            rows.append(units.output[:, 0].double().numpy())
    return np.concatenate(rows)


def _generator(seed: int, draw: int, name: str) -> torch.Generator:
    return torch.Generator().manual_seed(keyed_int(b"expunge around", seed, draw, name) % 2**63)
