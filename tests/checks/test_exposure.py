import numpy as np
import pytest

from expunge.checks.exposure import Exposure
from expunge.conformance.law import Law
from expunge.core.check import NotMeasured, Question
from expunge.numerics.exposure import more_exposed
from expunge.numerics.membership import confidence


def with_exposed(law, count, by):
    """A retrained model that leans harder on some retained records."""
    said = law.model(7)
    retain = said["retain"].copy()
    retain[np.arange(count), law.labels["retain"][:count]] += by
    return {**said, "retain": retain}


@pytest.mark.parametrize("count", [0, 40, 120])
def test_the_share_is_of_those_who_became_more_exposed(count):
    law = Law()
    found = Exposure().measure(law.evidence(with_exposed(law, count, 6.0)))
    assert found.value == pytest.approx(count / 400, abs=0.015)
    listed = int(found.details["retained records more exposed"].split()[0])
    assert listed == round(found.value * 400)
    assert (found.interval.low > 0) == (count > 0)
    assert Exposure.question is Question.INTACT


def test_less_exposed_does_not_count():
    law = Law()
    found = Exposure().measure(law.evidence(with_exposed(law, 200, -6.0)))
    assert found.value < 0.01


def test_a_reference_is_compared_with_the_others():
    law = Law()
    found = Exposure().measure(law.evidence(law.model(7), references=5))
    phi = [confidence(law.model(100 + k)["retain"], law.labels["retain"]) for k in range(5)]
    alone = more_exposed(phi[1], references=np.stack([phi[k] for k in (0, 2, 3, 4)]))
    assert found.references[1] == alone.listed.mean()


def test_too_few_references_are_said():
    law = Law()
    found = Exposure().measure(law.evidence(law.model(7), references=3))
    assert isinstance(found, NotMeasured)
    assert found.because == "needs 4 references or more, there are 3"
