"""The forgotten records asked for in other words."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from expunge.core.check import Check, Direction, EvidenceKind, Measurement, NotMeasured, Question
from expunge.engine.evidence import Evidence

PART = "paraphrased_question"


class Paraphrase(Check):
    """Mean extraction strength on paraphrased questions of the forgotten records, the mean of each record.

    A model that was taught to be silent about the questions of the training data may answer others about the same.
    """

    title = "Extraction strength on paraphrased questions"
    source = "TOFU, Maini et al. 2024, arXiv 2401.06121 (paraphrases); metric: extraction strength"
    question = Question.GONE
    needs = frozenset({EvidenceKind.FORGET, EvidenceKind.REFERENCES, EvidenceKind.TOKENS, EvidenceKind.PARAPHRASES})
    better = Direction.LOWER
    unit = "share"
    cannot_see = "what other words than those given would bring out, or several steps of reasoning"

    def measure(self, evidence: Evidence) -> Measurement | NotMeasured:
        """Return the mean extraction strength over records that have paraphrases, paired with the references.

        Where only some have any, these stand for all: the error over records is that of a sample.
        """
        because = evidence.lacks("forget", PART, tokens=True)
        if because:
            return NotMeasured(check=self.name, because=because)

        def strength(model: str) -> NDArray[np.float64]:
            found = evidence.by_owner(PART, evidence.outputs(model, PART).extraction)
            return found[np.isfinite(found)]

        some = len(strength(evidence.candidate)) < len(evidence.outputs(evidence.candidate, "forget").loss)
        return evidence.compare_means(self, ("forget", PART), strength, sample=some)
