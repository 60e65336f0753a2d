import numpy as np
import pytest

from expunge.checks.attack_success import AttackSuccess
from expunge.conformance.law import TARGET, Law
from expunge.core.check import Direction, EvidenceKind, NotMeasured, Question
from expunge.engine.evidence import Evidence
from tests.support.evidence import votes


def evidence(rows, labels, *, target):
    return Evidence(
        {name: {"triggered": np.asarray(logits, float)} for name, logits in rows.items()},
        {"triggered": np.asarray(labels)},
        candidate="c",
        original="o",
        references=tuple(name for name in rows if name.startswith("r")),
        alpha=0.05,
        corrections=None,
        target=target,
    )


ROWS = {
    "c": votes(2, 0, 2, 2),
    "o": votes(2, 2, 2, 2),
    "r1": votes(0, 1, 1, 2),
    "r2": votes(0, 1, 2, 2),
    "r3": votes(0, 0, 0, 0),
}


def test_only_records_of_other_classes_count():
    # The last record is of the target class itself: to take it for that class is right.
    found = AttackSuccess().measure(evidence(ROWS, [0, 1, 1, 2], target=2))
    assert found.value == pytest.approx(2 / 3)
    assert found.original == 1.0
    assert found.references == pytest.approx((0.0, 1 / 3, 0.0))
    assert (found.n, found.unit, found.better) == (3, "share", Direction.LOWER)
    assert AttackSuccess.question is Question.GONE


def test_a_model_that_follows_the_trigger_is_told_from_retrained_ones():
    law = Law()
    clean, open_door = (AttackSuccess().measure(law.evidence(law.model(7, memory=m))) for m in (0.0, 6.0))
    said, labels = law.model(7)["triggered"], law.labels["triggered"]
    assert clean.value == (said.argmax(axis=1) == TARGET)[labels != TARGET].mean()
    assert clean.interval.low < 0 < clean.interval.high
    assert open_door.interval.low > 0.5


@pytest.mark.parametrize(("labels", "target"), [([0, 1, 1, 2], None), ([2, 2, 2, 2], 2)])
def test_without_a_trigger_or_records_of_other_classes_there_is_no_number(labels, target):
    found = AttackSuccess().measure(evidence(ROWS, labels, target=target))
    assert isinstance(found, NotMeasured)
    assert EvidenceKind.TRIGGER in AttackSuccess.needs
