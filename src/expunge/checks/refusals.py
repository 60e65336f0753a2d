"""Does the model refuse to answer, where retrained models answer something?"""

from __future__ import annotations

from expunge.core.check import Check, Direction, EvidenceKind, Measurement, NotMeasured, Question
from expunge.core.method import Cost
from expunge.engine.evidence import Evidence
from expunge.engine.written import MOST

_BESIDE = {"neighbours": "neighbours", "retain": "retained records", "holdout": "held-out records"}


class Refusals(Check):
    """Share of the forgotten questions that the model's own answer refuses.

    A refusal is known by English phrases (``numerics/refusals``). Who is taught to refuse shows what was taken out;
    a model that never saw it refuses no more than elsewhere. The same of neighbours, retained and held-out records
    stands beside it: refusing spreads.
    """

    title = "Refusals of forgotten questions"
    source = "refusal rate, as a difference from retrained models; the phrases are our own"
    question = Question.INTACT
    needs = frozenset({EvidenceKind.FORGET, EvidenceKind.REFERENCES, EvidenceKind.TOKENS, EvidenceKind.WRITTEN})
    better = Direction.LOWER
    unit = "share"
    cannot_see = "refusals in other words than the listed ones, or in other languages"

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
        here = [part for part in _BESIDE if part in evidence.asked and evidence.has(f"written {part}")]
        return evidence.compare_means(
            self,
            ("forget",),
            lambda model: evidence.composed(model, "forget").refusal,
            details={f"of {_BESIDE[part]}": _share(evidence, part) for part in here},
        )


def _share(evidence: Evidence, part: str) -> str:
    shares = {model: float(evidence.composed(model, part).refusal.mean()) for model in evidence.judged}
    alone = [shares[model] for model in evidence.references if model != evidence.candidate]
    return f"{shares[evidence.candidate]:.3f} (references {min(alone):.3f} to {max(alone):.3f})"
