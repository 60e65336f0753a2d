"""Forgotten records that stay under another id: exact copies, and inputs that are nearly the same.

What a copy taught stays in the model, and in every retrained one: no audit can show more than that.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from expunge.core.digest import keyed
from expunge.core.errors import Obstacle
from expunge.core.problem import Problem
from expunge.core.records import Records, View
from expunge.core.storage import write_file
from expunge.engine.batches import in_order

PATH = "private/copies.csv"
"""Where the pairs lie in the run directory, with ids: for the holder of the run alone."""
NEAR = 0.01
"""Distance as a share of the typical one, below which two inputs are nearly the same. Where inputs fill D dimensions,
the nearest of many neighbours is nearer than NEAR times the median by chance with probability 1 - 2^-(NEAR^D): 1 in
14,000 for D = 2, 1 in 10^6 for D = 3. Rounding to 8 bits and the noise of floats stay below it."""
ASKED = 1000
"""Forgotten records that are looked at, at the most."""
TYPICAL = 200
"""Retained records whose nearest neighbours say what is typical."""


@dataclass(frozen=True)
class Pair:
    """A forgotten record and a retained one; ``distance`` 0.0 and ``exact`` where content and label are equal."""

    forgotten: str
    retained: str
    distance: float
    exact: bool


def find(problem: Problem) -> list[Pair]:
    """Return every exact copy, and for each of at most ASKED forgotten records the nearest one where it is near.

    Nearest by Euclidean distance of ``task.inputs`` in float64; near is below NEAR times the median distance from a
    retained record to the next one. Where that is 0 (most records have copies) nothing is far below it.
    """
    gone = {content: name for name, content in problem.forget_view.manifest.entries}
    pairs = [
        Pair(gone[content], name, 0.0, True)
        for name, content in problem.retain_view.manifest.entries
        if content in gone
    ]
    forget = _some(problem.forget_view, ASKED)
    if not len(forget) or len(problem.retain_view) < 2:
        return pairs
    distances, nearest, typical = _nearest(problem, forget)
    exact = {pair.forgotten for pair in pairs}
    ids = problem.retain_view.ids
    near = [
        Pair(name, ids[place], distance, False)
        for name, distance, place in zip(forget.ids, distances.tolist(), nearest.tolist(), strict=True)
        if distance < NEAR * typical and name not in exact
    ]
    return [*pairs, *near]


def note(problem: Problem, pairs: list[Pair]) -> Obstacle | None:
    """Return what is worth knowing of near copies, in numbers; exact ones are the problem's own note."""
    near = sum(not pair.exact for pair in pairs)
    if not near:
        return None
    return Obstacle(
        what="retained records are nearly the same as forgotten ones",
        where="training records",
        found=f"{near} of {min(ASKED, len(problem.forget_view))} forgotten ones that were looked at have one",
        expected="no such inputs that stay",
        fix="see which they are (private/copies.csv in the run directory) and add their ids to the request, if they "
        "are the same data; else what they taught stays, in retrained models too, and no audit can show more",
        fatal=False,
    )


def write(folder: Path, pairs: list[Pair]) -> None:
    """Write the pairs into the private part of a run directory."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["forgotten", "retained", "distance", "exact"])
    writer.writerows([p.forgotten, p.retained, f"{p.distance:.6g}", int(p.exact)] for p in pairs)
    write_file(folder / PATH, text.getvalue().encode(), mode=0o600)


def _nearest(problem: Problem, forget: View) -> tuple[Tensor, Tensor, float]:
    """Return per forgotten record the distance to the nearest retained one and its place, and what is typical."""
    task, retain = problem.meaning, problem.retain_view
    probes = _some(retain, TYPICAL)
    mine = [retain.position[name] for name in probes.ids]
    rows = torch.cat([task.inputs(batch) for part in (forget, probes) for batch in in_order(part)])
    centre = rows.mean(dim=0)  # far from 0, small distances would drown in rounding
    rows = rows - centre
    best = torch.full((len(rows),), torch.inf, dtype=torch.float64)
    place = torch.zeros(len(rows), dtype=torch.long)
    start = 0
    for batch in in_order(retain):
        distance = torch.cdist(rows, task.inputs(batch) - centre)
        for row, own in enumerate(mine, len(forget)):
            if start <= own < start + distance.shape[1]:
                distance[row, own - start] = torch.inf  # itself
        least, where = distance.min(dim=1)
        place = torch.where(least < best, start + where, place)
        best = torch.minimum(best, least)
        start += distance.shape[1]
    return best[: len(forget)], place[: len(forget)], float(best[len(forget) :].median())


def _some(records: Records, most: int) -> View:
    ranked = sorted(records.ids, key=lambda name: keyed(b"expunge copies", name))[:most]
    return records.select(ranked)
