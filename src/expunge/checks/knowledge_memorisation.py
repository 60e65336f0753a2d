"""Knowledge memorisation: how much of the true answers to forgotten questions does the model say in its own words?"""

from __future__ import annotations

from expunge.core.check import Check, Direction, EvidenceKind, Measurement, NotMeasured, Question
from expunge.core.method import Cost
from expunge.engine.evidence import Evidence
from expunge.engine.written import MOST

_BESIDE = {"retain": "retained records", "holdout": "held-out records"}


class KnowledgeMemorisation(Check):
    """Mean ROUGE-L recall of the true answers in what the model answers to forgotten questions.

    Answers are the likeliest ones, without examples before the question. All words count: what stands in the question,
    or how every answer is put, is said by retrained models, too. The same of retained records stands beside it, which
    should stay known, and of held-out ones, which nobody knows.
    """

    title = "Forgotten questions answered"
    source = (
        "KnowMem of MUSE, Shi et al. 2024, arXiv 2407.06460, without its ten examples; ROUGE-L recall, with its F1 "
        "beside it, as a difference from retrained models"
    )
    question = Question.GONE
    needs = frozenset({EvidenceKind.FORGET, EvidenceKind.REFERENCES, EvidenceKind.TOKENS, EvidenceKind.WRITTEN})
    better = Direction.LOWER
    unit = "share"
    cannot_see = (
        "an answer put in words that the true one does not have; ROUGE tells models that know from models that do not "
        "less well than extraction strength does"
    )

    def cost(self, n: int, references: int) -> Cost:
        """Return two passes for an answer of the model's own to each record, on each model."""
        return Cost(read=2 * min(n, MOST) * (references + 1))

    def measure(self, evidence: Evidence) -> Measurement | NotMeasured:
        """Return the mean recall, paired by record with the references."""
        because = evidence.lacks("forget", tokens=True) or evidence.lacks_array(
            "written forget", "no forgotten record has a question with room for an answer"
        )
        if because:
            return NotMeasured(check=self.name, because=because)
        here = [part for part in _BESIDE if part in evidence.asked and evidence.has(f"written {part}")]
        return evidence.compare_means(
            self,
            ("forget",),
            lambda model: evidence.composed(model, "forget").recall,
            sample=evidence.asks_some,
            details={
                "ROUGE-L F1, as MUSE has it": _mean(evidence, "forget", "f1"),
                **{f"the recall of {_BESIDE[part]}": _mean(evidence, part, "recall") for part in here},
            },
        )


def _mean(evidence: Evidence, part: str, what: str) -> str:
    means = {model: float(getattr(evidence.composed(model, part), what).mean()) for model in evidence.judged}
    alone = [means[model] for model in evidence.references if model != evidence.candidate]
    return f"{means[evidence.candidate]:.3f} (references {min(alone):.3f} to {max(alone):.3f})"
