"""The law of evidence: what is drawn from it has the properties that checks are tried on."""

import numpy as np

from expunge.conformance.law import SIZES, Law


def accuracy(law, model, part, labels):
    return (model[part].argmax(1) == labels).mean()


def test_retrained_models_contradict_wrong_labels_and_the_original_keeps_them():
    law = Law()
    retrained, original = law.model(3), law.model(3, memory=6.0)
    assert accuracy(law, retrained, "forget", law.labels["forget"]) < 0.1
    assert accuracy(law, retrained, "forget", law.truth["forget"]) > 0.8
    assert accuracy(law, original, "forget", law.labels["forget"]) > 0.9
    assert np.array_equal(retrained["holdout"], original["holdout"])


def test_damage_spares_the_forgotten_records():
    law = Law()
    whole, damaged = law.model(3), law.model(3, damage=4.0)
    assert np.array_equal(whole["forget"], damaged["forget"])
    for part in ("retain", "holdout"):
        assert accuracy(law, damaged, part, law.labels[part]) < accuracy(law, whole, part, law.labels[part]) - 0.3


def test_models_differ_by_seed_alone():
    law = Law()
    assert np.array_equal(law.model(3)["retain"], law.model(3)["retain"])
    assert not np.array_equal(law.model(3)["retain"], law.model(4)["retain"])


def test_shuffled_evidence_holds_the_same_rows():
    law = Law()
    one, other = (law.evidence(law.model(7), shuffle=shuffle) for shuffle in (None, 3))
    for part in SIZES:
        first, second = one.outputs("candidate", part), other.outputs("candidate", part)
        assert not np.array_equal(first.logits, second.logits)
        assert np.array_equal(np.sort(first.confidence), np.sort(second.confidence))
    order = np.argsort(one.outputs("candidate", "forget").confidence)
    places = np.argsort(other.outputs("candidate", "forget").confidence)
    assert np.array_equal(one.corrections[order], other.corrections[places])
