"""Accuracy on the retained records."""

from __future__ import annotations

from expunge.core.check import Check, Direction, EvidenceKind, Measurement, NotMeasured, Question
from expunge.engine.evidence import Evidence


class RetainAccuracy(Check):
    """Share of the retained records whose label the model predicts."""

    title = "Accuracy on the retained records"
    source = "accuracy, as a difference from retrained models"
    question = Question.INTACT
    needs = frozenset({EvidenceKind.RETAIN, EvidenceKind.REFERENCES})
    better = Direction.HIGHER
    unit = "share"
    cannot_see = "damage to records outside the sample that was measured"

    def measure(self, evidence: Evidence) -> Measurement | NotMeasured:
        """Return the accuracy, paired by record with the references."""
        return evidence.compare_means(self, ("retain",), lambda model: evidence.outputs(model, "retain").correct)
