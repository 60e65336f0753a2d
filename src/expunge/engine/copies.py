"""Forgotten records that stay under another id: exact copies, inputs nearly the same, texts that others hold.

What a copy taught stays in the model, and in every retrained one: no audit can show more than that.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from expunge.core.digest import keyed
from expunge.core.errors import Obstacle
from expunge.core.phrases import Phrases, words_of
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
WORDS = 5
"""Words that a forgotten answer must have for another record that holds it to be told. Shorter ones (a date, a name,
"yes", "in the north") stand in many records that have nothing to do with each other; five that follow each other in
both are rarely chance. A phrase that everybody uses is told at any length: that is for people to see."""


@dataclass(frozen=True)
class Pair:
    """A forgotten record and a retained one; ``distance`` 0.0 and ``exact`` where content and label are equal.

    ``held`` where the retained one holds the answer, or the text, of the forgotten one word for word.
    """

    forgotten: str
    retained: str
    distance: float
    exact: bool
    held: bool = False


def find(problem: Problem) -> list[Pair]:
    """Return every exact copy, every text that holds a forgotten one, and the nearest of forgotten inputs where near.

    A text holds a forgotten one where it says its answer word for word, of WORDS words or more, whatever the question;
    where the answer is shorter, all that the forgotten record says. With several that it holds it is told with one.
    Of at most ASKED forgotten records the nearest one is looked for.
    Nearest by Euclidean distance of ``task.inputs`` in float64; near is below NEAR times the median distance from a
    retained record to the next one. Where that is 0 (most records have copies) nothing is far below it.
    """
    gone = {content: name for name, content in problem.forget_view.manifest.entries}
    pairs = [
        Pair(gone[content], name, 0.0, True)
        for name, content in problem.retain_view.manifest.entries
        if content in gone
    ]
    copied = {pair.retained for pair in pairs}
    pairs += [pair for pair in _held(problem) if pair.retained not in copied]
    forget = _some(problem.forget_view, ASKED)
    if not len(forget) or len(problem.retain_view) < 2:
        return pairs
    distances, nearest, typical = _nearest(problem, forget)
    exact = {pair.forgotten for pair in pairs if pair.exact}
    stay = problem.retain_view
    near = [
        Pair(name, stay.ids[place], distance, False)
        for mine, (name, distance, place) in enumerate(
            zip(forget.ids, distances.tolist(), nearest.tolist(), strict=True)
        )
        if distance < NEAR * typical and name not in exact and _of_like_words(forget.words(mine), stay.words(place))
    ]
    return [*pairs, *near]


def notes(problem: Problem, pairs: list[Pair]) -> list[Obstacle]:
    """Return what is worth knowing of near copies and of texts, in numbers; exact ones are the problem's own note."""
    near = sum(not (pair.exact or pair.held) for pair in pairs)
    held = sum(pair.held for pair in pairs)
    fix = (
        "see which they are (private/copies.csv in the run directory) and add their ids to the request, if they "
        "are the same data; else what they taught stays, in retrained models too, and no audit can show more"
    )
    told = (
        (
            near,
            "retained records are nearly the same as forgotten ones",
            f"{near} of {min(ASKED, len(problem.forget_view))} forgotten ones that were looked at have one",
            "no such inputs that stay",
        ),
        (
            held,
            "retained texts hold forgotten ones word for word",
            f"{held} of {len(problem.retain_view)} retained",
            f"no forgotten answer of {WORDS} words or more, and no whole text, within another that stays",
        ),
    )
    return [
        Obstacle(what=what, where="training records", found=found, expected=expected, fix=fix, fatal=False)
        for count, what, found, expected in told
        if count
    ]


def _of_like_words(one: str | None, other: str | None) -> bool:
    """Return whether two texts share half of their words: rows of short ones are equal by chance. True of no texts."""
    if one is None or other is None:
        return True
    mine, theirs = (Counter(words_of(text)) for text in (one, other))
    return 2 * (mine & theirs).total() >= max(mine.total(), theirs.total())


def write(folder: Path, pairs: list[Pair]) -> None:
    """Write the pairs into the private part of a run directory."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["forgotten", "retained", "distance", "exact", "held"])
    writer.writerows([p.forgotten, p.retained, f"{p.distance:.6g}", int(p.exact), int(p.held)] for p in pairs)
    write_file(folder / PATH, text.getvalue().encode(), mode=0o600)


def _held(problem: Problem) -> list[Pair]:
    """Return the retained texts that hold forgotten ones, each with one of these; reads every text once."""
    forget, retain = problem.forget_view, problem.retain_view
    owners, phrases = list[str](), list[str]()
    for place, name in enumerate(forget.ids):
        whole = forget.words(place)
        if whole is None:
            return []
        long = [said for said in forget.said(place) if len(words_of(said)) >= WORDS]
        for phrase in long or [whole] * (len(words_of(whole)) >= WORDS):
            owners.append(name)
            phrases.append(phrase)
    if not phrases:
        return []
    sought = Phrases(phrases)
    found = [(name, sought.within(retain.words(place) or "")) for place, name in enumerate(retain.ids)]
    return [Pair(owners[min(places)], name, 0.0, False, held=True) for name, places in found if places]


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
