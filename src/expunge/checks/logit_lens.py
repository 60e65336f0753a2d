"""Do inner blocks still know the forgotten answers, read through the model's own head?"""

from __future__ import annotations

from expunge.core.check import Check, Direction, EvidenceKind, Measurement, NotMeasured, Question
from expunge.engine.evidence import Evidence


class LogitLens(Check):
    """Mean probability of a token of the forgotten answers at the inner block that knows most of its record.

    What a model knows is often there some blocks before the last one; a method that changes the last ones only hides
    it. Each inner block is read by the model's last norm and head as if the blocks behind it were not there.
    """

    title = "Forgotten tokens read off inner blocks"
    source = "logit lens, nostalgebraist 2020, as in arXiv 2605.24614, against retrained models"
    question = Question.RECOVERABLE
    needs = frozenset({EvidenceKind.FORGET, EvidenceKind.REFERENCES, EvidenceKind.TOKENS, EvidenceKind.INNER})
    better = Direction.LOWER
    unit = "probability"
    cannot_see = "what inner blocks know in another form than the head reads, and what the last block puts together"

    def measure(self, evidence: Evidence) -> Measurement | NotMeasured:
        """Return the mean over records of the largest mean probability, paired with the references."""
        because = evidence.lacks("forget", tokens=True) or evidence.lacks_array(
            "lens", "the inner blocks of a model cannot be read"
        )
        if because:
            return NotMeasured(check=self.name, because=because)
        return evidence.compare_means(self, ("forget",), lambda model: evidence.inner(model, "lens").max(axis=1))
