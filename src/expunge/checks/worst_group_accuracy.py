"""Accuracy on the group that fares worst among the holdout records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expunge.core.check import Check, Direction, EvidenceKind, Measurement, NotMeasured, Question
from expunge.engine.evidence import Evidence
from expunge.engine.groups import left_out
from expunge.numerics.groups import named

SHOWN = 8
"""Groups of which the report tells the accuracy, those with the lowest."""


class WorstGroupAccuracy(Check):
    """The lowest accuracy of any group on the holdout."""

    title = "Accuracy on the worst group"
    source = "Sagawa et al. 2020, arXiv 1911.08731"
    question = Question.INTACT
    needs = frozenset({EvidenceKind.HOLDOUT, EvidenceKind.GROUPS, EvidenceKind.REFERENCES})
    better = Direction.HIGHER
    unit = "share"
    cannot_see = "groups that the problem does not name"

    def measure(self, evidence: Evidence) -> Measurement | NotMeasured:
        """Return the minimum over groups; its record error is that of the group with the largest one."""
        because = evidence.lacks("holdout")
        if because:
            return NotMeasured(check=self.name, because=because)
        groups = evidence.groups
        if groups is None:
            return NotMeasured(check=self.name, because="the problem names no groups")
        masks = [groups == group for group in named(groups)]
        rows = {model: evidence.outputs(model, "holdout").correct for model in evidence.models}
        values = {model: min(float(row[m].mean()) for m in masks) for model, row in rows.items()}
        found = [evidence.record_errors("holdout", {m: row[k] for m, row in rows.items()}, k, unseen=1) for k in masks]
        errors = {model: max(each[model] for each in found) for model in evidence.judged}
        smallest = min(int(mask.sum()) for mask in masks)
        return evidence.compare(
            self,
            values,
            n=int(sum(mask.sum() for mask in masks)),
            errors=errors,
            details={
                "groups": str(len(masks)),
                "records in the smallest group": str(smallest),
                **left_out(groups),
                **_by_group(evidence, groups, rows),
            },
        )


def _by_group(evidence: Evidence, groups: NDArray[Any], rows: Mapping[str, NDArray[np.float64]]) -> Mapping[str, str]:
    """Return the accuracy of every model on each group, the worst first, in words."""
    means = {
        group: {model: float(row[groups == group].mean()) for model, row in rows.items()} for group in named(groups)
    }
    ranked = sorted(means, key=lambda group: means[group][evidence.candidate])[:SHOWN]
    return {
        f"group {place}, {evidence.called(group)}": f"{means[group][evidence.candidate]:.1%} on "
        f"{int((groups == group).sum())} records ({_others(evidence, means[group])})"
        for place, group in enumerate(ranked, start=1)
    }


def _others(evidence: Evidence, means: Mapping[str, float]) -> str:
    alone = [means[model] for model in evidence.references if model != evidence.candidate]
    original = f"original {means[evidence.original]:.1%}; " if evidence.original != evidence.candidate else ""
    return f"{original}references {min(alone):.1%} to {max(alone):.1%}"
