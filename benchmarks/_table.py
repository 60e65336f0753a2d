"""What every benchmark prints: a table for people, and with ``--json`` one object; results of record are files."""

from __future__ import annotations

import argparse
import json
import math
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from scipy.stats import t

from expunge.engine.runtime import environment


@dataclass(frozen=True, kw_only=True)
class Row:
    """One figure: what it is, its target, which way is better, in what unit, against what, over how many.

    ``interval``: where it is a mean over seeds, the 95% interval of that mean.
    """

    name: str
    value: float
    target: float | None
    better: str
    unit: str
    against: str
    n: int
    interval: tuple[float, float] | None = None

    @property
    def met(self) -> str:
        """Whether the target is reached."""
        if self.target is None:
            return ""
        reached = self.value >= self.target if self.better == "higher" else self.value <= self.target
        return "met" if reached else "MISSED"


def arguments(about: str) -> argparse.ArgumentParser:
    """Return a parser with the options every benchmark has."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--save", type=Path, help="write the object to this file, with commit, environment and date")
    return parser


def over_seeds(values: Sequence[float]) -> dict[str, Any]:
    """Return the mean of one value per seed, with Student's interval where there are several seeds."""
    middle, n = fmean(values), len(values)
    half = float(t.ppf(0.975, n - 1)) * stdev(values) / math.sqrt(n) if n > 1 else None
    return {"value": middle, "n": n, "interval": None if half is None else (middle - half, middle + half)}


def finish(rows: list[Row], options: argparse.Namespace, **facts: Any) -> None:
    """Print the rows, and save them where asked."""
    found = {"results": [asdict(row) for row in rows], **facts}
    if options.save:
        record = {
            **found,
            "commit": _commit(),
            "date": datetime.now(UTC).date().isoformat(),
            "environment": {**environment(), "machine": platform.processor() or platform.machine()},
        }
        options.save.write_text(json.dumps(record, indent=1, sort_keys=True, allow_nan=False) + "\n")
    if options.json:
        print(json.dumps(found))
        return
    width = max(len(row.name) for row in rows)
    print(f"{'':{width}}  {'value':>9}  {'target':>8}         n  unit")
    for row in rows:
        target = "" if row.target is None else f"{'≥' if row.better == 'higher' else '≤'} {row.target:g}"
        between = "" if row.interval is None else f" ({row.interval[0]:.4g} to {row.interval[1]:.4g})"
        print(f"{row.name:{width}}  {row.value:9.4g}  {target:>8}  {row.met:6} {row.n:4d}  {row.unit}{between}")


def _commit() -> str:
    where = Path(__file__).parent
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=where, capture_output=True, text=True, check=False)
    dirty = subprocess.run(
        ["git", "status", "--porcelain", "--", "../src", "."], cwd=where, capture_output=True, text=True, check=False
    )
    return head.stdout.strip() + ("+changes" if dirty.stdout.strip() else "")
