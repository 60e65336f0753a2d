"""The committed results of benchmarks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from expunge.bench.table import ORIGINAL, RETRAINED, Row, Table
from expunge.core.serial import build
from expunge.plan.auto import AUTO

ROOT = Path(__file__).parents[1]
CHEAP = 0.2
"""Share of a retraining below which one run of a method counts as cheap, as in ``benchmarks/classifiers.py``."""


def results(name: str) -> Any:
    """Return what a benchmark saved."""
    return json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())


def grid(name: str) -> Table:
    """Return the table of a grid of ``expunge bench``."""
    return build(Table, results(name)["table"], where=name)


def by_scenario(found: Table) -> dict[str, dict[str, Row]]:
    """Return the rows of a grid by scenario and method."""
    grouped: dict[str, dict[str, Row]] = {}
    for row in found.rows:
        grouped.setdefault(row.scenario, {})[row.method] = row
    return grouped


def gap(row: Row | None) -> float | None:
    """Return how far a method lies from retrained models, in points on average; None without a model."""
    spread = None if row is None else row.scores.get("avg_gap")
    return None if spread is None else spread.mean


def nearest(own: Mapping[str, Row]) -> Row | None:
    """Return the entry that lies nearest to retrained models, with every seed, for a fifth of a retraining at most."""
    cheap = [
        (distance, name)
        for name, row in own.items()
        if name not in (RETRAINED, ORIGINAL, AUTO, "noop")
        and (distance := gap(row)) is not None
        and not row.without
        and row.share is not None
        and row.share.mean <= CHEAP
    ]
    return own[min(cheap)[1]] if cheap else None
