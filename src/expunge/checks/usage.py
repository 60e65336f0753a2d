"""How much of the forgotten set is still in use: 0 as after retraining, 1 as in the original."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from expunge.core.check import Check, Direction, EvidenceKind, Measurement, NotMeasured, Question
from expunge.engine.evidence import Evidence
from expunge.numerics.attack import attack
from expunge.numerics.usage import usage

Array = NDArray[np.float64]
FALSE_ALARMS = 0.01
"""Share of (reference, record) pairs that are called in use; the fewer, the less the share varies between seeds."""
LEAST = 0.1
"""Share of records that must be caught on the original beyond false alarms: else a share cannot be stated."""


class Usage(Check):
    """Share of the forgotten records of which an attack says that they are in use, put right by its two error rates.

    The attack that so many references carry calls a record "in use" where its score exceeds all but one in a hundred
    of those that references get against each other. How many it catches where all are in use is seen on the original.
    """

    title = "Share of the forgotten records still in use"
    source = "DUCI, Tong et al. 2025 (ICLR), with the rates of the attack taken from the original and the references"
    question = Question.GONE
    needs = frozenset({EvidenceKind.FORGET, EvidenceKind.REFERENCES})
    better = Direction.LOWER
    unit = "share"
    cannot_see = "records that the attack misses on the original too, and memory that leaves the label improbable"
    exempt: ClassVar[Mapping[str, str]] = {
        "forgetting_too_much_is_found": "no share of records is less in use than none; record_distance sees it"
    }

    def measure(self, evidence: Evidence) -> Measurement | NotMeasured:
        """Return the share, paired by record with the references."""
        because = evidence.lacks("forget") or evidence.twins("forget")
        if because:
            return NotMeasured(check=self.name, because=because)
        said = {model: evidence.outputs(model, "forget").confidence for model in evidence.models}
        scores = {
            model: attack(row, references=np.stack([said[r] for r in evidence.references if r != model])).score
            for model, row in said.items()
        }
        alone = np.stack([scores[model] for model in evidence.references])
        threshold = float(np.quantile(alone, 1.0 - FALSE_ALARMS))
        false, caught = float((alone > threshold).mean()), float((scores[evidence.original] > threshold).mean())
        if caught - false < LEAST:
            return NotMeasured(
                check=self.name,
                because=f"on the original the attack catches {caught:.1%} of the forgotten records, "
                f"{LEAST:.0%} more than its false alarms are needed",
            )
        found = usage(scores[evidence.candidate] > threshold, tpr=caught, fpr=false)
        return evidence.compare_means(
            self,
            ("forget",),
            lambda model: ((scores[model] > threshold) - false) / (caught - false),
            details={
                "in use": f"{found.share:.0%} of the forgotten records (95%: {found.low:.0%} to {found.high:.0%})",
                "attack": f"catches {caught:.1%} on the original, at {false:.1%} false alarms on references",
            },
        )
