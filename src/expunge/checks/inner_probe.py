"""Do inner blocks still know the forgotten answers, read by a linear layer that was fitted on retained ones?"""

from __future__ import annotations

from expunge.core.check import Check, Direction, EvidenceKind, Measurement, NotMeasured, Question
from expunge.core.method import Cost
from expunge.engine.evidence import Evidence


class InnerProbe(Check):
    """Mean probability of a token of the forgotten answers under a linear probe of the inner block that knows most.

    The probe of a block is the linear map that comes nearest, on retained text, to what the last block says; the
    model's head reads what it makes of the block. So it finds what an inner block knows in a form that the head cannot
    read by itself, and it never met a forgotten record.
    """

    title = "Linear probe of inner blocks"
    source = "tuned lens, Belrose et al. 2023, arXiv 2303.08112, by least squares, against retrained models"
    question = Question.RECOVERABLE
    needs = frozenset(
        {
            EvidenceKind.FORGET,
            EvidenceKind.RETAIN,
            EvidenceKind.REFERENCES,
            EvidenceKind.TOKENS,
            EvidenceKind.INNER,
        }
    )
    better = Direction.LOWER
    unit = "probability"
    cannot_see = "what no linear map of one block reads, and what is put together in the last block"

    def cost(self, n: int, references: int) -> Cost:
        """Return a pass over the forgotten records and one over as many retained ones, on each model."""
        return Cost(read=2 * n * (references + 1))

    def measure(self, evidence: Evidence) -> Measurement | NotMeasured:
        """Return the mean over records of the largest mean probability, paired with the references."""
        because = evidence.lacks("forget", "retain", tokens=True) or evidence.lacks_array(
            "probe", "the inner blocks of a model cannot be read"
        )
        if because:
            return NotMeasured(check=self.name, because=because)
        # Named apart from the retained part: what is measured is forgotten.
        return evidence.compare_means(self, ("forget",), lambda model: evidence.inner(model, "probe").max(axis=1))
