"""How sure the model is of the labels that were to be forgotten on inputs beside the forgotten ones."""

from __future__ import annotations

import numpy as np

from expunge.core.check import Check, Direction, EvidenceKind, Measurement, NotMeasured, Question
from expunge.core.method import Cost
from expunge.engine import around
from expunge.engine.evidence import Evidence
from expunge.numerics.membership import spread


class PerturbedConfidence(Check):
    """Mean confidence of the label on slightly moved forgotten inputs, each record by its own spread over references.

    What a network memorises it says of the inputs around a record too; what only filters its outputs knows the
    record itself. All models are asked about the same copies, moved by noise or with one value exchanged.
    """

    title = "Confidence beside the forgotten records"
    source = "membership over a range, Tao and Shokri 2024, arXiv 2408.05131, with references as the out-models"
    question = Question.RECOVERABLE
    needs = frozenset({EvidenceKind.FORGET, EvidenceKind.REFERENCES, EvidenceKind.AROUND})
    better = Direction.LOWER
    unit = "sd"
    cannot_see = "a filter that also knows inputs this near, and memory that shows on the exact input only"

    def cost(self, n: int, references: int) -> Cost:
        """Return a forward pass over every copy that noise moves, on each model; of other copies there are more."""
        return Cost(read=around.DRAWS * n * (references + 1))

    def measure(self, evidence: Evidence) -> Measurement | NotMeasured:
        """Return the scaled confidence beside the records, paired by record with the references."""
        nothing = "nothing lies beside the records: inputs are neither continuous numbers nor a row of four values"
        because = evidence.lacks("forget") or evidence.lacks_array(evidence.beside, nothing)
        if because:
            return NotMeasured(check=self.name, because=because)
        said = {model: evidence.around(model) for model in evidence.models}
        scale = spread(np.stack([said[model] for model in evidence.references]))
        return evidence.compare_means(self, ("forget",), lambda model: said[model] / scale)
