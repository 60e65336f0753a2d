"""Canaries: can those that were deleted be told from those that were never trained on?"""

from __future__ import annotations

import math

import numpy as np

from expunge.core.check import Check, Direction, EvidenceKind, Measurement, NotMeasured, Question, Yardstick
from expunge.engine.evidence import Evidence
from expunge.numerics import known, leakage, membership
from expunge.numerics.equivalence import paired_error

_RATES = (0.01, 0.05, 0.1)
_GUESSED = 4
"""One canary in so many is guessed to have been in, beforehand: more guesses show more, until they are wrong."""


class CanaryMembership(Check):
    """AUC of the confidence of the canary's label, deleted canaries against canaries that a coin kept out.

    The yardstick is 0.5 exactly, whatever the model: of a model that was trained on neither, the coin is independent,
    so that its scores are dealt out to both sides by chance alone. The error is the larger one of that of the coin
    (Mann and Whitney) and DeLong's.
    """

    title = "Canaries deleted against canaries never in"
    source = (
        "logit-scaled confidence, Carlini et al. 2022, arXiv 2112.03570; AUC of a coin, Mann and Whitney 1947; epsilon "
        "from one run, Steinke et al. 2023, arXiv 2305.08846"
    )
    question = Question.GONE
    needs = frozenset({EvidenceKind.CANARIES})
    better = Direction.LOWER
    unit = "AUC"
    cannot_see = (
        "what became of any other record: canaries stand for the requested ones only as far as these were treated like "
        "them, and whoever knows the canaries can treat them otherwise"
    )

    def measure(self, evidence: Evidence) -> Measurement | NotMeasured:
        """Return the AUC against one half, with rates at few false alarms and a bound on epsilon."""
        because = evidence.lacks("planted", "aside")
        if because:
            return NotMeasured(check=self.name, because=because)
        scores = {
            model: (evidence.outputs(model, "planted").confidence, evidence.outputs(model, "aside").confidence)
            for model in (evidence.candidate, evidence.original)
        }
        ranks = {model: membership.ranking(*pair) for model, pair in scores.items()}
        planted, aside = scores[evidence.candidate]
        rank, coin = ranks[evidence.candidate], known.auc_error(len(planted), len(aside))
        return evidence.against(
            self,
            {model: found.auc for model, found in ranks.items()},
            Yardstick(value=0.5, error=coin, what="chance", retrained=True),
            n=len(planted) + len(aside),
            error=max(coin, math.hypot(paired_error(rank.member), paired_error(rank.stranger))),
            details={
                **{
                    f"deleted canaries caught at {rate:.0%} false alarms": _caught(planted, aside, rate)
                    for rate in _RATES
                },
                "epsilon": _epsilon(planted, aside),
            },
        )


def _caught(planted: np.ndarray, aside: np.ndarray, rate: float) -> str:
    sure = membership.resolvable(rate, len(aside))
    if sure == "no":
        return f"not resolvable with {len(aside)} canaries kept out; needs {math.ceil(10 / rate)} or more"
    mean, high = membership.tpr_null(rate, len(planted), len(aside))
    text = f"{membership.tpr_at(planted, aside, rate):.3f} (by chance {mean:.3f}, 95% below {high:.3f})"
    return text if sure == "yes" else f"{text}, imprecise: {len(aside)} canaries kept out"


def _epsilon(planted: np.ndarray, aside: np.ndarray) -> str:
    """Return the bound from the most confident canaries guessed to have been in; their number is fixed beforehand."""
    count = len(planted) + len(aside)
    guesses = count // _GUESSED
    if guesses == 0:
        return f"not shown with {count} canaries"
    right = leakage.right_guesses(
        np.concatenate([planted, aside]), included=np.arange(count) < len(planted), inside=guesses
    )
    bound = leakage.one_run_bound(right, guesses=guesses, canaries=count)
    return (
        f"{bound.epsilon:.2f} or more at {1 - leakage.ALPHA:.0%} confidence ({right} of {guesses} guesses right; the "
        f"most that these could have shown: {bound.largest:.2f}). It bounds nothing from above"
    )
