"""Recipes: settings that were found by tuning for a standard case, each with how it was found and what it measured.

One TOML file per method and case. ``auto`` tries methods with a recipe for the case first, and starts tuning there.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from expunge.core import registry
from expunge.core.errors import UsageError
from expunge.core.problem import Problem
from expunge.core.serial import build
from expunge.engine.relabelling import labels_of
from expunge.engine.strangers import gone

CASES = ("ordinary", "wrong labels", "one wrong label", "class", "texts")
"""An ordinary sample of records; records with labels that the request corrects; such of several classes that all carry
one label, as with a backdoor; all records of some classes; texts of a language model."""
_PART_OF = {"one wrong label": "wrong labels"}


@dataclass(frozen=True, kw_only=True)
class Found:
    """How a recipe was found.

    Attributes:
        command: what was run.
        data: on which records, which of them had to go.
        seed / trials: of the study.
        date: ISO 8601.
    """

    command: str
    data: str
    seed: int
    trials: int
    date: str


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What it measured there.

    Attributes:
        match / harm: what the objective said, of this trial; ``original`` is the match of the original.
        gap: mean distance from retrained models in four figures (accuracy on forgotten, retained and held-out records,
            AUC of membership; of texts a fifth, what is said right while they are taught again), in points, on the part
            that was not chosen by; ``floor`` is that of a retrained model.
        share: cost of one run, as a share of one retraining.
    """

    match: float
    harm: float
    original: float
    gap: float
    floor: float
    share: float


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Settings of ``method`` for a ``case``, one of ``CASES``."""

    method: str
    case: str
    config: Mapping[str, object]
    found: Found
    measured: Measured


def read(path: Path) -> Recipe:
    """Return the recipe in a file.

    Raises:
        UsageError: no such method, case or setting, or a value out of its range.
    """
    recipe = build(Recipe, tomllib.loads(path.read_text()), where=path.name)
    if recipe.case not in CASES:
        raise UsageError(
            "unknown case",
            where=path.name,
            found=repr(recipe.case),
            expected=f"one of {', '.join(CASES)}",
            fix="write one of these",
        )
    registry.load("methods", recipe.method)(recipe.config)
    return recipe


@lru_cache(maxsize=1)
def shipped() -> tuple[Recipe, ...]:
    """Return all recipes that come with expunge, those that came nearest to retrained models first."""
    found = [read(path) for path in sorted(Path(__file__).parent.glob("*.toml"))]
    return tuple(sorted(found, key=lambda recipe: recipe.measured.gap))


def for_case(case: str) -> dict[str, Recipe]:
    """Return the recipes for a case by method, the best first; of others those for the case that it is part of."""
    found = [recipe for recipe in shipped() if recipe.case == case]
    named = {recipe.method for recipe in found}
    wider = [r for r in shipped() if r.case == _PART_OF.get(case) and r.method not in named]
    return {recipe.method: recipe for recipe in sorted([*found, *wider], key=lambda recipe: recipe.measured.gap)}


def case_of(problem: Problem) -> str:
    """Return which case a problem is; reads the labels of the forgotten records, and no model."""
    right = problem.truth
    untold = set(problem.request.also) - set(right)
    told = [name for name in problem.forget_ids if not right or name not in untold]
    view = problem.records.select(told)
    labels = labels_of(problem, view)
    if labels is None:
        return "wrong labels" if right else "texts" if problem.meaning.scored else "ordinary"
    if right:
        wrong = [(given, right[i]) for i, given in zip(view.ids, labels, strict=True) if right.get(i, given) != given]
        carried, true = ({pair[side] for pair in wrong} for side in (0, 1))
        # A few wrong ones among many right ones may carry one label by chance.
        return "one wrong label" if len(carried) == 1 < len(true) and 2 * len(wrong) > len(view) else "wrong labels"
    return "class" if gone(problem, labels) == set(np.unique(labels).tolist()) else "ordinary"
