"""Rounding to few bits: does it bring back what was forgotten?"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from expunge.core.check import Check, Direction, EvidenceKind, Measurement, NotMeasured, Question
from expunge.core.method import Cost
from expunge.engine.evidence import Evidence
from expunge.engine.treatments import BITS

Array = NDArray[np.float64]


class Quantised(Check):
    """Mean extraction strength on the forgotten records after rounding weights to 8 or to 4 bits, the larger of both.

    A small change of a weight is rounded away, and with it what the change made forgotten. Original and references are
    rounded in the same way: to the nearest, a step for each output of a linear layer; embeddings and the output head
    stay.
    """

    title = "Extraction strength after rounding to 8 or 4 bits"
    source = "Zhang et al. 2025, arXiv 2410.16454, as a difference from retrained models"
    question = Question.RECOVERABLE
    needs = frozenset({EvidenceKind.FORGET, EvidenceKind.REFERENCES, EvidenceKind.TOKENS, EvidenceKind.ROUNDED})
    better = Direction.LOWER
    unit = "share"
    cannot_see = "what other ways of rounding bring back: NF4, groups of inputs, roundings fitted to data"

    def cost(self, n: int, references: int) -> Cost:
        """Return a pass over the records for each width, on each model."""
        return Cost(read=len(BITS) * n * (references + 1))

    def measure(self, evidence: Evidence) -> Measurement | NotMeasured:
        """Return the mean over records of the larger strength, paired by record with the references."""
        because = evidence.lacks("forget", tokens=True)
        names = {bits: f"{bits} bits" for bits in BITS}
        for name in names.values():
            because = because or evidence.lacks_array(name, "a model has no linear weights, or some are not finite")
        if because:
            return NotMeasured(check=self.name, because=because)

        def strength(model: str, bits: int) -> Array:
            return evidence.treated(model, names[bits]).extraction

        details = {f"at {bits} bits": _said(evidence, lambda model, bits=bits: strength(model, bits)) for bits in BITS}
        return evidence.compare_means(
            self,
            ("forget",),
            lambda model: np.maximum.reduce([strength(model, bits) for bits in BITS]),
            details={"as it came": _said(evidence, lambda model: evidence.outputs(model, "forget").extraction)}
            | details,
        )


def _said(evidence: Evidence, strength: Callable[[str], Array]) -> str:
    means = {model: float(strength(model).mean()) for model in evidence.judged}
    alone = [means[model] for model in evidence.references if model != evidence.candidate]
    return f"{means[evidence.candidate]:.3f} (references {min(alone):.3f} to {max(alone):.3f})"
