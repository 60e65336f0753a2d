"""The forgotten records that the model knows best beyond retrained ones: what a mean over all of them would hide."""

from __future__ import annotations

from expunge.core.check import Check, Direction, EvidenceKind, Measurement, NotMeasured, Question
from expunge.engine.best_known import beyond_unseen, excess
from expunge.engine.evidence import Evidence


class WorstExtraction(Check):
    """Mean excess of extraction strength over that of retrained models, of the tenth of the records with most of it.

    Of ten records at the least, and of all where there are fewer.
    A few answers known by heart among many forgotten ones hardly move the mean of all. Of a retrained model the excess
    is what seeds differ by in its own best tenth: each reference is compared with the others, and the model under audit
    with all sets of references with one left out, in the mean. Beside it stands how many records lie beyond what the
    same model does with text that it never saw (Tukey's fence).
    """

    title = "Extraction strength of the best known tenth"
    source = (
        "mean of a tail: Rockafellar and Uryasev 2000, Journal of Risk 2(3); count: Barbulescu and Triantafillou 2024, "
        "arXiv 2405.03097"
    )
    question = Question.GONE
    needs = frozenset({EvidenceKind.FORGET, EvidenceKind.REFERENCES, EvidenceKind.TOKENS})
    better = Direction.LOWER
    unit = "share"
    cannot_see = "single records among hundreds, and memory behind a wrong token near the end"

    def measure(self, evidence: Evidence) -> Measurement | NotMeasured:
        """Return the mean excess of the upper tenth, by record the terms whose mean it is."""
        because = evidence.lacks("forget", tokens=True)
        if because:
            return NotMeasured(check=self.name, because=because)
        strength = {model: evidence.outputs(model, "forget").extraction for model in evidence.models}
        return evidence.compare_means(
            self, ("forget",), lambda model: excess(evidence, strength, model), details=_details(evidence)
        )


def _details(evidence: Evidence) -> dict[str, str]:
    rows = {model: evidence.outputs(model, "forget").extraction for model in evidence.judged}
    others = [rows[model] for model in evidence.references if model != evidence.candidate]
    known = [int((row == 1.0).sum()) for row in others]
    return {
        "answers known from the question alone": f"{int((rows[evidence.candidate] == 1.0).sum())} "
        f"(references {min(known)} to {max(known)})",
        **beyond_unseen(evidence, lambda said: said.extraction),
    }
