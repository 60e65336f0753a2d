"""Accuracy on the holdout records."""

from __future__ import annotations

from expunge.core.check import Check, Direction, EvidenceKind, Measurement, NotMeasured, Question
from expunge.engine.evidence import Evidence


class HoldoutAccuracy(Check):
    """Share of the holdout records whose label the model predicts."""

    title = "Accuracy on records never trained on"
    source = "accuracy, as a difference from retrained models"
    question = Question.INTACT
    needs = frozenset({EvidenceKind.HOLDOUT, EvidenceKind.REFERENCES})
    better = Direction.HIGHER
    unit = "share"
    cannot_see = "damage to kinds of records that the holdout does not hold"

    def measure(self, evidence: Evidence) -> Measurement | NotMeasured:
        """Return the accuracy, paired by record with the references."""
        return evidence.compare_means(self, ("holdout",), lambda model: evidence.outputs(model, "holdout").correct)
