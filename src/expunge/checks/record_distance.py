"""How far each forgotten record lies from what retrained models say of it, on either side."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from expunge.core.chart import FEWEST, Chart
from expunge.core.check import Check, Direction, EvidenceKind, Measurement, NotMeasured, Question
from expunge.engine.evidence import Evidence
from expunge.numerics.curves import cumulative
from expunge.numerics.membership import deviation

Array = NDArray[np.float64]
PLACES = np.linspace(0.0, 8.0, 33)
"""Where the distribution is drawn, in spreads of a record."""
FAR = 3.0
"""Spreads beyond which a record is counted in the details; a record of a true retrain is there once in some hundred."""


class RecordDistance(Check):
    """Mean over records of ln(1 + z^2), z being the deviation of a record's confidence from the references'.

    A mean over signed deviations is the same when half of the records are still known and half are pushed too far,
    and hardly moves for a few loud ones; this one moves. Neither can it be made perfect: retrained models lie 0.5
    nats from each other, and a model that was fitted to their mean lies nearer than they do. The logarithm (Cauchy's
    likelihood) keeps one record from ruling, and leaves room above.

    Each reference is compared with the others. The model under audit is compared with the same number: all sets of
    references with one left out, in the mean. So the value of a true retrain does not depend on their number.
    """

    title = "Distance of each forgotten record"
    source = "per-record deviations of Carlini et al. 2022, arXiv 2112.03570; the logarithm: Black and Rangarajan 1996"
    question = Question.GONE
    needs = frozenset({EvidenceKind.FORGET, EvidenceKind.REFERENCES})
    better = Direction.LOWER
    unit = "nats"
    cannot_see = "memory that shows on other inputs only, and one or two records in a hundred"

    def measure(self, evidence: Evidence) -> Measurement | NotMeasured:
        """Return the mean distance, paired by record with the references."""
        because = evidence.lacks("forget")
        if because:
            return NotMeasured(check=self.name, because=because)
        said = {model: evidence.outputs(model, "forget").confidence for model in evidence.models}

        @cache
        def deviations(model: str) -> Array:
            """Return z against every set of references that is due, [sets, n]."""
            left_out = [model] if model in evidence.references else evidence.references
            sets = [np.stack([said[name] for name in evidence.references if name != out]) for out in left_out]
            return np.stack([deviation(said[model], references) for references in sets])

        return evidence.compare_means(
            self,
            ("forget",),
            lambda model: np.asarray(np.log1p(deviations(model) ** 2).mean(axis=0)),
            details=_details(evidence, {model: deviations(model) for model in evidence.judged}),
            charts=lambda: _charts(evidence, {model: deviations(model) for model in evidence.models}),
        )


def _details(evidence: Evidence, deviations: dict[str, Array]) -> dict[str, str]:
    def far(side: int) -> str:
        shares = {model: float((side * z > FAR).mean()) for model, z in deviations.items()}
        others = [shares[model] for model in evidence.references if model != evidence.candidate]
        return f"{shares[evidence.candidate]:.1%} (references {min(others):.1%} to {max(others):.1%})"

    return {
        f"records known better than by retrained models by {FAR:g} spreads": far(1),
        f"records known less well by {FAR:g} spreads": far(-1),
    }


def _charts(evidence: Evidence, deviations: dict[str, Array]) -> tuple[Chart, ...]:
    n = deviations[evidence.candidate].shape[1]
    if n < FEWEST:
        return ()
    curves = {model: cumulative(np.abs(z).mean(axis=0), PLACES) for model, z in deviations.items()}
    return (
        Chart(
            title="Distance from retrained models, record by record",
            x="distance, in spreads of the record over retrained models",
            y="share of forgotten records as near or nearer",
            series=evidence.series(PLACES, curves),
            n=n,
            note=(
                "Retrained models differ from each other as the band shows. A curve below it: records that are still "
                "known, or pushed too far; one above it: a model that was fitted to what retrained models say."
            ),
        ),
    )
