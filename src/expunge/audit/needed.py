"""What would settle a check that could neither pass nor fail: more references, or more records.

Takes the difference and the spread between seeds as they were found; both will differ somewhat next time, so this
is a guide and no promise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

from expunge.core.check import Measurement
from expunge.core.report import Finding
from expunge.core.verdict import Decision

MOST = 1000
"""References beyond which nobody would go; their whole use is then spent (t is within 0.2 % of its limit)."""


@dataclass(frozen=True)
class Needed:
    """How many would do; None: no number of them alone would.

    Attributes:
        outside: the difference itself is not inside the margin: with more, the check would rather fail than pass.
        references: with as many records as now.
        records: with as many references as now.
    """

    outside: bool
    references: int | None = None
    records: int | None = None


def needed(finding: Finding) -> Needed | None:
    """Return what a check that was inconclusive would need to pass; None for every other one."""
    result, narrow = finding.result, finding.narrow
    if finding.decision is not Decision.INCONCLUSIVE or not isinstance(result, Measurement) or narrow is None:
        return None
    room = finding.margin - abs(result.value - float(np.mean(result.references)))
    if room <= 0:
        return Needed(outside=True)
    alpha, count = (1.0 - narrow.level) / 2.0, len(result.references)
    spread = result.seed_scale * float(np.std(result.references, ddof=1))

    def quantile(references: int) -> float:
        return float(special.stdtrit(references - 1, 1.0 - alpha))

    def half(references: int) -> float:
        return quantile(references) * math.hypot(spread * math.sqrt(1 + 1 / references), result.record_error)

    references = next((more for more in range(count + 1, MOST + 1) if half(more) <= room), None)
    allowed = (room / quantile(count)) ** 2 - spread**2 * (1 + 1 / count)
    records = math.ceil(result.n * result.record_error**2 / allowed) if allowed > 0 else None
    return Needed(outside=False, references=references, records=records)
