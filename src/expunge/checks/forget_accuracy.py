"""Accuracy on the forgotten records, as they were labelled in training."""

from __future__ import annotations

from expunge.core.check import Check, Direction, EvidenceKind, Measurement, NotMeasured, Question
from expunge.engine.evidence import Evidence


class ForgetAccuracy(Check):
    """Share of the forgotten records whose training label the model predicts."""

    title = "Accuracy on the forgotten records"
    source = "unlearning accuracy, Fan et al. 2023, arXiv 2310.12508, as a difference from retrained models"
    question = Question.GONE
    needs = frozenset({EvidenceKind.FORGET, EvidenceKind.REFERENCES})
    better = Direction.LOWER
    unit = "share"
    cannot_see = "memory that does not change which class is most likely"

    def measure(self, evidence: Evidence) -> Measurement | NotMeasured:
        """Return the accuracy, paired by record with the references."""
        return evidence.compare_means(self, ("forget",), lambda model: evidence.outputs(model, "forget").correct)
