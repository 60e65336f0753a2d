"""Held-out records of the classes that forgotten ones have: what papers compare forgotten records with."""

from __future__ import annotations

import numpy as np

from expunge.core.problem import Problem
from expunge.core.records import View
from expunge.engine.relabelling import labels_of
from expunge.engine.split import Part


def of_same_classes(problem: Problem, part: Part) -> View | None:
    """Return the holdout records of ``part`` whose label a forget record of it has; None where there is none.

    Labels are read, no model runs. Without class labels, all holdout records.
    """
    if part.holdout is None or not len(part.holdout) or not len(part.forget):
        return None
    gone, held = (labels_of(problem, records) for records in (part.forget, part.holdout))
    if gone is None or held is None:
        return part.holdout
    found = [name for name, yes in zip(part.holdout.ids, np.isin(held, gone), strict=True) if yes]
    return part.holdout.select(found) if found else None
