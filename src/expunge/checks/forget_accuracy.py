"""Accuracy on the forgotten records, as they were labelled in training."""

from __future__ import annotations

import numpy as np

from expunge.core.check import Check, Direction, EvidenceKind, Measurement, NotMeasured, Question
from expunge.engine.answers import Spoken
from expunge.engine.best_known import beyond_others, beyond_unseen, excess
from expunge.engine.evidence import Evidence


class ForgetAccuracy(Check):
    """Share of the forgotten records whose training label the model predicts.

    Of texts the share of tokens that are the likeliest ones after all before them: exact memorisation. Beside it stand
    the best known tenth and the best known record, as far as they lie beyond retrained models, and how many records lie
    beyond what the same model does with text that it never saw.
    """

    title = "Accuracy on the forgotten records"
    source = "unlearning accuracy, Fan et al. 2023, arXiv 2310.12508, as a difference from retrained models"
    question = Question.GONE
    needs = frozenset({EvidenceKind.FORGET, EvidenceKind.REFERENCES})
    better = Direction.LOWER
    unit = "share"
    cannot_see = "memory that does not change which class is most likely"

    def measure(self, evidence: Evidence) -> Measurement | NotMeasured:
        """Return the accuracy, paired by record with the references."""
        because = evidence.lacks("forget")
        if because:
            return NotMeasured(check=self.name, because=because)
        tokens = isinstance(evidence.outputs(evidence.candidate, "forget"), Spoken)
        return evidence.compare_means(
            self,
            ("forget",),
            lambda model: evidence.outputs(model, "forget").correct,
            details=_best_known(evidence) if tokens else None,
        )


def _best_known(evidence: Evidence) -> dict[str, str]:
    rows = {model: evidence.outputs(model, "forget").correct for model in evidence.judged}
    tenth = {model: float(excess(evidence, rows, model).mean()) for model in rows}
    most = {model: float(np.mean([row.max() for row in beyond_others(evidence, rows, model)])) for model in rows}
    return {
        "beyond retrained models, the best known tenth": _beside(evidence, tenth),
        "beyond retrained models, the best known record": _beside(evidence, most),
        **beyond_unseen(evidence, lambda said: said.correct),
    }


def _beside(evidence: Evidence, values: dict[str, float]) -> str:
    alone = [values[model] for model in evidence.references if model != evidence.candidate]
    return f"{values[evidence.candidate]:.3f} (references {min(alone):.3f} to {max(alone):.3f})"
