"""Do all groups get the same rates of right and wrong answers?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import ClassVar

import numpy as np

from expunge.core.check import Check, Direction, EvidenceKind, Measurement, NotMeasured, Question
from expunge.engine.evidence import Evidence
from expunge.engine.groups import left_out
from expunge.numerics.groups import Cell, cells, equalised_odds, rates_of


class EqualisedOdds(Check):
    """The largest gap between groups in how often a class is named, among holdout records of it, or of others."""

    title = "Gap between groups (equalised odds)"
    source = "Hardt, Price and Srebro 2016, arXiv 1610.02413, definition 2.1"
    question = Question.INTACT
    needs = frozenset({EvidenceKind.HOLDOUT, EvidenceKind.GROUPS, EvidenceKind.CELLS, EvidenceKind.REFERENCES})
    better = Direction.LOWER
    unit = "share"
    cannot_see = "groups that the problem does not name; a harm that falls on all groups alike"
    exempt: ClassVar[Mapping[str, str]] = {
        "damage_is_found": "the damage planted there falls on all groups alike: no gap opens"
    }

    def measure(self, evidence: Evidence) -> Measurement | NotMeasured:
        """Return the gap; its record error is that of the least certain pair of groups."""
        because = evidence.lacks("holdout")
        if because:
            return NotMeasured(check=self.name, because=because)
        target, groups = evidence.outputs(evidence.candidate, "holdout").classes, evidence.groups
        if target is None or groups is None:
            return NotMeasured(check=self.name, because="there are no classes, or no groups")
        named = {model: evidence.outputs(model, "holdout").logits.argmax(axis=1) for model in evidence.models}
        values = {model: equalised_odds(target, answer, groups) for model, answer in named.items()}
        where = cells(target, groups)
        smallest = min(int(mine.sum()) for _, parts in where for mine in parts.values())
        if smallest < 2:
            return NotMeasured(check=self.name, because="a group has no records of a class, or none of another")
        errors = dict.fromkeys(evidence.judged, 0.0)
        for cell, parts in where:
            rates = {model: (answer == cell.label).astype(np.float64) for model, answer in named.items()}
            found = {
                group: evidence.record_errors("holdout", {m: row[mine] for m, row in rates.items()}, mine, unseen=1)
                for group, mine in parts.items()
            }
            for model in evidence.judged:
                pairs = [np.hypot(one[model], other[model]) for one, other in combinations(found.values(), 2)]
                errors[model] = max([errors[model], *map(float, pairs)])
        return evidence.compare(
            self,
            values,
            n=int((groups != "").sum()),
            errors=errors,
            details={
                "groups": str(len(where[0][1])),
                "records in the smallest cell": str(smallest),
                **left_out(groups),
                "widest gap": _widest(evidence, rates_of(target, named[evidence.candidate], groups)),
            },
        )


def _widest(evidence: Evidence, rates: Sequence[tuple[Cell, Mapping[str, float]]]) -> str:
    """Return between which groups the gap is, and in what, in words."""
    cell, by_group = max(rates, key=lambda pair: max(pair[1].values()) - min(pair[1].values()))
    low, high = (evidence.called(best(by_group, key=lambda group: by_group[group])) for best in (min, max))
    name = evidence.classes[cell.label] if evidence.classes else str(cell.label)
    of = f"of records of class {name}" if cell.of else f"of records of other classes than {name}"
    said = f"{min(by_group.values()):.1%} in group {low}, {max(by_group.values()):.1%} in group {high}"
    return f"{of}, class {name} is said of {said}"
