"""Accuracy on the holdout records beside that of the original: is the model as good as it was?"""

from __future__ import annotations

import numpy as np

from expunge.core.check import Check, Direction, EvidenceKind, Measurement, NotMeasured, Question, Yardstick
from expunge.engine.evidence import Evidence
from expunge.numerics.equivalence import sample_error


class HoldoutKept(Check):
    """Share of the holdout records whose label the model predicts, paired by record with the original.

    It judges damage only. What the forgotten records taught goes with them, so a retrained model may answer fewer
    records right than the original, and more where they misled it: no side is exact, and the better one is no trace.
    """

    title = "Accuracy beside that of the original"
    source = (
        "accuracy, as a difference from the original; one-sided non-inferiority, e.g. Piaggio et al. 2012, JAMA 308(24)"
    )
    question = Question.INTACT
    needs = frozenset({EvidenceKind.HOLDOUT})
    better = Direction.HIGHER
    unit = "share"
    cannot_see = (
        "damage to kinds of records that the holdout does not hold, and whether retraining would have cost as much"
    )
    damage_only = True

    def measure(self, evidence: Evidence) -> Measurement | NotMeasured:
        """Return the accuracy; its error is that of the paired difference over records or subjects."""
        because = evidence.lacks("holdout")
        if because:
            return NotMeasured(check=self.name, because=because)
        right = {model: evidence.outputs(model, "holdout").correct for model in (evidence.candidate, evidence.original)}
        values = {model: float(np.mean(row)) for model, row in right.items()}
        error = sample_error(right[evidence.candidate] - right[evidence.original], evidence.clusters("holdout"))
        return evidence.against(
            self,
            values,
            Yardstick(value=values[evidence.original], error=error, what="the original", retrained=False),
            n=len(right[evidence.candidate]),
            error=error,
        )
