"""What every check promises: what it says of a true retrain, of a leak, of damage, of nothing.

A check is tried on evidence drawn from a law (``law.py``), so that the right answer is known and no margin is
needed: against a true retrain the interval of the difference holds 0 as often as it says, against a planted
leak it lies on the side that the check calls worse.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from expunge.conformance._case import NotApplicable, Suite, require
from expunge.conformance.law import SIZES, Law
from expunge.conformance.token_law import TokenLaw
from expunge.core.chart import FEWEST
from expunge.core.check import Check, Direction, EvidenceKind, Measurement, NotMeasured, Question
from expunge.core.method import Cost
from expunge.engine.answers import Outputs, Spoken
from expunge.numerics import equivalence, known

SUITE = Suite()
RETRAINS = 40
ALLOWED = 6
"""Of 40 true retrains, at 5% each, more than 6 outside their interval happen in 0.3% of suites."""
_PARTS = {
    EvidenceKind.FORGET: ("forget",),
    EvidenceKind.RETAIN: ("retain", "neighbours"),
    EvidenceKind.HOLDOUT: ("holdout",),
    EvidenceKind.CANARIES: ("planted", "aside"),
    EvidenceKind.TRIGGER: ("triggered",),
    EvidenceKind.PARAPHRASES: ("paraphrased_question",),
    EvidenceKind.WRONG_ANSWERS: ("paraphrased_answer", "wrong_answer"),
}


def measured(cls: type, law: Law, *, seed: int = 7, memory: float = 0.0, damage: float = 0.0) -> Measurement:
    """Return what the check measures on one model of the law."""
    found = cls().measure(law.evidence(law.model(seed, memory=memory, damage=damage)))
    require(isinstance(found, Measurement), f"nothing was measured: {getattr(found, 'because', found)}")
    measurement: Measurement = found
    return measurement


def _law(cls: type[Check], *, seed: int = 0, wrong: bool = True, sizes: Mapping[str, int] = SIZES) -> Law:
    """Return a law in which the answer that the check must give is known; ``seed`` draws its records."""
    if EvidenceKind.TOKENS in cls.needs:
        return TokenLaw(seed, sizes)
    return Law(seed, sizes, wrong=wrong, alike=EvidenceKind.PEERS in cls.needs)


def _raw(outputs: Outputs | Spoken) -> NDArray[np.float64]:
    return outputs.said if isinstance(outputs, Spoken) else outputs.logits


def _difference(found: Measurement) -> float:
    return found.difference


def _bounds(found: Measurement) -> tuple[float, float]:
    """Return the ends of the interval that follows from the values, as whoever verifies a report recomputes it."""
    alpha, error = (1.0 - found.interval.level) / 2.0, found.record_error
    if found.yardstick is not None:
        own = known.difference(found.value, found.yardstick.value, error=error, alpha=alpha)
    else:
        own = equivalence.difference(
            found.value, found.references, record_error=error, alpha=alpha, scale=found.seed_scale
        )
    return own.low, own.high


def _detected(found: Measurement) -> bool:
    return not found.interval.low <= 0 <= found.interval.high


# --- what it says ---------------------------------------------------------------------------------------------


@SUITE.case()
def says_what_it_is(cls: type[Check]) -> None:
    """It has title, source, question, direction, unit, and says what it cannot see; it compares with a yardstick."""
    for name in ("title", "source", "unit", "cannot_see"):
        require(getattr(cls, name, "").strip(), f"no {name}")
    require(isinstance(getattr(cls, "question", None), Question), "no question of core.check.Question")
    require(isinstance(getattr(cls, "better", None), Direction), "no direction of core.check.Direction")
    compared = EvidenceKind.REFERENCES in cls.needs or measured(cls, _law(cls)).yardstick is not None
    require(compared, "it needs no references, and names no other yardstick: nothing is judged against zero")
    one_sided = cls.damage_only and cls.question is not Question.INTACT
    require(not one_sided, "only damage to the rest may be judged on one side: forgetting too much is a trace")


@SUITE.case()
def measurement_is_whole(cls: type[Check]) -> None:
    """A measurement has finite numbers ready for JSON, errors for every reference, and the check's own words."""
    found = measured(cls, _law(cls))
    words = (found.check, found.better, found.unit, found.cannot_see)
    require(words == (cls.name, cls.better, cls.unit, cls.cannot_see), "name, direction, unit or blind spot differ")
    numbers = [found.value, found.record_error, *found.references, *found.null_errors]
    numbers += [found.original] if found.original is not None else []
    require(all(type(number) is float for number in numbers), "numbers that are no plain float (NumPy's, perhaps)")
    require(all(map(math.isfinite, numbers)), "a number is NaN or infinite")
    count = 20 if found.yardstick is None else 0
    require(len(found.references) == len(found.null_errors) == count, "not one value and one error per reference")
    require(found.n > 0, "no records were counted")
    require(max((found.record_error, *found.null_errors)) > 0, "no error over records on any model")
    low, high = _bounds(found)
    same = math.isclose(found.interval.low, low, rel_tol=1e-6) and math.isclose(found.interval.high, high, rel_tol=1e-6)
    require(same, "the interval is not the one of its values: use evidence.compare, compare_means or against")


