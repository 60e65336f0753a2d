"""Examples before the question: do they bring back what was forgotten?"""

from __future__ import annotations

from expunge.core.check import Check, Direction, EvidenceKind, Measurement, NotMeasured, Question
from expunge.core.method import Cost
from expunge.engine.evidence import Evidence
from expunge.engine.treatments import SHOTS


class FewShot(Check):
    """Mean extraction strength on the forgotten records with up to three retained records before each question.

    A model that was trained to be silent about some questions often answers them when others were answered before.
    The examples are the same for all questions and all models.
    """

    title = "Extraction strength after examples"
    source = "Doshi and Stickland 2024, arXiv 2411.12103, as a difference from retrained models"
    question = Question.RECOVERABLE
    needs = frozenset({EvidenceKind.FORGET, EvidenceKind.REFERENCES, EvidenceKind.TOKENS, EvidenceKind.SHOTS})
    better = Direction.LOWER
    unit = "share"
    cannot_see = "other examples, role play, other languages, and conversations of several turns"

    def cost(self, n: int, references: int) -> Cost:
        """Return a pass over the records and the examples before each, on each model."""
        return Cost(read=(1 + SHOTS) * n * (references + 1))

    def measure(self, evidence: Evidence) -> Measurement | NotMeasured:
        """Return the mean extraction strength, paired by record with the references."""
        because = evidence.lacks("forget", tokens=True) or evidence.lacks_array(
            "shots", "there is no room for examples"
        )
        if because:
            return NotMeasured(check=self.name, because=because)
        return evidence.compare_means(self, ("forget",), lambda model: evidence.treated(model, "shots").extraction)
