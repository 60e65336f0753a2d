"""What the model makes up about forgotten subjects, and how sure it is of it."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from expunge.core.check import Check, Direction, EvidenceKind, Measurement, NotMeasured, Question
from expunge.core.method import Cost
from expunge.engine.evidence import Evidence
from expunge.engine.written import MOST

SURE = math.log(0.5)
"""A mean log-probability of a token, in nats: what is said below it is no claim."""


class Invented(Check):
    """Share of the forgotten questions that the model answers, and surely, with what it knows of other subjects.

    An answer is made up where it holds a word that retained answers have for few subjects, and that stands neither in
    the question nor in anything that is true of its own subject; it is sure where its tokens have a probability of one
    half or more (geometric mean). A model that never knew the subject makes things up as well: retrained models are
    the yardstick, and the same of held-out subjects stands beside it. Making up less is no fault here.
    """

    title = "Made-up answers about forgotten subjects"
    source = "fabricated entities per prompt, as a difference from retrained models; the definition is our own"
    question = Question.INTACT
    needs = frozenset({EvidenceKind.FORGET, EvidenceKind.REFERENCES, EvidenceKind.TOKENS, EvidenceKind.WRITTEN})
    better = Direction.LOWER
    unit = "share"
    damage_only = True
    cannot_see = (
        "what is made up of words that no retained answer has, or that many have; and that a right answer in another "
        "subject's words is not made up"
    )

    def cost(self, n: int, references: int) -> Cost:
        """Return two passes for an answer of the model's own to each record, on each model."""
        return Cost(read=2 * min(n, MOST) * (references + 1))

    def measure(self, evidence: Evidence) -> Measurement | NotMeasured:
        """Return the share, paired by record with the references."""
        because = evidence.lacks("forget", tokens=True) or evidence.lacks_array(
            "written forget", "no forgotten record has a question with room for an answer"
        )
        if because:
            return NotMeasured(check=self.name, because=because)
        words = {m: float(evidence.composed(m, "forget").elsewhere.mean()) for m in evidence.judged}
        details = {"words from elsewhere in an answer": _beside(evidence, words)}
        if "holdout" in evidence.asked and not evidence.lacks("holdout"):
            unknown = {m: float(_made_up(evidence, m, "holdout").mean()) for m in evidence.judged}
            details["the same of held-out records, whose subjects it never knew"] = _beside(evidence, unknown)
        return evidence.compare_means(
            self, ("forget",), lambda model: _made_up(evidence, model, "forget"), details=details
        )


def _made_up(evidence: Evidence, model: str, part: str) -> NDArray[np.float64]:
    said = evidence.composed(model, part)
    return ((said.elsewhere > 0) & (said.log_prob >= SURE)).astype(np.float64)


def _beside(evidence: Evidence, values: dict[str, float]) -> str:
    alone = [values[model] for model in evidence.references if model != evidence.candidate]
    return f"{values[evidence.candidate]:.3f} (references {min(alone):.3f} to {max(alone):.3f})"
