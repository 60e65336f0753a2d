"""Accuracy on the class that fares worst among the holdout records."""

from __future__ import annotations

import numpy as np

from expunge.core.check import Check, Direction, EvidenceKind, Measurement, NotMeasured, Question
from expunge.engine.evidence import Evidence


class WorstClassAccuracy(Check):
    """The lowest per-class accuracy on the holdout: damage to one class hides in the mean."""

    title = "Accuracy on the worst class"
    source = "worst-group accuracy, Sagawa et al. 2020, arXiv 1911.08731, with classes as groups"
    question = Question.INTACT
    needs = frozenset({EvidenceKind.HOLDOUT, EvidenceKind.CLASSES, EvidenceKind.REFERENCES})
    better = Direction.HIGHER
    unit = "share"
    cannot_see = (
        "damage to a class with few holdout records; damage to a class counts only by what it falls below the worst one"
    )

    def measure(self, evidence: Evidence) -> Measurement | NotMeasured:
        """Return the minimum over classes; its record error is that of the class with the largest one."""
        because = evidence.lacks("holdout")
        if because:
            return NotMeasured(check=self.name, because=because)
        target = evidence.outputs(evidence.candidate, "holdout").classes
        if target is None:
            return NotMeasured(check=self.name, because="the answers are numbers: there are no classes")
        classes = [target == label for label in np.unique(target)]
        rows = {model: evidence.outputs(model, "holdout").correct for model in evidence.models}
        values = {model: min(float(row[c].mean()) for c in classes) for model, row in rows.items()}
        # One unseen record, not three: a class has few, and the error taken is that of the least certain class already.
        by_class = [
            evidence.record_errors("holdout", {m: row[c] for m, row in rows.items()}, c, unseen=1) for c in classes
        ]
        errors = {model: max(found[model] for found in by_class) for model in evidence.judged}
        smallest = min(int(c.sum()) for c in classes)
        return evidence.compare(
            self,
            values,
            n=len(target),
            errors=errors,
            details={"records in the smallest class": str(smallest)},
        )
