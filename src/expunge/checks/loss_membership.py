"""The LOSS attack: can forgotten records be told from records never trained on?"""

from __future__ import annotations

from expunge.core.chart import FEWEST, Chart
from expunge.core.check import Check, Direction, EvidenceKind, Measurement, NotMeasured, Question
from expunge.engine import separation
from expunge.engine.evidence import Evidence
from expunge.numerics import curves


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
    cannot_see = "single records that leak while the population does not: record_membership calibrates each"

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
        return separation.compare(
            evidence,
            self,
            scores,
            title="Membership attack: caught against false alarms",
            charts=lambda: _losses(evidence),
        )


def _losses(evidence: Evidence) -> tuple[Chart, ...]:
    rows = {model: evidence.outputs(model, "forget").loss for model in evidence.models}
    if len(rows[evidence.candidate]) < FEWEST:
        return ()
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
