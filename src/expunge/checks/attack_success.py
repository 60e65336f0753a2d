"""Backdoors: how often does the trigger still lead to its class?"""

from __future__ import annotations

import numpy as np

from expunge.core.check import Check, Direction, EvidenceKind, Measurement, NotMeasured, Question
from expunge.engine.evidence import Evidence


class AttackSuccess(Check):
    """Share of held-out records with the trigger on them, none of its class, that are taken for that class."""

    title = "Success of the backdoor"
    source = "poisoning, Goel et al. 2024, arXiv 2402.14015"
    question = Question.GONE
    needs = frozenset({EvidenceKind.TRIGGER, EvidenceKind.REFERENCES})
    better = Direction.LOWER
    unit = "share"
    cannot_see = (
        "another trigger than the given one; and poisoned records that the request does not name teach the retrained "
        "models, too"
    )

    def measure(self, evidence: Evidence) -> Measurement | NotMeasured:
        """Return how many are taken for the class of the trigger, paired by record with the references."""
        because = "the problem gives no trigger" if evidence.target is None else evidence.lacks("triggered")
        if because:
            return NotMeasured(check=self.name, because=because)

        def taken(model: str) -> np.ndarray:
            said = evidence.outputs(model, "triggered")
            others = said.target != evidence.target
            return said.predicts(np.full(len(said.target), evidence.target))[others]

        return evidence.compare_means(self, ("triggered",), taken)
