"""Relearning from neighbours: does training on retained texts like them bring the forgotten ones back?"""

from __future__ import annotations

import numpy as np

from expunge.core.check import Check, Direction, EvidenceKind, Measurement, NotMeasured, Question
from expunge.core.method import Cost
from expunge.engine.evidence import Evidence
from expunge.engine.relearning import RelearningConfig
from expunge.engine.treatments import NEIGHBOURS, TRAINED


class RelearningNeighbours(Check):
    """Mean extraction strength on the forgotten records over the passes of a short training on retained neighbours.

    Who wants the forgotten texts back has others about the like, without their answers: retained records near them, as
    many as are judged and forty at most, none with the answer of a forgotten one. References, which know these as well,
    get the same treatment: same records, optimiser, order and seeds.
    """

    title = "Relearning from retained neighbours"
    source = "Hu et al. 2024, arXiv 2406.13356, as a difference of areas; metric: extraction strength"
    question = Question.RECOVERABLE
    needs = frozenset(
        {
            EvidenceKind.FORGET,
            EvidenceKind.REFERENCES,
            EvidenceKind.TOKENS,
            EvidenceKind.GRADIENTS,
            EvidenceKind.NEIGHBOURING,
        }
    )
    better = Direction.LOWER
    unit = "share"
    cannot_see = "memory that more texts or steps, or texts that tell more of the forgotten ones, would bring back"

    def cost(self, n: int, references: int) -> Cost:
        """Return the passes over the texts and of asking for the records after each, on each model; by default."""
        passes, texts = RelearningConfig().epochs * (references + 1), min(n, TRAINED)
        return Cost(trained=passes * texts, read=passes * (texts + n))

    def measure(self, evidence: Evidence) -> Measurement | NotMeasured:
        """Return the area under the curve of extraction strength, paired by record with the references."""
        because = evidence.lacks("forget", tokens=True) or evidence.lacks_array(
            NEIGHBOURS, "no retained text near the forgotten ones has another answer"
        )
        if because:
            return NotMeasured(check=self.name, because=because)
        return evidence.compare_means(
            self, ("forget",), lambda model: np.asarray(np.mean(evidence.after(model, NEIGHBOURS), axis=0))
        )
