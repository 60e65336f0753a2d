"""What would settle a check that could neither pass nor fail: more references, or more records.

Takes the difference and the spread between seeds as they were found; both will differ somewhat next time, so this
is a guide and no promise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from expunge.core.check import Direction, Measurement
from expunge.core.report import Finding
from expunge.core.verdict import Decision
from expunge.numerics import equivalence

MOST = 1000
"""References beyond which nobody would go; their whole use is then spent (t is within 0.2 % of its limit)."""


@dataclass(frozen=True)
class Needed:
    """How many would do; None: no number of them alone would.

    Attributes:
        outside: the difference itself is not inside the margin: so many would show that the check fails.
        references: with as many records as now.
        records: with as many references as now.
    """

    outside: bool
    references: int | None = None
    records: int | None = None


def needed(finding: Finding) -> Needed | None:
    """Return what a check that was inconclusive would need to pass, or to fail; None for every other one."""
    result, narrow = finding.result, finding.narrow
    if finding.decision is not Decision.INCONCLUSIVE or not isinstance(result, Measurement) or narrow is None:
        return None
    room = finding.margin - _away(finding, result)
    outside = room <= 0
    if outside:
        narrow, room = finding.wide, -room  # failing is asked of the interval that is corrected for all checks
    if narrow is None or room == 0:
        return Needed(outside=outside)
    if result.yardstick is not None:  # what is known by design gets no better with references
        return Needed(outside=outside, records=math.ceil(result.n * ((narrow.high - narrow.low) / (2 * room)) ** 2))
    alpha, count = (1.0 - narrow.level) / 2.0, len(result.references)
    spread = result.seed_scale * float(np.std(result.references, ddof=1))
    # Where references agree the error is what so many could not have seen: it falls with their number, too.
    unseen = equivalence.unseen_error(result.n, count)
    agree = len(set(result.references)) == 1 and result.record_error <= unseen

    def half(references: int) -> float:
        error = equivalence.unseen_error(result.n, references) if agree else result.record_error
        return float(equivalence.half_width(spread, references, record_error=error, alpha=alpha))

    references = next((more for more in range(count + 1, MOST + 1) if half(more) <= room), None)
    allowed = equivalence.largest_record_error(spread, count, half=room, alpha=alpha)
    power = 1 if agree else 2
    records = math.ceil(result.n * (result.record_error / allowed) ** power) if allowed > 0 else None
    return Needed(outside=outside, references=references, records=records)


def _away(finding: Finding, result: Measurement) -> float:
    """Return how far the value lies on a side that the margin bounds."""
    if finding.harmless is None:
        return abs(result.difference)
    return max(0.0, -result.difference if finding.harmless is Direction.HIGHER else result.difference)


def sentence(finding: Finding, need: Needed) -> str:
    """Return what a check would need to be settled, in one sentence."""
    count, n = len(getattr(finding.result, "references", ())), getattr(finding.result, "n", 0)
    ways = [
        *([f"{need.references} references instead of {count}"] if need.references is not None else []),
        *([f"{need.records} records instead of {n}"] if need.records is not None else []),
    ]
    if need.outside and not ways and _away(finding, finding.result) > 2 * finding.margin:  # type: ignore[arg-type]
        return (
            f"{finding.title} lies far outside its margin, and models and records are too few to show it: more of both "
            "are needed"
        )
    if need.outside and not ways:
        return (
            f"{finding.title} lies about at its margin: neither more references nor more records alone would settle it"
        )
    if need.outside:
        return f"{finding.title} lies outside its margin, if not surely: about {' or '.join(ways)} would show it"
    if not ways:
        return (
            f"{finding.title}: more references alone would not settle it; its margin is narrow for what retrained "
            "models differ by, which more records may make less"
        )
    return f"{finding.title} would be settled by about {' or '.join(ways)}"
