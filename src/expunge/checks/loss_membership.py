"""The LOSS attack: can forgotten records be told from records never trained on?"""

from __future__ import annotations

import math

import numpy as np

from expunge.core.check import Check, Direction, EvidenceKind, Measurement, NotMeasured, Question
from expunge.engine.evidence import Evidence
from expunge.numerics import membership
from expunge.numerics.equivalence import paired_error, sample_error

_RATES = (0.01, 0.05, 0.1)


class LossMembership(Check):
    """AUC of a threshold on the confidence of the label, forgotten records against holdout records.

    The yardstick is the AUC of retrained models, not 0.5: a forget set that is unlike the holdout (wrong
    labels, say) is told apart by every model.
    """

    title = "Membership attack by loss"
    source = "Yeom et al. 2018, arXiv 1709.01604; components of the AUC by DeLong et al. 1988"
    question = Question.GONE
    needs = frozenset({EvidenceKind.FORGET, EvidenceKind.HOLDOUT, EvidenceKind.REFERENCES})
    better = Direction.LOWER
    unit = "AUC"
    cannot_see = "single records that leak while the population does not: no attack calibrated per record is run"

    def measure(self, evidence: Evidence) -> Measurement | NotMeasured:
        """Return the AUC; its record error is the paired DeLong error against the mean reference."""
        because = evidence.lacks("forget", "holdout")
        if because:
            return NotMeasured(check=self.name, because=because)
        scores = {
            model: (
                evidence.outputs(model, "forget").confidence,
                evidence.outputs(model, "holdout").confidence,
            )
            for model in evidence.models
        }
        ranks = {model: membership.ranking(*pair) for model, pair in scores.items()}
        member = {model: rank.member for model, rank in ranks.items()}
        stranger = {model: rank.stranger for model, rank in ranks.items()}
        errors = {
            model: math.hypot(
                paired_error(evidence.differences(member, model)),
                sample_error(evidence.differences(stranger, model)),
            )
            for model in evidence.judged
        }
        members, strangers = scores[evidence.candidate]
        return evidence.compare(
            self,
            {model: rank.auc for model, rank in ranks.items()},
            n=len(members) + len(strangers),
            errors=errors,
            details={
                f"forgotten records caught at {rate:.0%} false alarms": _tpr(evidence, scores, rate) for rate in _RATES
            },
        )


def _tpr(evidence: Evidence, scores: dict[str, tuple[np.ndarray, np.ndarray]], rate: float) -> str:
    members, strangers = scores[evidence.candidate]
    known = membership.resolvable(rate, len(strangers))
    if known == "no":
        return f"not resolvable with {len(strangers)} holdout records; needs {math.ceil(10 / rate)} or more"
    rates = [membership.tpr_at(*scores[model], rate) for model in evidence.references]
    mean, high = membership.tpr_null(rate, len(members), len(strangers))
    text = (
        f"{membership.tpr_at(members, strangers, rate):.3f} (references {min(rates):.3f} to {max(rates):.3f}; "
        f"were both alike {mean:.3f}, 95% below {high:.3f})"
    )
    return text if known == "yes" else f"{text}, imprecise: {len(strangers)} holdout records"
