"""Can somebody who sees the model alone tell who asked to be forgotten?"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from expunge.core.check import Check, Direction, EvidenceKind, Measurement, NotMeasured, Question
from expunge.engine.answers import Spoken
from expunge.engine.evidence import Evidence
from expunge.numerics.membership import ranking
from expunge.numerics.telling_apart import pairs_apart
from expunge.numerics.token_membership import min_k_plus_score, min_k_score

Array = NDArray[np.float64]
PARTS = ("forget", "holdout")
FEWEST = 5
"""Records of each kind, at least, that a rule is fitted to."""


class Visibility(Check):
    """AUC of the best linear rule by which forgotten records are told from held-out ones, by six marks of each.

    Marks are the loss, the least likely tokens (Min-K and Min-K++), how much tokens differ in a text, how sure the
    model is of whatever comes next, and how many tokens are right. What was forgotten by force may be stranger to a
    model than anything that it never saw. The rule is fitted without the two records that it then has to order.
    Retrained models are the yardstick: forgotten records may differ from held-out ones by themselves. Beside it stands
    what an attacker finds who has the original as well, which tells the forgotten ones of a perfect retraining too.
    """

    title = "Visibility of the forgetting"
    source = "after FUMA (Forensic Unlearning Membership Attacks, EMNLP 2025); the marks and the rule are our own"
    question = Question.GONE
    needs = frozenset({EvidenceKind.FORGET, EvidenceKind.HOLDOUT, EvidenceKind.REFERENCES, EvidenceKind.TOKENS})
    better = Direction.LOWER
    unit = "AUC"
    cannot_see = "marks that are no linear function of these six: gradients, noise on weights, what is generated"

    def measure(self, evidence: Evidence) -> Measurement | NotMeasured:
        """Return the AUC over pairs, each ordered by a rule fitted without it; paired by record with the references."""
        because = evidence.lacks(*PARTS, tokens=True)
        if not because:
            counts = [len(evidence.outputs(evidence.candidate, part).target) for part in PARTS]
            if min(counts) < FEWEST:
                because = f"{min(counts)} records of a kind are too few to fit a rule to; it takes {FEWEST}"
        if because:
            return NotMeasured(check=self.name, because=because)
        ranks = {
            model: pairs_apart(*(_marks(evidence.outputs(model, part)) for part in PARTS)) for model in evidence.models
        }
        sides = (
            evidence.record_errors("forget", {model: rank.member for model, rank in ranks.items()}),
            evidence.record_errors("holdout", {model: rank.stranger for model, rank in ranks.items()}),
        )
        return evidence.compare(
            self,
            {model: rank.auc for model, rank in ranks.items()},
            n=sum(counts),
            errors={model: math.hypot(*(side[model] for side in sides)) for model in evidence.judged},
            details={
                "AUC of the loss gained since the original, which the attacker has, too": _said(
                    evidence, lambda model: _gained(evidence, model)
                )
            },
        )


def _marks(said: Spoken) -> Array:
    """Return the marks of each record, [n, 6]."""
    n, log_prob = len(said.target), np.minimum(said.said[:, 0], 0.0)
    mean, deviation = np.minimum(said.said[:, 2], 0.0), said.said[:, 3]
    differ = np.sqrt(said.by_record((log_prob + said.loss[said.record]) ** 2))
    return np.column_stack(
        [
            said.loss,
            min_k_score(log_prob, said.record, n),
            min_k_plus_score(log_prob, said.record, n, mean=mean, deviation=deviation),
            differ,
            said.by_record(mean),
            said.correct,
        ]
    )


def _gained(evidence: Evidence, model: str) -> float:
    gains = [evidence.outputs(model, part).loss - evidence.outputs(evidence.original, part).loss for part in PARTS]
    return ranking(*gains).auc


def _said(evidence: Evidence, auc: Callable[[str], float]) -> str:
    alone = [auc(model) for model in evidence.references if model != evidence.candidate]
    return f"{auc(evidence.candidate):.3f} (references {min(alone):.3f} to {max(alone):.3f})"
