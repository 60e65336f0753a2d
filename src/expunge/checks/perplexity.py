"""How well the model predicts text that it was never trained on."""

from __future__ import annotations

import math

from expunge.core.check import Check, Direction, EvidenceKind, Measurement, NotMeasured, Question
from expunge.engine.evidence import Evidence


class Perplexity(Check):
    """Mean over held-out records of the loss of a token: the logarithm of their perplexity.

    Accuracy counts tokens that are said right; this sees tokens that became improbable, and models that became sure of
    what is wrong.
    """

    title = "Loss on texts never trained on"
    source = "logarithm of the perplexity, Jelinek et al. 1977, as a difference from retrained models"
    question = Question.INTACT
    needs = frozenset({EvidenceKind.HOLDOUT, EvidenceKind.REFERENCES, EvidenceKind.TOKENS})
    better = Direction.LOWER
    unit = "nats"
    cannot_see = "damage to kinds of text that the holdout does not hold, and to what is generated beyond one token"

    def measure(self, evidence: Evidence) -> Measurement | NotMeasured:
        """Return the mean loss, paired by record with the references."""
        because = evidence.lacks("holdout", tokens=True)
        if because:
            return NotMeasured(check=self.name, because=because)
        losses = {model: float(evidence.outputs(model, "holdout").loss.mean()) for model in evidence.judged}
        alone = [_exp(losses[model]) for model in evidence.references if model != evidence.candidate]
        return evidence.compare_means(
            self,
            ("holdout",),
            lambda model: evidence.outputs(model, "holdout").loss,
            details={
                "perplexity": f"{_exp(losses[evidence.candidate]):.3g} "
                f"(references {min(alone):.3g} to {max(alone):.3g})"
            },
        )


def _exp(loss: float) -> float:
    return math.exp(min(loss, 700.0))  # a model without any use left may be beyond what a number holds
