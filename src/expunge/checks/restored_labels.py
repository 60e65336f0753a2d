"""For wrong-label requests: does the model now give the true labels?"""

from __future__ import annotations

from expunge.core.check import Check, Direction, EvidenceKind, Measurement, NotMeasured, Question
from expunge.engine.evidence import Evidence


class RestoredLabels(Check):
    """Share of the wrongly labelled forgotten records for which the model predicts the true label."""

    title = "True labels restored"
    source = "corrected accuracy, Goel et al. 2024, arXiv 2402.14015"
    question = Question.GONE
    needs = frozenset({EvidenceKind.FORGET, EvidenceKind.CORRECTIONS, EvidenceKind.REFERENCES})
    better = Direction.HIGHER
    unit = "share"
    cannot_see = "wrong labels that the request does not know of"

    def measure(self, evidence: Evidence) -> Measurement | NotMeasured:
        """Return the accuracy against the true labels, paired by record with the references."""
        truth = evidence.corrections
        if truth is None:
            return NotMeasured(check=self.name, because="the request gives no true labels")
        known = truth >= 0
        return evidence.compare_means(
            self, ("forget",), lambda model: evidence.outputs(model, "forget").predicts(truth)[known]
        )
