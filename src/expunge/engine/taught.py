"""What comes back of the forgotten texts by a short training on other texts: one check for each kind of them."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from expunge.core.check import Check, Direction, EvidenceKind, Measurement, NotMeasured, Question
from expunge.core.method import Cost
from expunge.engine.evidence import Evidence
from expunge.engine.relearning import RelearningConfig
from expunge.engine.treatments import TRAINED

NEEDS = frozenset({EvidenceKind.FORGET, EvidenceKind.REFERENCES, EvidenceKind.TOKENS, EvidenceKind.GRADIENTS})


class TaughtElsewhere(Check):
    """A check that asks for the forgotten records after each pass of a short training on other texts.

    Class attributes: ``training``, which texts these are (``treatments.NEIGHBOURS`` or ``OTHERS``); ``without``, what
    is missing where there are none of them.
    """

    question = Question.RECOVERABLE
    better = Direction.LOWER
    unit = "share"
    training: ClassVar[str]
    without: ClassVar[str]

    def cost(self, n: int, references: int) -> Cost:
        """Return the passes over the texts and of asking for the records after each, on each model; by default."""
        passes, texts = RelearningConfig().epochs * (references + 1), min(n, TRAINED)
        return Cost(trained=passes * texts, read=passes * (texts + n))

    def measure(self, evidence: Evidence) -> Measurement | NotMeasured:
        """Return the area under the curve of extraction strength, paired by record with the references."""
        because = evidence.lacks("forget", tokens=True) or evidence.lacks_array(self.training, self.without)
        if because:
            return NotMeasured(check=self.name, because=because)
        return evidence.compare_means(
            self, ("forget",), lambda model: np.asarray(np.mean(evidence.after(model, self.training), axis=0))
        )
