"""Accuracy on the group that fares worst among the holdout records."""

from __future__ import annotations

import numpy as np

from expunge.core.check import Check, Direction, EvidenceKind, Measurement, NotMeasured, Question
from expunge.engine.evidence import Evidence


class WorstGroupAccuracy(Check):
    """The lowest accuracy of any group on the holdout."""

    title = "Accuracy on the worst group"
    source = "Sagawa et al. 2020, arXiv 1911.08731"
    question = Question.INTACT
    needs = frozenset({EvidenceKind.HOLDOUT, EvidenceKind.GROUPS, EvidenceKind.REFERENCES})
    better = Direction.HIGHER
    unit = "share"
    cannot_see = "groups that the problem does not name"

    def measure(self, evidence: Evidence) -> Measurement | NotMeasured:
        """Return the minimum over groups; its record error is that of the group with the largest one."""
        because = evidence.lacks("holdout")
        if because:
            return NotMeasured(check=self.name, because=because)
        groups = evidence.groups
        if groups is None:
            return NotMeasured(check=self.name, because="the problem names no groups")
        masks = [groups == group for group in np.unique(groups)]
        rows = {model: evidence.outputs(model, "holdout").correct for model in evidence.models}
        values = {model: min(float(row[m].mean()) for m in masks) for model, row in rows.items()}
        found = [evidence.record_errors("holdout", {m: row[k] for m, row in rows.items()}, k, unseen=1) for k in masks]
        errors = {model: max(each[model] for each in found) for model in evidence.judged}
        smallest = min(int(mask.sum()) for mask in masks)
        return evidence.compare(
            self,
            values,
            n=len(groups),
            errors=errors,
            details={"groups": str(len(masks)), "records in the smallest group": str(smallest)},
        )
