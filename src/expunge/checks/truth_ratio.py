"""Does the model still prefer the right answers to wrong ones, beyond what retrained models do?"""

from __future__ import annotations

import math
from functools import cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from expunge.core.chart import FEWEST, Chart
from expunge.core.check import Check, Direction, EvidenceKind, Measurement, NotMeasured, Question
from expunge.engine.evidence import Evidence
from expunge.numerics.curves import cumulative
from expunge.numerics.equivalence import beyond_seeds, unseen_error, unseen_units
from expunge.numerics.truth_ratio import arithmetic, forget_quality, geometric, indifference

Array = NDArray[np.float64]
FORMS = ("geometric", "arithmetic")
"""Means of the wrong answers' probabilities that go by the name of truth ratio; the first of them decides."""
HARDLY = 600.0
"""Nats a token, beyond which a wrong answer's probability is none: what it adds to a mean stays a number."""
RIGHT, WRONG = "paraphrased_answer", "wrong_answer"
RESAMPLES = 100
"""Draws of records that the error over records is taken from: it is then known to 7 %."""
PLACES = np.linspace(0.0, 1.0, 21)
"""Where the distribution is drawn."""


class TruthRatio(Check):
    """Mean distance of Kolmogorov and Smirnov between a model's truth ratios and those of each reference.

    A truth ratio says by how much a model prefers wrong answers to the right one, all in words that it was not trained
    on. Retrained models differ from each other as well: each is compared with the others. The geometric mean of the
    wrong ones decides, as in the published leaderboard of TOFU; the arithmetic one, which its paper writes down,
    stands beside it. The p-value of the test is TOFU's forget quality; it stands there too: it falls as records grow in
    number.
    """

    title = "Truth ratio on the forgotten records"
    source = "forget quality of TOFU, Maini et al. 2024, arXiv 2401.06121: its distance, and not its p-value"
    question = Question.GONE
    needs = frozenset({EvidenceKind.FORGET, EvidenceKind.REFERENCES, EvidenceKind.TOKENS, EvidenceKind.WRONG_ANSWERS})
    better = Direction.LOWER
    unit = "distance"
    cannot_see = "preferences that moved from record to record while all together are spread as before"

    def measure(self, evidence: Evidence) -> Measurement | NotMeasured:
        """Return the mean distance from the references; its record error is that over draws of records.

        Where only some forgotten records have both kinds of answers, these stand for all: no less is said of them than
        that 3 in n could differ unseen, which moves a distance by as much as a mean of shares.
        """
        because = evidence.lacks("forget", RIGHT, WRONG, tokens=True)
        forms = {} if because else {form: _by_model(evidence, form) for form in FORMS}
        ratios = forms.get(FORMS[0], {})
        if not because and not ratios[evidence.candidate].size:
            because = "no judged record has paraphrased and wrong answers both"
        if because:
            return NotMeasured(check=self.name, because=because)
        n, count = len(ratios[evidence.candidate]), len(evidence.references)
        drawn = np.random.default_rng(0).integers(n, size=(RESAMPLES, n))
        times = [
            np.ones(n, dtype=np.int64),
            *(np.bincount(row, minlength=n) for row in drawn),
        ]  # as they are come first
        far = {pair: distances(*(ratios[each] for each in pair), np.stack(times)) for pair in _pairs(evidence)}

        @cache
        def mean(model: str) -> Array:
            others = [other for other in evidence.references if other != model]
            return np.asarray(np.mean([far[_pair(model, o)] for o in others], axis=0))

        def error(model: str) -> float:
            others = np.mean([mean(other) for other in evidence.references if other != model], axis=0)
            return float(np.std((mean(model) - others)[1:], ddof=1))

        errors = beyond_seeds({model: error(model) for model in evidence.judged}, evidence.references)
        some = n < len(evidence.outputs(evidence.candidate, "forget").loss)
        return evidence.compare(
            self,
            {model: float(mean(model)[0]) for model in evidence.models},
            n=n,
            errors={
                model: math.hypot(left, unseen_units(n)) if some else max(left, unseen_error(n, count))
                for model, left in errors.items()
            },
            seed_scale=(count - 1) / max(1, count - 2),
            details=_details(
                evidence, forms, {o: float(far[_pair(evidence.candidate, o)][0]) for o in _others(evidence)}
            ),
            charts=lambda: _charts(evidence, ratios),
        )


