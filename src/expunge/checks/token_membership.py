"""The Min-K % attack: can forgotten texts be told from texts never trained on, by their least likely tokens?"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from expunge.core.check import Check, Direction, EvidenceKind, Measurement, NotMeasured, Question
from expunge.engine import separation
from expunge.engine.answers import Spoken
from expunge.engine.evidence import Evidence
from expunge.numerics.membership import ranking
from expunge.numerics.token_membership import loss_score, min_k_plus_score, min_k_score, reference_score, zlib_score

Array = NDArray[np.float64]
PARTS = ("forget", "holdout")


def _min_k(said: Spoken) -> Array:
    return min_k_score(_log_prob(said), said.record, len(said.target))


def _min_k_plus(said: Spoken) -> Array:
    mean, deviation = np.minimum(said.said[:, 2], 0.0), said.said[:, 3]
    return min_k_plus_score(_log_prob(said), said.record, len(said.target), mean=mean, deviation=deviation)


def _loss(said: Spoken) -> Array:
    return loss_score(_log_prob(said), said.record, len(said.target))


def _log_prob(said: Spoken) -> Array:
    return np.minimum(said.said[:, 0], 0.0)  # single precision leaves some of a probability of 1 above it


class TokenMembership(Check):
    """AUC of the Min-K % score, forgotten records against holdout records.

    A text that was learnt has no very unlikely tokens; the score is the mean log-probability of its least likely 40 %.
    Other scores stand beside it: the loss, per byte of the packed text, beyond that of retrained models, and Min-K++.
    The yardstick is the AUC of retrained models, not 0.5: one far below it gives the
    deletion away as well.
    """

    title = "Membership attack by the least likely tokens"
    source = (
        "Min-K %, Shi et al. 2024, arXiv 2310.16789, with the share of MUSE, arXiv 2407.06460; zlib and loss beside "
        "another model's: Carlini et al. 2021, arXiv 2012.07805"
    )
    question = Question.GONE
    needs = frozenset({EvidenceKind.FORGET, EvidenceKind.HOLDOUT, EvidenceKind.REFERENCES, EvidenceKind.TOKENS})
    better = Direction.LOWER
    unit = "AUC"
    cannot_see = "single records that leak while the population does not, and texts too short to have unlikely tokens"

    def measure(self, evidence: Evidence) -> Measurement | NotMeasured:
        """Return the AUC; its record error is the paired DeLong error against the mean reference."""
        because = evidence.lacks(*PARTS, tokens=True)
        if because:
            return NotMeasured(check=self.name, because=because)
        return separation.compare(
            evidence,
            self,
            {model: _scores(evidence, model, _min_k) for model in evidence.models},
            title="Membership attack by the least likely tokens: caught against false alarms",
            details={f"AUC of {name}": _auc(evidence, score) for name, score in _BESIDE.items()}
            | _zlib(evidence)
            | _reference(evidence),
        )


_BESIDE: dict[str, Callable[[Spoken], Array]] = {"the mean loss": _loss, "Min-K++": _min_k_plus}


def _scores(evidence: Evidence, model: str, score: Callable[[Spoken], Array]) -> tuple[Array, Array]:
    members, strangers = (score(evidence.outputs(model, part)) for part in PARTS)
    return members, strangers


def _zlib(evidence: Evidence) -> dict[str, str]:
    """Return the AUC of the loss per byte that zlib makes of an answer, where the answers are known as text."""
    texts = {part: evidence.texts.get(part, ()) for part in PARTS}
    if not all(texts.values()) or not all(text for part in PARTS for text in texts[part]):
        return {}

    def score(said: Spoken, part: str) -> Array:
        return zlib_score(_log_prob(said), said.record, texts[part])

    def auc(model: str) -> float:
        members, strangers = (score(evidence.outputs(model, part), part) for part in PARTS)
        return ranking(members, strangers).auc

    return {"AUC of the loss per byte that zlib makes of an answer": _said(evidence, auc)}


def _reference(evidence: Evidence) -> dict[str, str]:
    """Return the AUC of the loss beyond that of models which never saw the records: the mean of other references.

    A reference is attacked with the others; any other model with all references but one, the mean over these.
    """
    if len(evidence.references) < 2:
        return {}

    def score(model: str, part: str, beside: Sequence[str]) -> Array:
        said = evidence.outputs(model, part)
        other = np.mean([_log_prob(evidence.outputs(name, part)) for name in beside], axis=0)
        return reference_score(_log_prob(said), said.record, len(said.target), reference=other)

    def auc(model: str) -> float:
        left_out = [model] if model in evidence.references else evidence.references
        sets = [[name for name in evidence.references if name != out] for out in left_out]
        return float(np.mean([ranking(*(score(model, part, beside) for part in PARTS)).auc for beside in sets]))

    return {"AUC of the loss beyond that of retrained models": _said(evidence, auc)}


def _auc(evidence: Evidence, score: Callable[[Spoken], Array]) -> str:
    return _said(evidence, lambda model: ranking(*_scores(evidence, model, score)).auc)


def _said(evidence: Evidence, auc: Callable[[str], float]) -> str:
    alone = [auc(model) for model in evidence.references if model != evidence.candidate]
    return f"{auc(evidence.candidate):.3f} (references {min(alone):.3f} to {max(alone):.3f})"
