"""What a method returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from expunge.core.chart import Chart
from expunge.core.method import Cost


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The result of one method on one problem.

    Attributes:
        model: the unlearned model, live; not serialised.
        cost: the work that was really done.
        history: one mapping of figures per epoch, oldest first.
        touched: share of the parameters that changed, in [0, 1].
        stopped: why it ended, e.g. ``after 5 epochs``.
        warnings: what a reader must know.
        evidence: for a guarantee that stands alone, the argument, one line each.
        charts: what it found out of the model before it changed it, to draw beside.
    """

    model: Any = field(metadata={"live": True}, default=None)
    cost: Cost = Cost()
    history: tuple[Mapping[str, float], ...] = ()
    touched: float = 0.0
    stopped: str = ""
    warnings: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()
    charts: tuple[Chart, ...] = ()
