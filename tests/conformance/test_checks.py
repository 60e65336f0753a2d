"""Mistakes planted in a check that is right otherwise, each caught by the case that names it."""

import dataclasses
import math
from typing import ClassVar

import numpy as np
import pytest

from expunge.conformance.checks import SUITE
from expunge.conformance.run import Result, conform
from expunge.core.chart import Chart
from expunge.core.check import Check, Direction, EvidenceKind, NotMeasured, Question
from expunge.core.method import Cost
from tests.conformance.cases import outcome


class Right(Check):
    """Accuracy on the forgotten records."""

    name = "right"
    title = "Accuracy on the forgotten records"
    source = "written for this test"
    question = Question.GONE
    needs: ClassVar = frozenset({EvidenceKind.FORGET, EvidenceKind.REFERENCES})
    better = Direction.LOWER
    unit = "share"
    cannot_see = "what does not change the answer"

    def row(self, evidence, model):
        return evidence.outputs(model, "forget").correct

    def measure(self, evidence):
        return evidence.compare_means(self, ("forget",), lambda model: self.row(evidence, model))


class Silent(Right):
    cannot_see = ""


class AgainstZero(Right):
    needs: ClassVar = frozenset({EvidenceKind.FORGET})


class OneSided(Right):
    damage_only = True


class Foreign(Right):
    def measure(self, evidence):
        found = super().measure(evidence)
        return dataclasses.replace(found, value=np.float64(found.value)) if hasattr(found, "value") else found


class Free(Right):
    def cost(self, n, references):
        return Cost()


class TooSure(Right):
    def measure(self, evidence):
        found = super().measure(evidence)
        if isinstance(found, NotMeasured):
            return found
        away = found.value - np.mean(found.references)
        thin = dataclasses.replace(found.interval, low=float(away - 1e-6), high=float(away + 1e-6))
        return dataclasses.replace(found, interval=thin)


class OwnInterval(Right):
    def measure(self, evidence):
        found = super().measure(evidence)
        if isinstance(found, NotMeasured):
            return found
        return dataclasses.replace(found, interval=dataclasses.replace(found.interval, high=found.interval.high + 0.01))


class Upside(Right):
    better = Direction.HIGHER


class Blind(Right):
    def row(self, evidence, model):
        return evidence.outputs(model, "retain").correct


class BlindToDamage(Right):
    question = Question.INTACT
    better = Direction.HIGHER


class NoOriginal(Right):
    def measure(self, evidence):
        found = super().measure(evidence)
        return dataclasses.replace(found, original=found.value) if hasattr(found, "value") else found


class FirstHalf(Right):
    def row(self, evidence, model):
        row = super().row(evidence, model)
        return row[: math.ceil(len(row) / 2)]


class Zero(Right):
    def measure(self, evidence):
        because = evidence.lacks("forget")
        return Right.measure(self, evidence) if not because else 0.0


class Reckless(Right):
    def row(self, evidence, model):
        row = super().row(evidence, model)
        assert len(row) > 5
        return row


class Revealing(Right):
    def measure(self, evidence):
        found = super().measure(evidence)
        drawn = Chart(title="t", x="x", y="y", series=(), n=1)
        return dataclasses.replace(found, charts=(drawn,)) if hasattr(found, "value") else found


class Writing(Right):
    def row(self, evidence, model):
        evidence.outputs(model, "holdout").logits[:] += 1
        return super().row(evidence, model)


class NanIsFine(Right):
    def measure(self, evidence):
        for said in evidence._arrays.values():
            said.update({part: np.nan_to_num(array) for part, array in said.items()})
        return super().measure(evidence)


PLANTED = {
    Silent: "says_what_it_is",
    AgainstZero: "says_what_it_is",
    OneSided: "says_what_it_is",
    Foreign: "measurement_is_whole",
    Free: "work_is_known_before",
    TooSure: "true_retrain_is_not_detected",
    OwnInterval: "measurement_is_whole",
    Upside: "leak_is_found",
    Blind: "leak_is_found",
    BlindToDamage: "damage_is_found",
    NoOriginal: "original_is_measured_beside",
    FirstHalf: "order_of_records_does_not_matter",
    Zero: "missing_records_are_said",
    NanIsFine: "broken_outputs_give_no_number",
    Reckless: "handful_of_records_is_survived",
    Revealing: "handful_of_records_is_survived",
    Writing: "evidence_is_untouched",
}


def results(cls):
    return {one.case: one for one in conform("checks", cls).tried}


def test_the_check_without_a_mistake_passes():
    failed = {one.case: one.because for one in results(Right).values() if one.result is Result.FAILED}
    assert failed == {}


@pytest.mark.parametrize(("planted", "case"), PLANTED.items(), ids=lambda part: getattr(part, "__name__", part))
def test_a_planted_mistake_is_caught(planted, case):
    result, because, _ = outcome("checks", planted, case)
    assert result is Result.FAILED, because


def test_every_case_catches_something_planted():
    elsewhere = {"forgetting_too_much_is_found"}  # planted.py, G-16
    assert {case.name for case in SUITE} == {*PLANTED.values(), *elsewhere}
