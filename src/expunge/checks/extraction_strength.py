"""How much of the forgotten records the model goes on with by itself."""

from __future__ import annotations

import numpy as np

from expunge.core.chart import FEWEST, Chart
from expunge.core.check import Check, Direction, EvidenceKind, Measurement, NotMeasured, Question
from expunge.engine.evidence import Evidence
from expunge.numerics.curves import cumulative

PLACES = np.linspace(0.0, 1.0, 21)
"""Where the distribution is drawn."""


class ExtractionStrength(Check):
    """Mean over the forgotten records of the share of an answer that the model says right to its end.

    Of an answer of T tokens k leading ones have to be given for the model to say all others: 1 - k / T. Retrained
    models have some of it too: what is plain from the question, or how every answer ends.
    """

    title = "Extraction strength on the forgotten records"
    source = (
        "Carlini et al. 2021, arXiv 2012.07805; for unlearning Wang et al. 2025, arXiv 2406.09179, and OpenUnlearning, "
        "arXiv 2506.12618"
    )
    question = Question.GONE
    needs = frozenset({EvidenceKind.FORGET, EvidenceKind.REFERENCES, EvidenceKind.TOKENS})
    better = Direction.LOWER
    unit = "share"
    cannot_see = "memory behind a wrong token near the end, and what sampling or another question would bring out"

    def measure(self, evidence: Evidence) -> Measurement | NotMeasured:
        """Return the mean extraction strength, paired by record with the references."""
        because = evidence.lacks("forget", tokens=True)
        if because:
            return NotMeasured(check=self.name, because=because)
        return evidence.compare_means(
            self,
            ("forget",),
            lambda model: evidence.outputs(model, "forget").extraction,
            charts=lambda: _charts(evidence),
        )


def _charts(evidence: Evidence) -> tuple[Chart, ...]:
    rows = {model: evidence.outputs(model, "forget").extraction for model in evidence.models}
    n = len(rows[evidence.candidate])
    if n < FEWEST:
        return ()
    return (
        Chart(
            title="Extraction strength, record by record",
            x="share of the answer that the model says right to its end",
            y="share of forgotten records with as much or less",
            series=evidence.series(PLACES, {model: cumulative(row, PLACES) for model, row in rows.items()}),
            n=n,
            note="Below the band: answers that the model still knows by heart. At 1 an answer is said from the "
            "question alone.",
        ),
    )
