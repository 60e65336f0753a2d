"""The verdict rule and the claim rule: pure functions, nothing else decides.

A check passes when the whole interval of (unlearned - reference) lies inside its margin; it fails when the
interval, corrected for the number of checks, lies wholly outside; otherwise it is inconclusive. A check that
judges damage only has one bound: no loss beyond the margin. Passing
needs no correction (intersection-union test, Berger 1982); failing does (Bonferroni).
"""

from __future__ import annotations

import enum
from collections.abc import Sequence

from expunge.core.check import Direction, Interval
from expunge.core.level import Level


class Decision(enum.Enum):
    """What one check says."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    NOT_MEASURED = "not measured"


class Verdict(enum.Enum):
    """What the audit says; it does not know the method."""

    ERASED = "erased"
    NOT_ERASED = "not erased"
    INCONCLUSIVE = "inconclusive"


def alpha_of_attempt(attempt: int, alpha: float) -> float:
    """Return the error rate at which attempt ``attempt`` (1, 2, ...) is judged: ``alpha * 2**-attempt``.

    Over any number of attempts the rates sum to at most ``alpha``, so trying more buys nothing.
    """
    if attempt < 1:
        raise ValueError(f"attempts count from 1, found {attempt}")
    return alpha * 2.0**-attempt


def decide(narrow: Interval, wide: Interval, margin: float, *, harmless: Direction | None = None) -> Decision:
    """Return what a check says: ``narrow`` is the interval for passing, ``wide`` the corrected one for failing.

    ``harmless`` is the side on which no difference is a failure, for a check that judges damage only; then the margin
    bounds the other side alone. None: both sides are bounded.
    """
    above = harmless is not Direction.HIGHER
    below = harmless is not Direction.LOWER
    if (not below or -margin <= narrow.low) and (not above or narrow.high <= margin):
        return Decision.PASS
    if (above and wide.low > margin) or (below and wide.high < -margin):
        return Decision.FAIL
    return Decision.INCONCLUSIVE


def judge(required: Sequence[Decision]) -> Verdict:
    """Return what the required checks say together, before the control is looked at."""
    if Decision.FAIL in required:
        return Verdict.NOT_ERASED
    if required and all(decision is Decision.PASS for decision in required):
        return Verdict.ERASED
    return Verdict.INCONCLUSIVE


def control_has_power(leaks: Sequence[Decision]) -> bool:
    """Return whether the suite could tell the original from a retrained model.

    ``leaks`` are the decisions on the original of the checks that ask whether the records are gone or
    recoverable; a fall in general accuracy shows no power to see them.
    """
    return Decision.FAIL in leaks


def verdict(required: Sequence[Decision], *, control_leaks: Sequence[Decision]) -> Verdict:
    """Return the verdict on a model, given the decisions of the required checks on it and on the original."""
    return judge(required) if control_has_power(control_leaks) else Verdict.INCONCLUSIVE


def claim(guarantee: Level, verdicts: Sequence[Verdict]) -> Level | None:
    """Return what may be claimed, never above the guarantee; None where nothing may be.

    ``verdicts`` are those on the model that ships, in order; a second one was reached with fresh
    references. A guarantee that stands alone falls only when two verdicts say ``not erased``.
    """
    if guarantee is Level.SUPPRESSED:
        return Level.SUPPRESSED
    if guarantee.stands_alone:
        refuted = len(verdicts) >= 2 and all(v is Verdict.NOT_ERASED for v in verdicts[:2])
        return None if refuted else guarantee
    return guarantee if verdicts and verdicts[0] is Verdict.ERASED else None


def needs_second_look(guarantee: Level, first: Verdict) -> bool:
    """Return whether the audit must be repeated with fresh references before the claim is known."""
    return guarantee.stands_alone and first is Verdict.NOT_ERASED
