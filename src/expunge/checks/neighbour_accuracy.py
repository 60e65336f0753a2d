"""Accuracy on the retained records next to the forgotten ones."""

from __future__ import annotations

from expunge.core.check import Check, Direction, EvidenceKind, Measurement, NotMeasured, Question
from expunge.engine.evidence import Evidence


class NeighbourAccuracy(Check):
    """Share of the retained records nearest to forgotten ones whose label the model predicts."""

    title = "Accuracy on retained neighbours of the forgotten records"
    source = "accuracy, as a difference from retrained models"
    question = Question.INTACT
    needs = frozenset({EvidenceKind.RETAIN, EvidenceKind.REFERENCES})
    better = Direction.HIGHER
    unit = "share"
    cannot_see = "neighbours in meaning that are far apart as raw inputs"

    def measure(self, evidence: Evidence) -> Measurement | NotMeasured:
        """Return the accuracy, paired by record with the references."""
        return evidence.compare_means(
            self, ("neighbours",), lambda model: evidence.outputs(model, "neighbours").correct
        )