@SUITE.case()
def work_is_known_before(cls: type[Check]) -> None:
    """The work is announced, and twice the records are twice the work; of many a check may look at some."""
    one, two = cls().cost(20, 20), cls().cost(40, 20)
    require(isinstance(one, Cost) and one.trained + one.read > 0, "cost() announces no work")
    require((two.trained, two.read) == (2 * one.trained, 2 * one.read), "cost() does not follow the records")


# --- what it finds --------------------------------------------------------------------------------------------


@SUITE.case()
def true_retrain_is_not_detected(cls: type[Check]) -> None:
    """True retrains lie inside their interval at the rate that it states."""
    # Held-out records are draws, too: where these are the yardstick they are drawn anew for every retrain.
    own = EvidenceKind.PEERS in cls.needs
    laws = [_law(cls, seed=seed if own else 0) for seed in range(RETRAINS)]
    outside = sum(_detected(measured(cls, law, seed=7 + seed)) for seed, law in enumerate(laws))
    require(outside <= ALLOWED, f"{outside} of {RETRAINS} true retrains lie outside their 95% interval")


@SUITE.case()
def leak_is_found(cls: type[Check]) -> None:
    """A model that remembers what was to be forgotten is told from retrained ones, on the side that is worse."""
    if cls.question is Question.INTACT:
        raise NotApplicable("it asks whether the rest is intact")
    found = measured(cls, _law(cls), memory=6.0)
    require(_detected(found), f"a planted memory changes the value by {_difference(found):+.3g}, inside its interval")
    worse = _difference(found) > 0
    require(worse == (cls.better is Direction.LOWER), "the leak counts as better: the declared direction is wrong")


@SUITE.case()
def damage_is_found(cls: type[Check]) -> None:
    """A model that lost what it knew of the rest is told from retrained ones, on the side that is worse."""
    if cls.question is not Question.INTACT:
        raise NotApplicable("it does not ask whether the rest is intact")
    found = measured(cls, _law(cls), damage=4.0)
    require(_detected(found), f"a planted damage changes the value by {_difference(found):+.3g}, inside its interval")
    require((_difference(found) < 0) == (cls.better is Direction.HIGHER), "the declared direction is wrong")


@SUITE.case("G-16")
def forgetting_too_much_is_found(cls: type[Check]) -> None:
    """A model whose forgotten labels were pushed below what retrained models say is told from them."""
    if cls.question is not Question.GONE:
        raise NotApplicable("it does not ask whether the records are gone")
    found = measured(cls, _law(cls, wrong=False), memory=-6.0)
    require(_detected(found), f"over-forgetting changes the value by {_difference(found):+.3g}, inside its interval")


