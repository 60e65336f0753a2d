"""The plan: what is possible here, what it costs, what would be claimed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from expunge.core.level import Level
from expunge.core.method import Cost

FORCED = "asked for by name"
"""Why a method is planned that was named."""
ON_REQUEST = "tried only where it is named"
"""How the reason starts why a method is not planned that the plan does not try unasked."""
TUNED = "chosen by auto, which tunes its settings first"
"""Why a method is planned that ``auto`` chose."""
BY_RECIPE = (
    "of all methods the recipes for texts came nearest to retrained models with it; its steps suit the training; earns "
    "its claim only if the audit passes"
)
"""Why a method is planned that is tried first because recipes speak for it."""
OVER_BUDGET = "would take the attempts over the budget"
"""How the reason starts why a method is not planned that would be possible."""


NO_NETWORK = "(found: no network)"
"""What the reason holds why a method is not planned that works on networks alone."""
_FEW = 5


@dataclass(frozen=True, kw_only=True)
class Option:
    """One method on one problem.

    ``share`` is its cost as a share of one retraining, the most that one run may cost where it is ``tuned``; None
    where the cost of a retraining is unknown. ``why`` says why it is planned, or why not.
    """

    method: str
    title: str
    guarantee: Level
    cost: Cost
    share: float | None
    planned: bool
    why: str

    @property
    def tuned(self) -> bool:
        """Whether ``auto`` chose it: its settings, and what a run with them costs, are still to be found."""
        return self.why == TUNED


@dataclass(frozen=True, kw_only=True)
class Foresight:
    """What one policy costs and can show on one problem, before anything is run.

    Attributes:
        policy: its name.
        chosen: whether the plan is made for it.
        references / choosing_references: retrained models for judging and for choosing.
        checks: number of required checks.
        share: cost of references and audits for one attempt, as a share of one retraining; None where unknown.
        missing: by required check that cannot run here, which evidence is missing; empty: the policy can be used.
        shows: what it can show here, one sentence each.
    """

    policy: str
    chosen: bool
    references: int
    choosing_references: int
    checks: int
    share: float | None
    missing: Mapping[str, str]
    shows: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Options in the order they would be tried; those that are not planned come last.

    ``whole`` is the cost of the dearest course: tuning, all planned attempts (those that are tuned get together with
    the search no more than the budget), references and audits, as a share of one retraining; ``tuning`` the most that
    tuning may take of the budget, likewise; ``floor`` the lowest accuracy of a trial that was asked for, None where it
    follows from the original's. ``advice`` are sentences for the reader, e.g. that one retraining would be cheaper.
    ``policies`` are the one that judges and others that could, cheapest first.
    """

    options: tuple[Option, ...]
    budget: float
    references: int
    choosing_references: int
    retraining: Cost | None
    audit_share: float | None
    whole: float | None
    advice: tuple[str, ...]
    policies: tuple[Foresight, ...] = ()
    tuning: float = 0.0
    floor: float | None = None

    @property
    def on_request(self) -> tuple[Option, ...]:
        """The methods that could run and are tried only where they are named, in the order of their cost."""
        return tuple(option for option in self.options if option.why.startswith(ON_REQUEST))

    @property
    def of_networks(self) -> tuple[Option, ...]:
        """The methods that work on networks alone, where the model is none and nobody named them one by one."""
        found = tuple(option for option in self.options if not option.planned and NO_NETWORK in option.why)
        return found if len(found) > _FEW else ()

    @property
    def order(self) -> tuple[str, ...]:
        """Names of the planned methods, in order."""
        return tuple(option.method for option in self.options if option.planned)
