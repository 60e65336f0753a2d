"""Many drawn answers: does one of them hold what the likeliest does not say?"""

from __future__ import annotations

from expunge.core.check import Check, Direction, EvidenceKind, Measurement, NotMeasured, Question
from expunge.core.method import Cost
from expunge.engine.evidence import Evidence
from expunge.engine.prompting import MOST, SAMPLES
from expunge.numerics.sampling import leak_at

BEST_OF = 10
"""Answers of which the best counts; from twice as many its mean is known better."""


class BestOfSamples(Check):
    """Mean share of an answer's telling words in the best of ten answers that are drawn at temperature 1.

    A model whose likeliest answer was changed often gives the old one when it is asked a few times more. The mean over
    all sets of ten out of twenty drawn answers; every model draws by the same numbers.
    """

    title = "Answers drawn many times"
    source = "leak@k, arXiv 2511.04934, as a difference from retrained models; metric: ROUGE-L recall"
    question = Question.RECOVERABLE
    needs = frozenset({EvidenceKind.FORGET, EvidenceKind.REFERENCES, EvidenceKind.TOKENS, EvidenceKind.SAMPLES})
    better = Direction.LOWER
    unit = "share"
    cannot_see = "answers less likely than one in ten, and other temperatures"

    def cost(self, n: int, references: int) -> Cost:
        """Return two passes for a text, prompt and answer, of every drawn answer, on each model."""
        return Cost(read=2 * SAMPLES * min(n, MOST) * (references + 1))

    def measure(self, evidence: Evidence) -> Measurement | NotMeasured:
        """Return the expected best share, paired by record with the references."""
        because = evidence.lacks("forget", tokens=True) or evidence.lacks_array(
            "samples", "there is no room for an answer"
        )
        if because:
            return NotMeasured(check=self.name, because=because)
        return evidence.compare_means(
            self,
            ("forget",),
            lambda model: leak_at(evidence.recalled(model, "samples"), BEST_OF),
            sample=evidence.asks_some,
            details={f"best of {k}": _best(evidence, k) for k in (1, SAMPLES)},
        )


def _best(evidence: Evidence, k: int) -> str:
    means = {model: float(leak_at(evidence.recalled(model, "samples"), k).mean()) for model in evidence.judged}
    alone = [means[model] for model in evidence.references if model != evidence.candidate]
    return f"{means[evidence.candidate]:.3f} (references {min(alone):.3f} to {max(alone):.3f})"
