"""Relearning of the rest: does training on some of the forgotten texts bring back the others?"""

from __future__ import annotations

import numpy as np

from expunge.core.check import Check, Direction, EvidenceKind, Measurement, NotMeasured, Question
from expunge.core.method import Cost
from expunge.engine.evidence import Evidence
from expunge.engine.relearning import RelearningConfig


class RelearningRelated(Check):
    """Mean extraction strength on some of the forgotten records over the passes of a short training on the others.

    What was hidden and not removed comes back with its like; a model that never knew it learns nothing of it that way.
    Records that tell of one thing, or of one subject where there are several, are all on one side. References get the
    same treatment: same records, optimiser, order and seeds.
    """

    title = "Relearning from the other forgotten records"
    source = "Deeb and Roger 2024, arXiv 2410.08827, as a difference of areas; metric: extraction strength"
    question = Question.RECOVERABLE
    needs = frozenset(
        {
            EvidenceKind.FORGET,
            EvidenceKind.REFERENCES,
            EvidenceKind.TOKENS,
            EvidenceKind.GRADIENTS,
            EvidenceKind.RELATED,
        }
    )
    better = Direction.LOWER
    unit = "share"
    cannot_see = (
        "memory that more steps, another optimiser or texts from elsewhere would bring back; and answers that the "
        "other records give away in other words, which retrained models learn there as well"
    )

    def cost(self, n: int, references: int) -> Cost:
        """Return the passes of one training per model, as many as by default; a policy may ask for more or fewer."""
        visits = RelearningConfig().epochs * n * (references + 1)
        return Cost(trained=visits, read=visits)

    def measure(self, evidence: Evidence) -> Measurement | NotMeasured:
        """Return the area under the curve of extraction strength, paired by record with the references."""
        because = evidence.lacks("forget", tokens=True) or evidence.lacks_array(
            "related", "no forgotten record is judged that has nothing in common with the others"
        )
        if because:
            return NotMeasured(check=self.name, because=because)
        return evidence.compare_means(
            self, ("forget",), lambda model: np.asarray(np.mean(evidence.related(model), axis=0))
        )
