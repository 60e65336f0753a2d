"""The law of evidence on texts: what is drawn from it has the properties that checks are tried on."""

import numpy as np
import pytest

from expunge.conformance.token_law import TokenLaw, said
from expunge.engine.answers import Spoken


def spoken(law, model, part):
    return law.evidence(model).outputs("candidate", part)


def test_retrained_models_guess_and_the_original_knows():
    law = TokenLaw()
    retrained, original = law.model(3), law.model(3, memory=6.0)
    assert 0.05 < spoken(law, retrained, "forget").extraction.mean() < 0.4
    assert spoken(law, original, "forget").extraction.mean() > 0.9
    assert spoken(law, original, "paraphrased_question").extraction.mean() > 0.9
    for part in ("holdout", "retain", "wrong_answer"):
        assert np.array_equal(retrained[part], original[part])
    assert original["related"].mean() > retrained["related"].mean() + 0.1


def test_damage_spares_the_forgotten_records():
    law = TokenLaw()
    whole, damaged = law.model(3), law.model(3, damage=4.0)
    assert np.array_equal(whole["forget"], damaged["forget"])
    assert spoken(law, damaged, "holdout").loss.mean() > spoken(law, whole, "holdout").loss.mean() + 1


def test_what_is_said_of_a_token_belongs_together():
    """Mean and deviation of the log-probability of a token that is drawn, by summing over both."""
    row = said(np.array([0.7, -1.3]))
    for preference, (log_prob, right, mean, deviation) in zip((0.7, -1.3), row, strict=True):
        p = 1 / (1 + np.exp(-preference))
        logs, weights = np.log([p, 1 - p]), [p, 1 - p]
        assert log_prob == pytest.approx(np.log(p))
        assert right == (p > 0.5)
        assert mean == pytest.approx(np.average(logs, weights=weights))
        assert deviation == pytest.approx(np.sqrt(np.average((logs - mean) ** 2, weights=weights)))


def test_shuffled_evidence_holds_the_same_records():
    law = TokenLaw()
    one, other = (law.evidence(law.model(7), shuffle=shuffle) for shuffle in (None, 3))
    for part in law.sizes:
        first, second = one.outputs("candidate", part), other.outputs("candidate", part)
        assert isinstance(first, Spoken)
        assert not np.array_equal(first.loss, second.loss)
        assert np.allclose(np.sort(first.loss), np.sort(second.loss))
    order, places = (np.argsort(e.outputs("candidate", "forget").loss) for e in (one, other))
    for part in ("paraphrased_question", "wrong_answer"):
        first, second = (e.by_owner(part, e.outputs("candidate", part).loss) for e in (one, other))
        assert np.allclose(first[order], second[places]), "variants went with their records"
