"""Are the forgotten records an ordinary sample? Only then do held-out ones say what a model that never saw them says.

A model that was trained on neither answers forgotten and held-out records of one class alike, where both are draws of
one law: nothing has to be retrained to know that. Where they are not (wrong labels, one person's records, hard cases
that were asked for because they are hard), retrained models tell them apart as well, and nothing follows. So this is
asked first, of the records alone, before any method is run. What speaks against it:

- labels that the request calls wrong;
- too few forgotten subjects (records of one person are alike), or too few held-out records of a class;
- a forgotten or held-out record that is known from the records that stay: of the same subject, or an exact copy;
- inputs that a two-sample test within classes tells apart (``engine/shift``), forgotten from held-out ones. A label
  that is wrong is an input of another class, and so is seen there as well.

Passing is no proof: a few odd records among many are not seen. Whoever knows how the records were chosen knows better.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import torch

from expunge.core.digest import keyed_int
from expunge.core.problem import Problem
from expunge.core.records import Records
from expunge.engine.relabelling import labels_of
from expunge.engine.shift import inputs_of, owners, p_value, sample, shifted
from expunge.engine.split import judged_count

FEWEST = {"forgotten": 75, "held-out": 150}
"""Subjects (or records of their own) that are judged, at the least: with fewer a true retrain would pass less often
than 9 times in 10 within 0.15, and odd ones would not be seen."""
FEWEST_OF_A_CLASS = 10
"""Held-out records of each forgotten class that are judged, at the least."""
LEVEL = 0.05
"""Of the test that tells forgotten from held-out inputs: a false alarm leaves a check out, and costs no more."""


@dataclass(frozen=True)
class Peers:
    """What was found: ``because``, why the two cannot be compared (empty where they can), and how many of each.

    ``forgotten`` and ``heldout`` are counts of judged records by class.
    """

    because: str
    forgotten: Counter[int]
    heldout: Counter[int]


_FOUND: WeakKeyDictionary[Problem, Peers] = WeakKeyDictionary()


def peers(problem: Problem) -> Peers:
    """Return whether held-out records can stand for the forgotten ones; asked once of a problem, about two seconds.

    Canaries are left aside: they are compared with their own.
    """
    if problem not in _FOUND:
        _FOUND[problem] = _peers(problem)
    return _FOUND[problem]


def _peers(problem: Problem) -> Peers:
    forget = problem.records.select([name for name in problem.forget_ids if name not in problem.planted_ids])
    heldout = problem.held_out
    labels = labels_of(problem, forget)
    others = labels_of(problem, heldout) if heldout is not None else None
    if heldout is None or labels is None or others is None:
        return Peers("there are no held-out records with class labels", Counter(), Counter())
    counts = tuple(
        Counter({label: judged_count(n) for label, n in Counter(of.tolist()).items()}) for of in (labels, others)
    )
    return Peers(_reason(problem, forget, heldout, *counts), *counts)


def _reason(problem: Problem, forget: Records, heldout: Records, own: Counter[int], theirs: Counter[int]) -> str:
    if problem.request.corrections:
        return "the labels of forgotten records were wrong: those of held-out records are not"
    for name, side in (("forgotten", forget), ("held-out", heldout)):
        units = judged_count(len({subject or f"record {i}" for i, subject in enumerate(side.subjects)}))
        if units < FEWEST[name]:
            return f"{units} {name} subjects or single records are judged, {FEWEST[name]} or more are needed"
    least = min(theirs[label] for label in own)
    if least < FEWEST_OF_A_CLASS:
        return f"of one forgotten class {least} held-out records are judged, {FEWEST_OF_A_CLASS} or more are needed"
    known = _known(problem, forget), _known(problem, heldout)
    for name, count in zip(("forgotten", "held-out"), known, strict=True):
        if count:
            return f"{count} {name} records have a copy, or another record of their subject, among those that stay"
    if shifted(problem) is not None:
        return "the held-out records are of another distribution than the training records"
    p = _told_apart(problem, forget, heldout)
    return "" if p > LEVEL else f"within classes, forgotten inputs are told from held-out ones (p = {p:.3g})"


def _known(problem: Problem, records: Records) -> int:
    """Return how many of these records the retained ones tell of: by an exact copy, or another record of a subject."""
    retain = problem.retain_view
    contents = {content for _, content in retain.manifest.entries}
    staying = {subject for subject in retain.subjects if subject is not None}
    return sum(
        content in contents or subject in staying
        for (_, content), subject in zip(records.manifest.entries, records.subjects, strict=True)
    )


def _told_apart(problem: Problem, forget: Records, heldout: Records) -> float:
    sides = [sample(forget), sample(heldout)]
    classes = np.concatenate([labels_of(problem, side) for side in sides])
    seed = keyed_int(b"expunge peers", problem.records.manifest.digest, heldout.manifest.digest)
    strata = torch.from_numpy(classes)
    return p_value(*(inputs_of(problem, side) for side in sides), seed=seed, strata=strata, owners=owners(*sides))
