"""Does the model still represent the forgotten records as their labels, whatever its last layer says?"""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from expunge.core.check import Check, Direction, EvidenceKind, Measurement, NotMeasured, Question
from expunge.core.method import Cost
from expunge.engine.evidence import Evidence
from expunge.engine.parts import REPRESENTED
from expunge.numerics.similarity import DEBIASED_RECORDS, Probe, debiased_cka, linear_probe

Array = NDArray[np.float64]


class Representation(Check):
    """Mean held-out score of the forgotten labels under a linear probe of what the last layer is given.

    A model of which only the last layer was changed hides what its features still hold: another last layer reads it.
    The probe is fitted to retained and forgotten records, each forgotten one scored by the fit without it, so that it
    also reads classes of which no retained record is left. The score and not the accuracy: it varies less between
    seeds, and more with what is remembered.
    """

    title = "Linear probe of the representation"
    source = "Alain and Bengio 2017, arXiv 1610.01644; shuffled labels as the control: Hewitt and Liang 2019"
    question = Question.RECOVERABLE
    needs = frozenset({EvidenceKind.FORGET, EvidenceKind.RETAIN, EvidenceKind.REFERENCES, EvidenceKind.FEATURES})
    better = Direction.LOWER
    unit = "score"
    cannot_see = "memory in layers below that no linear layer reads from the last one"

    def cost(self, n: int, references: int) -> Cost:
        """Return one forward pass over the forgotten records, and one over as many retained ones, on each model."""
        return Cost(read=2 * n * (references + 1))

    def measure(self, evidence: Evidence) -> Measurement | NotMeasured:
        """Return the mean score, paired by record with the references."""
        because = _lacks(evidence)
        if because:
            return NotMeasured(check=self.name, because=because)
        labels = _labels(evidence)

        @cache
        def probe(model: str) -> Probe:
            return linear_probe(
                evidence.features(model, "forget"),
                labels=labels["forget"],
                others=evidence.features(model, "retain"),
                other_labels=labels["retain"],
            )

        return evidence.compare_means(
            self, ("forget",), lambda model: probe(model).score, details=_details(evidence, probe(evidence.candidate))
        )


def _lacks(evidence: Evidence) -> str:
    unknown = "the task knows no features of this model"
    reasons = [evidence.lacks(*REPRESENTED), *(evidence.lacks_array(f"features {p}", unknown) for p in REPRESENTED)]
    if any(reasons):
        return next(filter(None, reasons))
    if evidence.outputs(evidence.candidate, "forget").classes is None:
        return "the answers are numbers: the probe reads classes"
    classes = np.unique(np.concatenate(list(_labels(evidence).values())))
    return "" if len(classes) > 1 else "all records have one label"


def _labels(evidence: Evidence) -> dict[str, NDArray[np.int64]]:
    return {part: evidence.outputs(evidence.candidate, part).target for part in REPRESENTED}


def _details(evidence: Evidence, probe: Probe) -> dict[str, str]:
    details = {"score of shuffled labels (control)": f"{probe.control.mean():.3f}"}
    if len(probe.score) >= DEBIASED_RECORDS:
        own = [name for name in evidence.references if name != evidence.candidate]
        alike = [_alike(evidence, evidence.candidate, name) for name in own]
        pairs = [_alike(evidence, *pair) for pair in pairwise(own)]
        details["CKA with retrained models (debiased; easily fooled: read it beside the probe)"] = (
            f"{np.mean(alike):.3f} (pairs of references {min(pairs):.3f} to {max(pairs):.3f})"
        )
    return details


def _alike(evidence: Evidence, model: str, other: str) -> float:
    return debiased_cka(evidence.features(model, "forget"), other=evidence.features(other, "forget"))
