"""A membership attack that knows each record: can forgotten records be told from records never trained on?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from expunge.core.check import Check, Direction, EvidenceKind, Measurement, NotMeasured, Question
from expunge.engine import separation
from expunge.engine.evidence import Evidence
from expunge.numerics import attack, lira, membership

Array = NDArray[np.float64]


class RecordMembership(Check):
    """AUC of the attack that so many references carry, each record calibrated by models that never saw it.

    A threshold on the loss takes a hard record for a stranger and an easy one for a member; calibrated, what counts
    is how much likelier the label is than retrained models make it. ``numerics/attack`` names the attack: with
    references that all lack the record it is RMIA, whose AUC also varies far less between seeds than that of LiRA
    where labels were wrong. LiRA stands beside it.
    """

    title = "Membership attack, record by record"
    source = "RMIA, Zarifzadeh et al. 2024, arXiv 2312.03262 (offline); LiRA, Carlini et al. 2022, arXiv 2112.03570"
    question = Question.GONE
    needs = frozenset({EvidenceKind.FORGET, EvidenceKind.HOLDOUT, EvidenceKind.REFERENCES})
    better = Direction.LOWER
    unit = "AUC"
    cannot_see = "memory that leaves the label improbable, as a wrong label that retraining makes less probable still"

    def measure(self, evidence: Evidence) -> Measurement | NotMeasured:
        """Return the AUC; every reference is attacked with the others, the models under comparison with all."""
        parts = ("forget", "holdout")
        because = evidence.lacks(*parts) or evidence.twins(*parts)
        if because:
            return NotMeasured(check=self.name, because=because)
        count = len(evidence.outputs(evidence.candidate, "forget").target)
        said = {
            model: np.concatenate([evidence.outputs(model, part).confidence for part in parts])
            for model in evidence.models
        }
        attacks = {model: attack.attack(row, references=_others(evidence, said, model)) for model, row in said.items()}
        name = attacks[evidence.candidate].name
        return separation.compare(
            evidence,
            self,
            {model: (found.score[:count], found.score[count:]) for model, found in attacks.items()},
            title=f"Membership attack, record by record ({name})",
            details={
                "attack": f"{name} with {len(evidence.references)} references, none of which saw a record",
                "AUC of LiRA (offline, shrunk variance)": _lira(evidence, said, count),
            },
        )


def _others(evidence: Evidence, said: dict[str, Array], model: str) -> Array:
    return np.stack([said[name] for name in evidence.references if name != model])


def _lira(evidence: Evidence, said: dict[str, Array], count: int) -> str:
    def auc(model: str) -> float:
        others = _others(evidence, said, model)
        never = np.zeros(others.shape, dtype=bool)
        score = lira.lira(said[model], references=others, keep=never, variant=lira.Variant.OFFLINE_SHRUNK)
        return membership.ranking(score[:count], score[count:]).auc

    alone = [auc(model) for model in evidence.references if model != evidence.candidate]
    return f"{auc(evidence.candidate):.3f} (references {min(alone):.3f} to {max(alone):.3f})"
