"""Relearning: trained on the forgotten records again, is the model faster than a retrained one?"""

from __future__ import annotations

from expunge.core.check import Check, Direction, EvidenceKind, Measurement, NotMeasured, Question
from expunge.core.method import Cost
from expunge.engine.evidence import Evidence


class Relearning(Check):
    """Mean accuracy on the forgotten records over the passes of a short training on them.

    Latent memory shows as speed. References get the same treatment: same optimiser, order and seeds.
    """

    title = "Relearning"
    source = "anamnesis index, Chundawat et al. 2022, arXiv 2201.05629, as a difference of areas"
    question = Question.RECOVERABLE
    needs = frozenset({EvidenceKind.FORGET, EvidenceKind.REFERENCES})
    better = Direction.LOWER
    unit = "share"
    cannot_see = "memory that another optimiser, more steps or related data would bring back"

    def cost(self, n: int, references: int) -> Cost:
        """Return the passes of one relearning per model; the policy sets how many."""
        return Cost(trained=4 * n * (references + 1), read=4 * n * (references + 1))

    def measure(self, evidence: Evidence) -> Measurement | NotMeasured:
        """Return the area under the relearning curve, paired by record with the references."""
        return evidence.compare_means(self, ("forget",), evidence.relearned)
