"""Is what the model answers to forgotten questions still language, or does it repeat itself?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from expunge.core.check import Check, Direction, EvidenceKind, Measurement, NotMeasured, Question
from expunge.core.method import Cost
from expunge.engine.evidence import Evidence
from expunge.engine.written import MOST


class Fluency(Check):
    """Entropy of the pairs and triples of tokens in the model's own answers to forgotten questions.

    A third of the entropy of pairs and two of that of triples, the mean over answers. Low where a model stammers, as
    after too much gradient ascent, or says next to nothing; high where it rambles on.
    """

    title = "Fluency of answers to forgotten questions"
    source = "n-gram entropy, Zhang et al. 2018, arXiv 1809.05972; weights: ROME, Meng et al. 2022, arXiv 2202.05262"
    question = Question.INTACT
    needs = frozenset({EvidenceKind.FORGET, EvidenceKind.REFERENCES, EvidenceKind.TOKENS, EvidenceKind.WRITTEN})
    better = Direction.HIGHER
    unit = "bits"
    cannot_see = "nonsense that does not repeat itself, and answers to other questions"

    def cost(self, n: int, references: int) -> Cost:
        """Return two passes for an answer of the model's own to each record, on each model."""
        return Cost(read=2 * min(n, MOST) * (references + 1))

    def measure(self, evidence: Evidence) -> Measurement | NotMeasured:
        """Return the mean entropy, paired by record with the references."""
        because = evidence.lacks("forget", tokens=True) or evidence.lacks_array(
            "written forget", "no forgotten record has a question with room for an answer"
        )
        if because:
            return NotMeasured(check=self.name, because=because)
        return evidence.compare_means(self, ("forget",), lambda model: _entropy(evidence, model))


def _entropy(evidence: Evidence, model: str) -> NDArray[np.float64]:
    said = evidence.composed(model, "forget")
    return (said.bigrams + 2.0 * said.trigrams) / 3.0
