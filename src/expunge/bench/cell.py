"""One cell of the benchmark: what came of one method on one scenario with one seed."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from expunge.audit.judge import null_passes
from expunge.core.check import Measurement
from expunge.core.report import Audit


class State(enum.Enum):
    """How a cell ended."""

    DONE = "done"
    FAILED = "failed"
    IMPOSSIBLE = "impossible"


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One required check on the unlearned model: what it measured, less the references' mean, and what it decided.

    ``difference`` and ``margin`` are in the unit of the check; None where it was not measured.
    """

    decision: str
    difference: float | None = None
    margin: float | None = None

    @classmethod
    def of(cls, audit: Audit) -> dict[str, Judged]:
        """Return every required check of an audit by name."""
        found = {}
        for finding in (each for each in audit.findings if each.required):
            result, difference = finding.result, None
            if isinstance(result, Measurement) and result.references:
                difference = result.value - sum(result.references) / len(result.references)
            found[finding.check] = cls(decision=finding.decision.value, difference=difference, margin=finding.margin)
        return found


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What came of it.

    Attributes:
        scenario, method, seed: which cell it is.
        state: whether there is a model; a method with obstacles here is impossible, one that diverged failed.
        because: why there is none.
        verdict: of the audit; empty without a model.
        checks: the required checks of that audit.
        scores: ``forget``, ``retain``, ``test``, ``mia`` (shares), ``avg_gap`` (points), ``tow``, ``tow_mia``, and
            ``attack_success`` where a trigger was planted.
        chosen: the method that ``auto`` chose; empty of others.
        config: the settings it worked with.
        share: work of the method, with the models it had retrained for its choices and with its tuning, as a share of
            one retraining; of requests in a row the mean over them.
        tuning: the part of ``share`` that was spent on tuning.
        seconds: wall time of the method alone, whatever else the machine did.
        run: its run directory, relative to the results directory.
    """

    scenario: str
    method: str
    seed: int
    state: State
    because: str = ""
    verdict: str = ""
    checks: Mapping[str, Judged] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)
    chosen: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    share: float | None = None
    tuning: float = 0.0
    seconds: float | None = None
    run: str = ""

    @property
    def alone(self) -> float | None:
        """Work of one run of the method with the settings it has, as a share of one retraining."""
        return None if self.share is None else self.share - self.tuning

    @property
    def name(self) -> str:
        """The folder of the cell, relative to the results directory."""
        return place(self.scenario, self.method, self.seed)


@dataclass(frozen=True, kw_only=True)
class Yardstick:
    """The scores of the models that every cell of a scenario and a seed is compared with.

    Attributes:
        original: as :attr:`Cell.scores`.
        references: the same of each; its gaps are to the other references.
        verdict: of the audit of the original.
        passes: how many references pass each required check against the others: how often a true retrain does.
        passing: how many pass all of these; None where there are too few references to judge one by the others.
        unasked: required checks that say nothing of a reference: not measured, or judged by something else than these.
    """

    original: Mapping[str, float]
    references: tuple[Mapping[str, float], ...]
    verdict: str = ""
    passes: Mapping[str, int] = field(default_factory=dict)
    passing: int | None = None
    unasked: tuple[str, ...] = ()

    def judged(self, control: Audit) -> Yardstick:
        """Return it with what the audit of the original says of it and of the references."""
        said = {
            each.check: null_passes(each.result, each.margin, control.alpha)
            if isinstance(each.result, Measurement)
            else []
            for each in control.findings
            if each.required
        }
        known = {name: passes for name, passes in said.items() if passes}
        return replace(
            self,
            verdict=control.verdict.value,
            passes={name: sum(passes) for name, passes in known.items()},
            passing=sum(map(all, zip(*known.values(), strict=True))) if known else None,
            unasked=tuple(name for name in said if name not in known),
        )


@dataclass(frozen=True, kw_only=True)
class Quality:
    """The competition's forgetting quality F of one method on one scenario, beside its null.

    ``models`` a side; ``null`` is the mean of F when models are exchanged between the sides, with its ``deviation``;
    ``p_value`` is the share of exchanges with so low a quality. All four are None where too few models are there.
    ``failed`` counts, by reason, the runs of the method that gave no model.
    """

    scenario: str
    method: str
    models: int
    quality: float | None = None
    null: float | None = None
    deviation: float | None = None
    p_value: float | None = None
    failed: Mapping[str, int] = field(default_factory=dict)


def place(scenario: str, method: str, seed: int) -> str:
    """Return the folder of a cell, relative to the results directory."""
    return f"cells/{scenario}/{method}/seed-{seed}"
