"""Are forgotten records answered as held-out records of their classes are? It needs no retrained model."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from expunge.core.chart import FEWEST, Chart, Role, Series
from expunge.core.check import Check, Direction, EvidenceKind, Measurement, NotMeasured, Question, Yardstick
from expunge.engine.evidence import Evidence
from expunge.numerics import curves
from expunge.numerics.matched import Matched, gap, matched

Array = NDArray[np.float64]
SURER = 0.9
"""Of the held-out records of its class: one forgotten record in ten is surer than so many by chance."""
LEAST = 2
"""Held-out records of a class, without which nothing is compared; the evidence asks for ten."""
PLACES = np.linspace(0.0, 1.0, 21)


class HoldoutCalibration(Check):
    """AUC of the confidence of the label, each forgotten record against the held-out records of its class.

    The yardstick is 0.5, whatever the model: one that was trained on neither deals both out by chance, where they are
    draws of one law. Whether they are is asked of the records before (``engine/peers``); where they are not, nothing is
    measured, since retrained models would tell them apart as well. Loss and confidence rank records alike, so this is
    the AUC of both. The error is the larger one of that of the deal (Mann and Whitney, class by class) and that of the
    records as they are, those of one subject counted together.
    """

    title = "Forgotten records beside held-out ones"
    source = (
        "loss attack, Yeom et al. 2018, arXiv 1709.01604, within classes; stratified rank sum, Lehmann 1975, "
        "Nonparametrics; gap of distributions by exchange, Lehmann and Romano, section 15.2"
    )
    question = Question.GONE
    needs = frozenset({EvidenceKind.FORGET, EvidenceKind.HOLDOUT, EvidenceKind.PEERS})
    better = Direction.LOWER
    unit = "AUC"
    cannot_see = (
        "single records that leak behind easy and hard ones, memory that leaves these answers as they would be, and "
        "whether forgotten records are harder or easier than held-out ones in a way that their inputs do not show"
    )

    def measure(self, evidence: Evidence) -> Measurement | NotMeasured:
        """Return the AUC against one half, with the distance of the two distributions and its p-value."""
        because = evidence.lacks("forget", "holdout") or _uncovered(evidence)
        if because:
            return NotMeasured(check=self.name, because=because)
        found = {model: _compared(evidence, model) for model in (evidence.candidate, evidence.original)}
        own = found[evidence.candidate]
        return evidence.against(
            self,
            {model: one.auc for model, one in found.items()},
            Yardstick(value=0.5, error=own.chance, what="chance, were both alike", retrained=True),
            n=len(own.member) + len(evidence.outputs(evidence.candidate, "holdout").target),
            error=max(own.chance, own.error),
            details=_details(evidence, own),
            charts=lambda: _charts(evidence, found),
        )


def _uncovered(evidence: Evidence) -> str:
    own, others = (evidence.outputs(evidence.candidate, part).classes for part in ("forget", "holdout"))
    if own is None or others is None:
        return "the answers are numbers: held-out records are compared class by class"
    bare = sum(int((others == label).sum()) < LEAST for label in np.unique(own))
    return f"of {bare} forgotten classes there are fewer than {LEAST} held-out records" if bare else ""


def _sides(evidence: Evidence, model: str) -> tuple[tuple[Array, Array], tuple[NDArray[np.int64], NDArray[np.int64]]]:
    one, other = (evidence.outputs(model, part) for part in ("forget", "holdout"))
    return (one.confidence, other.confidence), (one.classes, other.classes)


def _compared(evidence: Evidence, model: str) -> Matched:
    scores, labels = _sides(evidence, model)
    return matched(*scores, labels=labels, clusters=(evidence.units("forget"), evidence.units("holdout")))


def _details(evidence: Evidence, found: Matched) -> dict[str, str]:
    scores, labels = _sides(evidence, evidence.candidate)
    distance, p = gap(*scores, labels=labels, seed=0)
    loss = {part: evidence.outputs(evidence.candidate, part).loss for part in ("forget", "holdout")}
    shares = [(label, float((labels[0] == label).mean())) for label in np.unique(labels[0])]
    beside = sum(share * float(loss["holdout"][labels[1] == label].mean()) for label, share in shares)
    return {
        "mean loss": f"{loss['forget'].mean():.3f} nats; held-out records of the same classes {beside:.3f}",
        "largest gap of the two distributions": f"{distance:.3f} (p = {p:.3g}, by exchange within classes)",
        f"forgotten records surer than {SURER:.0%} of their held-out class": f"{(found.member > SURER).mean():.1%} "
        f"(by chance about {1 - SURER:.0%})",
    }


def _charts(evidence: Evidence, found: dict[str, Matched]) -> tuple[Chart, ...]:
    if len(found[evidence.candidate].member) < FEWEST:
        return ()
    roles = {evidence.original: Role.ORIGINAL, evidence.candidate: Role.SUBJECT}  # one model is drawn once
    lines = [
        Series(role=role, x=curves.short(PLACES), y=curves.short(curves.cumulative(found[model].member, PLACES)))
        for model, role in roles.items()
    ]
    return (
        Chart(
            title="Place of the forgotten records among held-out ones of their class",
            x="share of held-out records of the class that are less sure",
            y="share of forgotten records at this place or below",
            series=(*lines, Series(role=Role.NULL, x=curves.short(PLACES), y=curves.short(PLACES))),
            n=len(found[evidence.candidate].member),
            note="Below the diagonal: forgotten records are surer than held-out ones, as if they were still known; "
            "above it: less sure, as if they had been pushed away.",
        ),
    )
