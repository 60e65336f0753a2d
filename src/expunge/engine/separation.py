"""Can forgotten records be told from records never trained on? What every membership attack makes of its scores.

Shapes: n1 forgotten records (members), n0 holdout records (strangers); scores are larger for members.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from expunge.core.chart import FEWEST, Chart, Role, Series
from expunge.core.check import Check, Measurement
from expunge.engine.evidence import Evidence
from expunge.numerics import curves, membership

Array = NDArray[np.float64]
Scores = Mapping[str, tuple[Array, Array]]
"""By model: scores [n1] of the forgotten, [n0] of the holdout records."""
_RATES = (0.01, 0.05, 0.1)


def compare(
    evidence: Evidence,
    check: Check,
    scores: Scores,
    *,
    title: str,
    details: Mapping[str, str] | None = None,
    charts: Callable[[], tuple[Chart, ...]] = tuple,
) -> Measurement:
    """Return the measurement of the attack's AUC; its record error is the paired DeLong error against the references.

    Beside it stands what is caught at the false positive rates that the holdout resolves, and the attack's curve under
    ``title``, after further ``details`` and ``charts``.
    """
    ranks = {model: membership.ranking(*pair) for model, pair in scores.items()}
    member = {model: rank.member for model, rank in ranks.items()}
    stranger = {model: rank.stranger for model, rank in ranks.items()}
    sides = evidence.record_errors("forget", member), evidence.record_errors("holdout", stranger)
    members, strangers = scores[evidence.candidate]
    return evidence.compare(
        check,
        {model: rank.auc for model, rank in ranks.items()},
        n=len(members) + len(strangers),
        errors={model: math.hypot(*(side[model] for side in sides)) for model in evidence.judged},
        details={
            **(details or {}),
            **{
                f"forgotten records caught at {rate:.0%} false alarms": _caught(evidence, scores, rate)
                for rate in _RATES
            },
        },
        charts=lambda: (*charts(), *_curve(evidence, scores, title)),
    )


def _curve(evidence: Evidence, scores: Scores, title: str) -> tuple[Chart, ...]:
    """Return the attack's curve where the holdout resolves it; without a line where it resolves none."""
    members, strangers = (len(part) for part in scores[evidence.candidate])
    if min(members, strangers) < FEWEST:
        return ()
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
    chart = Chart(
        title=title,
        x="share of holdout records taken for forgotten ones (false alarms)",
        y="share of forgotten records caught",
        series=lines,
        log=True,
        n=members + strangers,
        note=note,
    )
    return (chart,)


def _caught(evidence: Evidence, scores: Scores, rate: float) -> str:
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
