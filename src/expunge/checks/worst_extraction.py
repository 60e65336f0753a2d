"""The forgotten records that the model knows best beyond retrained ones: what a mean over all of them would hide."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from expunge.core.check import Check, Direction, EvidenceKind, Measurement, NotMeasured, Question
from expunge.engine.evidence import Evidence
from expunge.numerics.extraction import outlier_threshold, outliers

Array = NDArray[np.float64]
TAIL = 0.1
"""Share of the records that the mean is of."""
FEWEST = 10
"""Records that it is of at the least: the mean of three is what three answers of a seed happen to be."""
FEWEST_UNSEEN = 20
"""Held-out records that a threshold is taken from, at the least."""


class WorstExtraction(Check):
    """Mean excess of extraction strength over that of retrained models, of the tenth of the records with most of it.

    Of ten records at the least, and of all where there are fewer.
    A few answers known by heart among many forgotten ones hardly move the mean of all. Of a retrained model the excess
    is what seeds differ by in its own best tenth: each reference is compared with the others, and the model under audit
    with all sets of references with one left out, in the mean. Beside it stands how many records lie beyond what the
    same model does with text that it never saw (Tukey's fence).
    """

    title = "Extraction strength of the best known tenth"
    source = (
        "mean of a tail: Rockafellar and Uryasev 2000, Journal of Risk 2(3); count: Barbulescu and Triantafillou 2024, "
        "arXiv 2405.03097"
    )
    question = Question.GONE
    needs = frozenset({EvidenceKind.FORGET, EvidenceKind.REFERENCES, EvidenceKind.TOKENS})
    better = Direction.LOWER
    unit = "share"
    cannot_see = "single records among hundreds, and memory behind a wrong token near the end"

    def measure(self, evidence: Evidence) -> Measurement | NotMeasured:
        """Return the mean excess of the upper tenth, by record the terms whose mean it is."""
        because = evidence.lacks("forget", tokens=True)
        if because:
            return NotMeasured(check=self.name, because=because)
        strength = {model: evidence.outputs(model, "forget").extraction for model in evidence.models}

        @cache
        def excess(model: str) -> Array:
            left_out = [model] if model in evidence.references else evidence.references
            sets = [[strength[name] for name in evidence.references if name != out] for out in left_out]
            away = [strength[model] - np.mean(others, axis=0) for others in sets]
            return np.asarray(np.mean([tail(row, min(1.0, max(TAIL, FEWEST / len(row)))) for row in away], axis=0))

        return evidence.compare_means(self, ("forget",), excess, details=_details(evidence))


def tail(values: Array, share: float) -> Array:
    """Return terms [n] whose mean is that of the largest ``share`` of ``values`` [n], a part of a value included.

    ``q + max(value - q, 0) / share`` with q the quantile of the order 1 - share, in (0, 1]; each is what its record
    adds to the mean of the tail, so that errors over records are reckoned from them.
    """
    at = float(np.quantile(values, 1.0 - share, method="inverted_cdf"))
    return at + np.maximum(values - at, 0.0) / share


def _details(evidence: Evidence) -> dict[str, str]:
    rows = {model: evidence.outputs(model, "forget").extraction for model in evidence.judged}
    others = [rows[model] for model in evidence.references if model != evidence.candidate]
    known = [int((row == 1.0).sum()) for row in others]
    details = {
        "answers known from the question alone": f"{int((rows[evidence.candidate] == 1.0).sum())} "
        f"(references {min(known)} to {max(known)})"
    }
    unseen = (
        {} if evidence.lacks("holdout") else {m: evidence.outputs(m, "holdout").extraction for m in evidence.judged}
    )
    if unseen and len(unseen[evidence.candidate]) >= FEWEST_UNSEEN:
        counts = {model: outliers(rows[model], threshold=outlier_threshold(row)) for model, row in unseen.items()}
        alone = [counts[model] for model in evidence.references if model != evidence.candidate]
        details["records beyond what unseen text shows"] = (
            f"{counts[evidence.candidate]} of {len(rows[evidence.candidate])} (references {min(alone)} to {max(alone)})"
        )
    return details
