"""TOFU's model utility: is the rest still known, said and preferred to what is wrong?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from expunge.core.check import Check, Direction, EvidenceKind, Measurement, NotMeasured, Question
from expunge.core.method import Cost
from expunge.engine.evidence import Evidence
from expunge.engine.written import MOST
from expunge.numerics.truth_ratio import geometric, harmonic_mean, preference, probability, share

Array = NDArray[np.float64]
SETS = {"retain": "retained", "neighbours": "neighbours", "holdout": "held-out"}
"""Parts in the place of TOFU's retained, real and world facts, and what they are called."""
Row = tuple[Array, NDArray[np.bool_]]
"""A number [m] of each record, and of which it is known, [m]."""


@dataclass(frozen=True)
class Utility:
    """The parts of one model's utility by (set, what), and how much each record adds to it by set, [m]."""

    parts: Mapping[tuple[str, str], float]
    terms: Mapping[str, Array]

    @property
    def value(self) -> float:
        """The harmonic mean of the parts."""
        return harmonic_mean(list(self.parts.values()))


class ModelUtility(Check):
    """Harmonic mean of up to nine parts: probability, ROUGE-L recall and truth ratio on three sets of records.

    The sets are retained records, the neighbours of the forgotten ones and held-out records, up to 100 of each. Answers
    are the model's own, the likeliest ones. Truth ratios are known where the problem gives paraphrased and wrong
    answers of these records; with wrong answers the probability of a held-out answer is its share among all. Every part
    is shown: a harmonic mean hides which of them fell.
    """

    title = "Model utility"
    source = "TOFU, Maini et al. 2024, arXiv 2401.06121, on sets of the problem's own, as a difference"
    question = Question.INTACT
    needs = frozenset(
        {
            EvidenceKind.RETAIN,
            EvidenceKind.HOLDOUT,
            EvidenceKind.REFERENCES,
            EvidenceKind.TOKENS,
            EvidenceKind.WRITTEN,
        }
    )
    better = Direction.HIGHER
    unit = "share"
    cannot_see = "what the sets do not ask for; ROUGE counts words, and takes another wording for a wrong answer"

    def cost(self, n: int, references: int) -> Cost:
        """Return two passes for an answer of the model's own to each record of three sets, on each model."""
        return Cost(read=2 * len(SETS) * min(n, MOST) * (references + 1))

    def measure(self, evidence: Evidence) -> Measurement | NotMeasured:
        """Return the utility; its record error is that of the linearised mean, paired by record with the references."""
        because = evidence.lacks("retain", "holdout", tokens=True)
        sets = [name for name in SETS if name in evidence.asked]
        for name in sets:
            because = because or evidence.lacks(name) or evidence.lacks_array(f"written {name}", "nothing was written")
        if not because and not {"retain", "holdout"} <= set(sets):
            because = "no retained or no held-out record has a question with room for an answer"
        if because:
            return NotMeasured(check=self.name, because=because)

        @cache
        def utility(model: str) -> Utility:
            return _utility({name: _rows(evidence, model, name) for name in sets})

        found = {model: utility(model) for model in evidence.models}
        errors = [
            evidence.record_errors(
                name, {model: each.terms[name] for model, each in found.items()}, _where(evidence, name)
            )
            for name in sets
        ]
        return evidence.compare(
            self,
            {model: each.value for model, each in found.items()},
            n=sum(len(evidence.asked[name]) for name in sets),
            errors={model: math.hypot(*(error[model] for error in errors)) for model in evidence.judged},
            details=_details(evidence, found),
        )


def _where(evidence: Evidence, part: str) -> NDArray[np.bool_]:
    return np.isin(np.arange(len(evidence.outputs(evidence.candidate, part).target)), evidence.asked[part])


def _rows(evidence: Evidence, model: str, part: str) -> dict[str, Row]:
    """Return the parts of one set by name, a number of each record."""
    asked = evidence.asked[part]
    loss = evidence.outputs(model, part).loss[asked]
    everywhere = np.ones(len(asked), dtype=bool)
    rows: dict[str, Row] = {
        "probability": (probability(loss), everywhere),
        "ROUGE-L recall": (evidence.composed(model, part).recall, everywhere),
    }
    right, wrong = f"paraphrased_answer of {part}", f"wrong_answer of {part}"
    if not evidence.lacks(right, wrong):
        one, other = (
            evidence.by_owner(name, evidence.outputs(model, name).loss)[asked][:, None] for name in (right, wrong)
        )
        known = np.isfinite(one[:, 0]) & np.isfinite(other[:, 0])
        if known.any():  # those of which one has the right answers and another the wrong ones say nothing
            rows["truth ratio"] = (_known(known, preference(geometric(one[known, 0], other[known]))), known)
            if part == "holdout":
                rows["probability"] = (_known(known, share(loss[known], other[known])), known)
    return rows


def _known(where: NDArray[np.bool_], values: Array) -> Array:
    found = np.zeros(len(where))
    found[where] = values
    return found


def _utility(sets: Mapping[str, Mapping[str, Row]]) -> Utility:
    """Return the utility, and per set rows [m] whose means move as it does where a record's numbers change a little."""
    parts = {
        (name, what): float(row[known].mean()) for name, rows in sets.items() for what, (row, known) in rows.items()
    }
    value, count = harmonic_mean(list(parts.values())), len(parts)
    # d(count / sum 1/p) / dp = value^2 / (count p^2); next to one part of 0 the mean is count times that part.
    slope = {key: value**2 / (count * p**2) if value > 0 else count * float(p == 0.0) for key, p in parts.items()}
    terms = {
        name: np.sum(
            [slope[name, what] * row * known * (len(known) / known.sum()) for what, (row, known) in rows.items()],
            axis=0,
        )
        for name, rows in sets.items()
    }
    return Utility(parts, terms)


def _details(evidence: Evidence, found: Mapping[str, Utility]) -> dict[str, str]:
    alone = [found[model] for model in evidence.references if model != evidence.candidate]
    details = {
        f"{what}, {SETS[name]}": f"{part:.3f} (references {min(u.parts[name, what] for u in alone):.3f} "
        f"to {max(u.parts[name, what] for u in alone):.3f})"
        for (name, what), part in found[evidence.candidate].parts.items()
    }
    missing = [SETS[name] for name in SETS if (name, "truth ratio") not in found[evidence.candidate].parts]
    if missing:
        details["no truth ratio"] = f"{', '.join(missing)}: no paraphrased and wrong answers of them are given"
    return details
