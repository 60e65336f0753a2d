"""How sure the model is of the labels that were to be forgotten, each record measured by its own spread over seeds."""

from __future__ import annotations

import numpy as np

from expunge.core.check import Check, Direction, EvidenceKind, Measurement, NotMeasured, Question
from expunge.engine.evidence import Evidence
from expunge.numerics.membership import spread


class LabelConfidence(Check):
    """Mean over records of the logit-scaled confidence of the label, divided by its spread over references.

    The numerator of a per-record likelihood-ratio attack whose "never seen" law is that of the references. It sees
    what ranking and probabilities hide: a wrong label of which a retrained model says e^-20 and this one e^-8.
    The spread of a record is shrunk half-way towards that of all, since few references fix it badly.
    """

    title = "Confidence in the forgotten labels"
    source = "Carlini et al. 2022, arXiv 2112.03570, equation 3 and section VI-B, with references as the out-models"
    question = Question.GONE
    needs = frozenset({EvidenceKind.FORGET, EvidenceKind.REFERENCES})
    better = Direction.LOWER
    unit = "sd"
    cannot_see = "single records that are still known while the others make up for them in the mean"

    def measure(self, evidence: Evidence) -> Measurement | NotMeasured:
        """Return the mean scaled confidence, paired by record with the references."""
        because = evidence.lacks("forget")
        if because:
            return NotMeasured(check=self.name, because=because)
        scale = spread(np.stack([evidence.outputs(model, "forget").confidence for model in evidence.references]))
        return evidence.compare_means(
            self, ("forget",), lambda model: evidence.outputs(model, "forget").confidence / scale
        )
