import math

import numpy as np
import pytest
from scipy import stats
from scipy.special import softmax
from sklearn.metrics import roc_auc_score

from expunge.checks.loss_membership import LossMembership
from expunge.core.check import Direction, Question
from expunge.engine.evidence import Evidence
from tests.support.evidence import Law


def evidence(members, strangers, *, references=3, seed=0, reference=0.0):
    """Two classes; the confidence of the label is the difference of the logits. Candidate first, then references."""
    draw = np.random.default_rng(seed)

    def arrays(shift):
        phi = {"forget": draw.normal(shift, 1, members), "holdout": draw.normal(0, 1, strangers)}
        return {part: np.stack([values, np.zeros(len(values))], 1) for part, values in phi.items()}

    names = tuple(f"r{k}" for k in range(references))
    models = {"c": arrays(1.0), "o": arrays(2.0), **{name: arrays(reference) for name in names}}
    labels = {"forget": np.zeros(members, int), "holdout": np.zeros(strangers, int)}
    return models, Evidence(models, labels, candidate="c", original="o", references=names, alpha=0.05, corrections=None)


def test_the_value_is_sklearns_auc_of_the_labels_probability():
    models, given = evidence(60, 80)
    found = LossMembership().measure(given)
    for name, value in {"c": found.value, "o": found.original, "r1": found.references[1]}.items():
        p = np.concatenate([softmax(models[name][part], 1)[:, 0] for part in ("forget", "holdout")])
        assert value == pytest.approx(roc_auc_score([1] * 60 + [0] * 80, p))
    assert (found.n, found.unit, found.better) == (140, "AUC", Direction.LOWER)
    assert LossMembership.question is Question.GONE


def test_closed_forms_of_gaussians():
    _, given = evidence(20_000, 20_000)
    found = LossMembership().measure(given)
    assert found.value == pytest.approx(stats.norm.cdf(1 / math.sqrt(2)), abs=0.01)
    assert found.original == pytest.approx(stats.norm.cdf(2 / math.sqrt(2)), abs=0.01)
    assert found.references == pytest.approx((0.5,) * 3, abs=0.01)


def test_the_record_error_is_that_of_paired_differences_over_draws_of_records():
    values, errors = [], []
    for seed in range(250):
        _, given = evidence(50, 70, seed=seed)
        found = LossMembership().measure(given)
        values.append(found.value - np.mean(found.references))
        errors.append(found.record_error)
    assert np.mean(np.square(errors)) == pytest.approx(np.var(values, ddof=1), rel=0.25)


def at(rate, details):
    (text,) = [text for name, text in details.items() if rate in name.split()]
    return text


def test_rates_that_the_sample_cannot_resolve_are_not_printed():
    law = Law(sizes={"forget": 50, "retain": 5, "neighbours": 5, "holdout": 250})
    details = LossMembership().measure(law.evidence(law.model(7), references=3)).details
    assert at("1%", details) == "not resolvable with 250 holdout records; needs 1000 or more"
    assert not at("5%", details).endswith("imprecise: 250 holdout records")
    assert "95% below" in at("5%", details)
    few = Law(sizes={"forget": 50, "retain": 5, "neighbours": 5, "holdout": 60})
    details = LossMembership().measure(few.evidence(few.model(7), references=3)).details
    assert at("10%", details).endswith("imprecise: 60 holdout records")


def test_the_yardstick_is_what_retrained_models_have_and_not_a_half():
    _, given = evidence(400, 400, references=10, reference=1.0)
    found = LossMembership().measure(given)
    assert found.value > 0.7
    assert found.interval.low < 0 < found.interval.high
