"""The LOSS attack: can forgotten records be told from records never trained on?"""

from __future__ import annotations

import math

import numpy as np

from expunge.core.chart import FEWEST, Chart, Role, Series
from expunge.core.check import Check, Direction, EvidenceKind, Measurement, NotMeasured, Question
from expunge.engine.evidence import Evidence
from expunge.numerics import curves, membership
from expunge.numerics.equivalence import paired_error, sample_error

Scores = dict[str, tuple[np.ndarray, np.ndarray]]
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
            charts=lambda: _charts(evidence, scores),
        )


def _charts(evidence: Evidence, scores: Scores) -> tuple[Chart, ...]:
    members, strangers = (len(part) for part in scores[evidence.candidate])
    losses = _losses(evidence) if members >= FEWEST else ()
    return (*losses, _roc(evidence, scores)) if min(members, strangers) >= FEWEST else losses


def _losses(evidence: Evidence) -> tuple[Chart, ...]:
    rows = {model: evidence.outputs(model, "forget").loss for model in evidence.models}
    edges = curves.loss_edges(rows.values())
    return (
        Chart(
            title="Loss on the forgotten records",
            x="loss of the label as trained (nats)",
            y="share of forgotten records",
            series=evidence.series(edges, {model: curves.histogram(row, edges) for model, row in rows.items()}),
            histogram=True,
            n=len(rows[evidence.candidate]),
            note=(
                "Records still known pile up near 0; losses beyond those of retrained models are a trace as well. What "
                "leaves the band is a difference, also where every check passes. The last bin holds all losses "
                f"from {edges[-2]:.3g} on."
            ),
        ),
    )


def _roc(evidence: Evidence, scores: Scores) -> Chart:
    """Return the attack's curve where the holdout resolves it; without a line where it resolves none."""
    members, strangers = (len(part) for part in scores[evidence.candidate])
    rates = curves.attack_rates(strangers)
    lines: tuple[Series, ...] = ()
    if len(rates):
        null = [membership.tpr_null(float(rate), members, strangers)[0] for rate in rates]
        lines = (
            *evidence.series(rates, {model: curves.attack_curve(*pair, rates) for model, pair in scores.items()}),
            Series(role=Role.NULL, x=curves.short(rates), y=curves.short(null)),
        )
        note = (
            f"Nothing is drawn below {100 * rates[0]:.3g} % false alarms: {strangers} holdout records do not "
            "resolve it. "
            "Judge by the band: forgotten records that are unlike the holdout are told apart by retrained models too."
        )
    else:
        note = f"Not drawn: {strangers} holdout records resolve no rate of false alarms; it takes 20 or more."
    return Chart(
        title="Membership attack: caught against false alarms",
        x="share of holdout records taken for forgotten ones (false alarms)",
        y="share of forgotten records caught",
        series=lines,
        log=True,
        n=members + strangers,
        note=note,
    )


def _tpr(evidence: Evidence, scores: Scores, rate: float) -> str:
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
