"""How far the outputs on the forgotten records are from those of retrained models."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from expunge.core.chart import FEWEST, Chart
from expunge.core.check import Check, Direction, EvidenceKind, Measurement, NotMeasured, Question
from expunge.engine.evidence import Evidence
from expunge.numerics.curves import cumulative

Array = NDArray[np.float64]
PLACES = np.linspace(0.0, 1.0, 21)
"""Where the distribution is drawn: the square root of a divergence lies in [0, 1]."""


class OutputDivergence(Check):
    """Mean Jensen-Shannon divergence of a model's outputs from those of the references.

    A reference is compared with the others, so a true retrain has the references' value, not 0. The
    quantity is a U-statistic: to first order the spread of the leave-one-out values is (K - 2)/(K - 1)
    times that of a new model (Hoeffding 1948), which ``seed_scale`` makes good.
    """

    title = "Divergence of outputs on the forgotten records"
    source = "Lin 1991 (divergence); reference against reference as the null"
    question = Question.GONE
    needs = frozenset({EvidenceKind.FORGET, EvidenceKind.REFERENCES})
    better = Direction.LOWER
    unit = "bits"
    cannot_see = "memory that shows on other inputs only"

    def measure(self, evidence: Evidence) -> Measurement | NotMeasured:
        """Return the mean divergence from the references."""
        count = len(evidence.references)

        @cache
        def between(one: str, other: str) -> Array:
            return np.asarray(evidence.outputs(one, "forget").divergence(evidence.outputs(other, "forget")))

        @cache
        def from_references(model: str) -> Array:
            others = [other for other in evidence.references if other != model]
            return np.asarray(np.mean([between(*sorted((model, other))) for other in others], axis=0))

        return evidence.compare_means(
            self,
            ("forget",),
            from_references,
            seed_scale=(count - 1) / max(1, count - 2),
            charts=lambda: _charts(evidence, {model: from_references(model) for model in evidence.models}),
        )


def _charts(evidence: Evidence, rows: dict[str, Array]) -> tuple[Chart, ...]:
    n = len(rows[evidence.candidate])
    if n < FEWEST:
        return ()
    # The square root is a metric (Endres and Schindelin 2003) and spreads out what is near 0.
    curves = {model: cumulative(np.sqrt(row), PLACES) for model, row in rows.items()}
    return (
        Chart(
            title="Divergence of outputs, record by record",
            x="distance from retrained models (square root of the divergence in bits)",
            y="share of forgotten records as near or nearer",
            series=evidence.series(PLACES, curves),
            n=n,
            note="Retrained models differ from each other as the band shows; a curve below it is farther away.",
        ),
    )
