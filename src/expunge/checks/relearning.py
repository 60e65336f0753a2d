"""Relearning: trained on the forgotten records again, is the model faster than a retrained one?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from expunge.core.chart import FEWEST, Chart
from expunge.core.check import Check, Direction, EvidenceKind, Measurement, NotMeasured, Question
from expunge.core.method import Cost
from expunge.engine.evidence import Evidence
from expunge.engine.relearning import RelearningConfig

Array = NDArray[np.float64]


class Relearning(Check):
    """Mean accuracy on the forgotten records over the passes of a short training on them.

    Latent memory shows as speed. References get the same treatment: same optimiser, order and seeds.
    """

    title = "Relearning"
    source = "anamnesis index, Chundawat et al. 2022, arXiv 2201.05629, as a difference of areas"
    question = Question.RECOVERABLE
    needs = frozenset({EvidenceKind.FORGET, EvidenceKind.REFERENCES, EvidenceKind.GRADIENTS})
    better = Direction.LOWER
    unit = "share"
    cannot_see = "memory that another optimiser, more steps or related data would bring back"

    def cost(self, n: int, references: int) -> Cost:
        """Return the passes of one relearning per model, as many as by default; a policy may ask for more or fewer."""
        visits = RelearningConfig().epochs * n * (references + 1)
        return Cost(trained=visits, read=visits)

    def measure(self, evidence: Evidence) -> Measurement | NotMeasured:
        """Return the area under the relearning curve, paired by record with the references."""
        if not evidence.has("relearned"):
            because = "the models are no networks: nothing of them can be trained further"
            return NotMeasured(check=self.name, because=because)

        def area(model: str) -> Array:
            return np.asarray(np.mean(evidence.relearned(model), axis=0))

        return evidence.compare_means(self, ("forget",), area, charts=lambda: _charts(evidence))


def _charts(evidence: Evidence) -> tuple[Chart, ...]:
    """Return accuracy by pass, pass 0 being the model as it came."""
    passes, n = evidence.relearned(evidence.candidate).shape
    if n < FEWEST:
        return ()
    curves = {
        model: np.array([evidence.outputs(model, "forget").correct.mean(), *evidence.relearned(model).mean(axis=1)])
        for model in evidence.models
    }
    return (
        Chart(
            title="Relearning the forgotten records",
            x="passes over the forgotten records",
            y="share of forgotten records answered as labelled",
            series=evidence.series(np.arange(passes + 1, dtype=np.float64), curves),
            n=n,
            note="A model that still holds the records climbs faster than retrained ones; pass 0 is before training.",
        ),
    )
