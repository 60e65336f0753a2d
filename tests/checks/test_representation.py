import numpy as np
import pytest

from expunge.checks.forget_accuracy import ForgetAccuracy
from expunge.checks.representation import Representation
from expunge.conformance.law import Law
from expunge.core.check import NotMeasured, Question
from expunge.numerics.similarity import debiased_cka, linear_probe


def last_layer_changed(law):
    """The features of a model that remembers, the answers of one that was retrained."""
    said, kept = law.model(7), law.model(8, memory=6.0)
    return {**said, **{name: array for name, array in kept.items() if name.startswith("features")}}


def test_the_value_is_that_of_the_probe():
    law = Law()
    candidate = law.model(7, memory=2.0)
    found = Representation().measure(law.evidence(candidate, references=4))

    def score(said):
        known = {"others": said["features retain"], "other_labels": law.labels["retain"]}
        return linear_probe(said["features forget"], labels=law.labels["forget"], **known).score.mean()

    assert found.value == pytest.approx(score(candidate))
    assert found.references == pytest.approx([score(law.model(100 + k)) for k in range(4)])
    assert found.original == pytest.approx(score(law.model(1, memory=6.0)))
    assert Representation.question is Question.RECOVERABLE


def test_what_only_the_last_layer_hides_is_seen():
    law = Law()
    given = law.evidence(last_layer_changed(law))
    hidden, read = ForgetAccuracy().measure(given), Representation().measure(given)
    assert hidden.interval.low < 0 < hidden.interval.high
    assert read.interval.low > 0
    assert read.value == pytest.approx(read.original, abs=0.05)


def test_cka_and_the_control_stand_beside_it():
    law = Law()
    candidate = law.model(7)
    details = Representation().measure(law.evidence(candidate, references=4)).details
    control, cka = (float(text.split()[0]) for text in details.values())
    own = candidate["features forget"]
    expected = np.mean([debiased_cka(own, other=law.model(100 + k)["features forget"]) for k in range(4)])
    assert cka == pytest.approx(expected, abs=1e-3)
    assert control == pytest.approx(0.25, abs=0.08), "four classes, and labels that say nothing"


def test_a_model_without_features_is_said():
    law = Law()
    said = {name: array for name, array in law.model(7).items() if not name.startswith("features")}
    found = Representation().measure(law.evidence(said))
    assert isinstance(found, NotMeasured)
    assert found.because == "the task knows no features of this model"


def test_one_label_is_said():
    law = Law()
    law.labels = {part: np.zeros_like(labels) for part, labels in law.labels.items()}
    found = Representation().measure(law.evidence(law.model(7)))
    assert isinstance(found, NotMeasured)
    assert found.because == "all records have one label"