@SUITE.case()
def original_is_measured_beside(cls: type[Check]) -> None:
    """The same quantity stands for the original, equal to what the check says of it alone."""
    law = _law(cls)
    found = measured(cls, law)
    alone = cls().measure(law.evidence(law.model(1, memory=6.0)))
    require(isinstance(alone, Measurement), "the original cannot be measured")
    require(found.original is not None, "no value for the original")
    require(math.isclose(found.original or 0.0, alone.value, rel_tol=1e-9), "another value for the original than alone")


# --- what it leaves open --------------------------------------------------------------------------------------


@SUITE.case("G-11")
def order_of_records_does_not_matter(cls: type[Check]) -> None:
    """Records in another order give the same value, and the same evidence twice the same measurement."""
    law = _law(cls)
    model = law.model(7, memory=1.0)
    one, again, other = (cls().measure(law.evidence(model, shuffle=shuffle)) for shuffle in (None, None, 5))
    require(one == again, "the same evidence gives two measurements")
    close = math.isclose(one.value, other.value, rel_tol=1e-9)
    require(close, f"in another order of the records the value is {other.value!r} instead of {one.value!r}")


@SUITE.case()
def missing_records_are_said(cls: type[Check]) -> None:
    """Where a part that it needs is missing it says so, and gives no number."""
    law = _law(cls)
    kinds = [kind for kind in _PARTS if kind in cls.needs]
    if not kinds:
        raise NotApplicable("it needs no records of its own")
    for kind in kinds:
        lacking = tuple(part for part in law.sizes if part not in _PARTS[kind])
        found = cls().measure(law.evidence(law.model(7), references=3, parts=lacking))
        require(isinstance(found, NotMeasured), f"without {kind.value} it measured {found}")
        require(found.check == cls.name, f"it calls itself {found.check!r}")
        require("record" in found.because, f"it does not say what is missing: {found.because!r}")


@SUITE.case()
def broken_outputs_give_no_number(cls: type[Check]) -> None:
    """A model that answers NaN is not measured: no pass, no fail, no 0."""
    law = _law(cls)
    broken = {name: np.full_like(array, np.nan) for name, array in law.model(7).items()}
    with np.errstate(all="ignore"):
        found = cls().measure(law.evidence(broken))
    require(isinstance(found, NotMeasured), f"of a model that answers NaN it says {getattr(found, 'value', found)}")


@SUITE.case()
def handful_of_records_is_survived(cls: type[Check]) -> None:
    """One record per part and three references give a measurement or a reason, never an error, and no chart."""
    for count in (1, FEWEST - 1):
        law = _law(cls, sizes=dict.fromkeys(SIZES, count))
        with np.errstate(all="ignore"):
            found = cls().measure(law.evidence(law.model(7), references=3))
        if isinstance(found, NotMeasured):
            require(found.because.strip(), "it is not measured, for no reason")
            continue
        numbers = [found.value, found.record_error, found.interval.low, found.interval.high]
        require(all(map(math.isfinite, numbers)), f"with {count} records a number is NaN or infinite")
        require(not found.charts, f"a chart over {count} records shows single ones; fewer than {FEWEST} make none")


@SUITE.case()
def evidence_is_untouched(cls: type[Check]) -> None:
    """The evidence is not written to: the next check gets what this one got."""
    law = _law(cls)
    evidence = law.evidence(law.model(7))
    keys = [(model, part) for model in evidence.models for part in law.sizes]
    before = {key: _raw(evidence.outputs(*key)).copy() for key in keys}
    cls().measure(evidence)
    changed = [key for key, said in before.items() if not np.array_equal(said, _raw(evidence.outputs(*key)))]
    require(not changed, f"it changed the outputs of {len(changed)} models and parts")
