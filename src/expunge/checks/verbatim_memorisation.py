"""Verbatim memorisation: given the beginning of a forgotten text, does the model write the rest word for word?"""

from __future__ import annotations

from expunge.core.check import Check, Direction, EvidenceKind, Measurement, NotMeasured, Question
from expunge.core.method import Cost
from expunge.engine.evidence import Evidence
from expunge.engine.prompting import GIVEN, MOST

_NAMES = {
    "f1": "ROUGE-L F1, as MUSE has it",
    "run": "longest run of the true words, as a share of them",
}


class VerbatimMemorisation(Check):
    """Mean ROUGE-L recall of the rest of an answer in what the model writes when a quarter or a half of it is given.

    Of a plain text all but its first token is the answer. All words count, in order, also those that every answer has:
    retrained models say some of them. Asked is what ``begun_answer`` asks, which counts telling words alone.
    """

    title = "Forgotten texts continued word for word"
    source = (
        "VerbMem of MUSE, Shi et al. 2024, arXiv 2407.06460, after prefixes of a quarter and a half; ROUGE-L recall, "
        "with its F1 beside it, as a difference from retrained models"
    )
    question = Question.GONE
    needs = frozenset({EvidenceKind.FORGET, EvidenceKind.REFERENCES, EvidenceKind.TOKENS, EvidenceKind.BEGUN})
    better = Direction.LOWER
    unit = "share"
    cannot_see = (
        "the same in other words, and what another beginning would bring out; ROUGE tells models that know from models "
        "that do not less well than extraction strength does"
    )

    def cost(self, n: int, references: int) -> Cost:
        """Return two passes for a text, prompt and answer, of every share that is given, on each model."""
        return Cost(read=2 * len(GIVEN) * min(n, MOST) * (references + 1))

    def measure(self, evidence: Evidence) -> Measurement | NotMeasured:
        """Return the mean recall, paired by record with the references."""
        because = evidence.lacks("forget", tokens=True) or evidence.lacks_array(
            "verbatim", "no answer has a telling word beyond its beginning"
        )
        if because:
            return NotMeasured(check=self.name, because=because)
        return evidence.compare_means(
            self,
            ("forget",),
            lambda model: evidence.verbatim(model)["recall"],
            sample=evidence.asks_some,
            details={name: _mean(evidence, what) for what, name in _NAMES.items()},
        )


def _mean(evidence: Evidence, what: str) -> str:
    means = {model: float(evidence.verbatim(model)[what].mean()) for model in evidence.judged}
    alone = [means[model] for model in evidence.references if model != evidence.candidate]
    return f"{means[evidence.candidate]:.3f} (references {min(alone):.3f} to {max(alone):.3f})"
