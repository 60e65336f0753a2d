"""What two checks share: the area under a curve of what comes back, and what it costs."""

import numpy as np
import pytest

from expunge.conformance.token_law import TokenLaw
from expunge.core import registry
from expunge.core.check import NotMeasured
from expunge.engine.relearning import RelearningConfig
from expunge.engine.treatments import NEIGHBOURS, OTHERS, TRAINED

KINDS = [("relearning_neighbours", NEIGHBOURS), ("relearning_unrelated", OTHERS)]


@pytest.mark.parametrize(("name", "part"), KINDS)
def test_the_value_is_the_mean_over_passes_and_records_of_its_own_training_alone(name, part):
    law = TokenLaw(5)
    model = law.model(7, memory=2.0)
    found = registry.load("checks", name)().measure(law.evidence(model))
    assert found.value == pytest.approx(float(np.mean(np.mean(model[part], axis=0))), abs=1e-9)
    other = OTHERS if part == NEIGHBOURS else NEIGHBOURS
    changed = registry.load("checks", name)().measure(law.evidence({**model, other: np.zeros_like(model[other])}))
    assert changed.value == found.value


@pytest.mark.parametrize(("name", "part"), KINDS)
def test_without_its_texts_nothing_is_measured_and_it_is_said_why(name, part):
    law = TokenLaw(5)
    check = registry.load("checks", name)()
    found = check.measure(law.evidence({key: value for key, value in law.model(7).items() if key != part}))
    assert isinstance(found, NotMeasured)
    assert check.without in found.because


@pytest.mark.parametrize(("n", "texts"), [(7, 7), (500, TRAINED)])
def test_at_most_so_many_texts_are_paid_for_on_every_model(n, texts):
    cost = registry.load("checks", "relearning_unrelated")().cost(n, 3)
    passes = RelearningConfig().epochs * 4
    assert (cost.trained, cost.read) == (passes * texts, passes * (texts + n))
