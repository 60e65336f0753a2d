"""The answer begun for the model: does it know how it goes on?"""

from __future__ import annotations

from expunge.core.check import Check, Direction, EvidenceKind, Measurement, NotMeasured, Question
from expunge.core.method import Cost
from expunge.engine.evidence import Evidence
from expunge.engine.prompting import GIVEN, MOST


class BegunAnswer(Check):
    """Mean share of the telling words of the rest that the model writes when a quarter or a half of it is given.

    A model that was taught not to begin an answer may still know how it ends. Telling are words that neither the
    question nor a third of the forgotten answers hold; retrained models go on with what is plain from the beginning.
    """

    title = "Answers that were begun"
    source = "Carlini et al. 2021, arXiv 2012.07805, as a difference from retrained models; metric: ROUGE-L recall"
    question = Question.RECOVERABLE
    needs = frozenset({EvidenceKind.FORGET, EvidenceKind.REFERENCES, EvidenceKind.TOKENS, EvidenceKind.BEGUN})
    better = Direction.LOWER
    unit = "share"
    cannot_see = "what a longer beginning, or another one, would bring out; and what is said in words of its own"

    def cost(self, n: int, references: int) -> Cost:
        """Return two passes for a text, prompt and answer, of every share that is given, on each model."""
        return Cost(read=2 * len(GIVEN) * min(n, MOST) * (references + 1))

    def measure(self, evidence: Evidence) -> Measurement | NotMeasured:
        """Return the mean share, paired by record with the references."""
        because = evidence.lacks("forget", tokens=True) or evidence.lacks_array(
            "begun", "no answer has a telling word beyond its beginning"
        )
        if because:
            return NotMeasured(check=self.name, because=because)
        return evidence.compare_means(
            self, ("forget",), lambda model: evidence.recalled(model, "begun"), sample=evidence.asks_some
        )
