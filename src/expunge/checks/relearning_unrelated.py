"""Relearning from unrelated texts: does training on texts that nobody asked to forget bring the forgotten ones back?"""

from __future__ import annotations

import numpy as np

from expunge.core.check import Check, Direction, EvidenceKind, Measurement, NotMeasured, Question
from expunge.core.method import Cost
from expunge.engine.evidence import Evidence
from expunge.engine.relearning import RelearningConfig
from expunge.engine.treatments import OTHERS, TRAINED


class RelearningUnrelated(Check):
    """Mean extraction strength on the forgotten records over the passes of a short training on held-out records.

    What was only hidden may come back by training on anything: here on texts of others that no model was trained on,
    as many as are judged and forty at most, none with the answer of a forgotten one. References get the same treatment:
    same records, optimiser, order and seeds.
    """

    title = "Relearning from unrelated texts"
    source = "Łucki et al. 2024, arXiv 2409.18025, as a difference of areas; metric: extraction strength"
    question = Question.RECOVERABLE
    needs = frozenset(
        {
            EvidenceKind.FORGET,
            EvidenceKind.REFERENCES,
            EvidenceKind.TOKENS,
            EvidenceKind.GRADIENTS,
            EvidenceKind.UNRELATED,
        }
    )
    better = Direction.LOWER
    unit = "share"
    cannot_see = "memory that more texts or steps would bring back, or texts of another kind than the held-out ones"

    def cost(self, n: int, references: int) -> Cost:
        """Return the passes over the texts and of asking for the records after each, on each model; by default."""
        passes, texts = RelearningConfig().epochs * (references + 1), min(n, TRAINED)
        return Cost(trained=passes * texts, read=passes * (texts + n))

    def measure(self, evidence: Evidence) -> Measurement | NotMeasured:
        """Return the area under the curve of extraction strength, paired by record with the references."""
        because = evidence.lacks("forget", tokens=True) or evidence.lacks_array(
            OTHERS, "no held-out text has another answer than the forgotten ones"
        )
        if because:
            return NotMeasured(check=self.name, because=because)
        return evidence.compare_means(
            self, ("forget",), lambda model: np.asarray(np.mean(evidence.after(model, OTHERS), axis=0))
        )
