"""Who became more exposed: retained records that membership attacks see better than they would after retraining."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from expunge.core.check import Check, Direction, EvidenceKind, Measurement, NotMeasured, Question
from expunge.engine.evidence import Evidence
from expunge.numerics.exposure import MIN_REFERENCES, more_exposed

Array = NDArray[np.float64]
LEVEL = 0.05
"""Share of false entries expected among those listed."""


class Exposure(Check):
    """Share of retained records whose confidence stands out above that of references, at 5 % false entries.

    Forgetting can make those who stay easier to attack: the model leans on them harder than retraining would. The
    confidence of a record is compared with its own law over references, whose spread borrows from all records.
    """

    title = "Retained records that became more exposed"
    source = "Hayes et al. 2025, arXiv 2403.01218; moderated t of Smyth 2004; list of Benjamini and Hochberg 1995"
    question = Question.INTACT
    needs = frozenset({EvidenceKind.RETAIN, EvidenceKind.REFERENCES})
    better = Direction.LOWER
    unit = "share"
    cannot_see = "retained records outside the sample, and single ones whose exposure stays within the spread of seeds"
    exempt: ClassVar[Mapping[str, str]] = {
        "damage_is_found": "a model that lost what it knew of the rest exposes nobody; accuracies see it"
    }

    def measure(self, evidence: Evidence) -> Measurement | NotMeasured:
        """Return the share; every reference is compared with the others."""
        because = evidence.lacks("retain") or evidence.twins("retain")
        if not because and len(evidence.references) <= MIN_REFERENCES:
            because = f"needs {MIN_REFERENCES + 1} references or more, there are {len(evidence.references)}"
        if because:
            return NotMeasured(check=self.name, because=because)
        said = {model: evidence.outputs(model, "retain").confidence for model in evidence.models}

        @cache
        def listed(model: str) -> Array:
            others = np.stack([said[name] for name in evidence.references if name != model])
            return more_exposed(said[model], references=others, level=LEVEL).listed.astype(np.float64)

        alone = [int(listed(model).sum()) for model in evidence.references if model != evidence.candidate]
        return evidence.compare_means(
            self,
            ("retain",),
            listed,
            details={
                "retained records more exposed": f"{int(listed(evidence.candidate).sum())} of "
                f"{len(said[evidence.candidate])} (references {min(alone)} to {max(alone)}), "
                f"of which {LEVEL:.0%} may be false"
            },
        )
