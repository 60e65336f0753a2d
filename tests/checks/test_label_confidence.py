import numpy as np
import pytest

from expunge.checks.label_confidence import LabelConfidence
from expunge.core.check import Direction, Measurement, Question
from expunge.engine.evidence import Evidence
from expunge.numerics.membership import FLOOR


def evidence(shift, *, records=400, references=200, sigma=2.0, seed=0):
    """Two classes; the confidence of the label is the difference of the logits, normal around a mean per record."""
    draw = np.random.default_rng(seed)
    mean = draw.normal(-10, 4, records)

    def arrays(by):
        phi = mean + by + draw.normal(0, sigma, records)
        return {"forget": np.stack([phi, np.zeros(records)], 1)}

    names = tuple(f"r{k}" for k in range(references))
    models = {"c": arrays(shift), "o": arrays(14.0), **{name: arrays(0.0) for name in names}}
    labels = {"forget": np.zeros(records, int)}
    return models, Evidence(
        models, labels, candidate="c", original="o", references=names, alpha=0.025, corrections=None
    )


def test_the_value_by_hand():
    models, given = evidence(1.0, records=3, references=3)
    found = LabelConfidence().measure(given)
    phi = {name: said["forget"][:, 0] for name, said in models.items()}
    variances = np.array([phi["r0"], phi["r1"], phi["r2"]]).var(axis=0, ddof=1)
    scale = np.sqrt(0.5 * variances + 0.5 * variances.mean() + 0.0625)
    assert found.value == pytest.approx((phi["c"] / scale).mean())
    assert found.references == pytest.approx([(phi[f"r{k}"] / scale).mean() for k in range(3)])
    assert (found.n, found.unit, found.better) == (3, "sd", Direction.LOWER)
    assert LabelConfidence.question is Question.GONE


@pytest.mark.parametrize("shift", [-3.0, 0.0, 8.0])
def test_a_shift_is_found_in_deviations_of_the_references(shift):
    _, given = evidence(shift)
    found = LabelConfidence().measure(given)
    assert found.value - np.mean(found.references) == pytest.approx(shift / np.hypot(2.0, FLOOR), abs=0.15)


def test_what_probabilities_hide_is_seen():
    """Against e^-20, a probability of e^-8 is nothing to a divergence and four deviations to this check."""
    _, given = evidence(8.0)
    found = LabelConfidence().measure(given)
    assert isinstance(found, Measurement)
    assert found.interval.low > 3.5