def distances(one: Array, other: Array, times: NDArray[np.int64]) -> Array:
    """Return the largest distance between the distribution functions of two paired samples [n], [B].

    ``times`` [B, n] says how often each pair counts; rows sum to n. Values are sorted once for all draws.
    """
    values = np.concatenate([one, other])
    order = np.argsort(values, kind="stable")
    last = np.flatnonzero(np.append(np.diff(values[order]) > 0, True))  # equal values are passed together
    steps = np.concatenate([times, -times], axis=1)[:, order]
    found: Array = np.abs(np.cumsum(steps, axis=1)[:, last]).max(axis=1) / len(one)
    return found


def _by_model(evidence: Evidence, form: str) -> dict[str, Array]:
    return {model: _ratios(evidence, model, form) for model in evidence.models}


def _ratios(evidence: Evidence, model: str, form: str) -> Array:
    right, wrong = (evidence.outputs(model, part).loss for part in (RIGHT, WRONG))
    own = evidence.by_owner(RIGHT, right)
    if form == "geometric":  # of a geometric mean the mean loss is all there is
        others = evidence.by_owner(WRONG, wrong)
    else:
        others = -np.log(evidence.by_owner(WRONG, np.exp(-np.minimum(wrong, HARDLY))))
    there = np.isfinite(own) & np.isfinite(others)
    if not there.any():
        return np.zeros(0)
    return (geometric if form == "geometric" else arithmetic)(own[there], others[there][:, None])


def _pair(one: str, other: str) -> tuple[str, str]:
    return min(one, other), max(one, other)


def _pairs(evidence: Evidence) -> list[tuple[str, str]]:
    judged = [(m, r) for m in (evidence.candidate, evidence.original) for r in evidence.references if m != r]
    return sorted({_pair(*each) for each in (*judged, *combinations(evidence.references, 2))})


def _others(evidence: Evidence) -> list[str]:
    return [model for model in evidence.references if model != evidence.candidate]


def _details(evidence: Evidence, forms: dict[str, dict[str, Array]], far: dict[str, float]) -> dict[str, str]:
    middle = sorted(far, key=far.__getitem__)[len(far) // 2]
    shares = {model: float((ratio < 1).mean()) for model, ratio in forms[FORMS[0]].items()}
    alone = [shares[model] for model in _others(evidence)]
    return {
        "which form decides": f"the {FORMS[0]} truth ratio",
        **{
            f"{form} truth ratio, against the reference in the middle": _quality(evidence, ratios, middle)
            for form, ratios in forms.items()
        },
        **{f"{form} truth ratio R, mean of min(R, 1/R)": _evenness(evidence, ratios) for form, ratios in forms.items()},
        "records whose right answer is preferred": f"{shares[evidence.candidate]:.0%} "
        f"(references {min(alone):.0%} to {max(alone):.0%})",
    }


def _quality(evidence: Evidence, ratios: dict[str, Array], reference: str) -> str:
    found = forget_quality(ratios[evidence.candidate], ratios[reference], seed=0)
    return (
        f"distance {found.distance:.3f} (95%: {found.low:.3f} to {found.high:.3f} by resampled records), "
        f"forget quality p = {found.p:.3g}"
    )


def _evenness(evidence: Evidence, ratios: dict[str, Array]) -> str:
    """Return what TOFU reports of the forget set: 1 where no answer is preferred."""
    even = {model: float(indifference(ratio).mean()) for model, ratio in ratios.items()}
    alone = [even[model] for model in _others(evidence)]
    return f"{even[evidence.candidate]:.3f} (references {min(alone):.3f} to {max(alone):.3f})"


def _charts(evidence: Evidence, ratios: dict[str, Array]) -> tuple[Chart, ...]:
    n = len(ratios[evidence.candidate])
    if n < FEWEST:
        return ()
    curves = {model: cumulative(1.0 / (1.0 + ratio), PLACES) for model, ratio in ratios.items()}
    return (
        Chart(
            title="Preference for the right answer, record by record",
            x="probability of the right answer as a share of it and a wrong one",
            y="share of forgotten records with as much or less",
            series=evidence.series(PLACES, curves),
            n=n,
            note="Below the band: right answers that are still preferred. Above it: pushed away further than retrained "
            "models would.",
        ),
    )
