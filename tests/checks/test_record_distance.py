import numpy as np
import pytest
from scipy import integrate, stats

from expunge.checks.record_distance import RecordDistance
from expunge.core.check import Direction, Question
from expunge.engine.evidence import Evidence

RECORDS, SPREAD = 200, 2.0


def evidence(change=None, *, records=RECORDS, references=20, seed=0, candidate="c"):
    """Two classes, so that the confidence is the difference of the logits: normal around a mean of each record.

    ``change(phi, mean)`` returns what the candidate says instead of ``phi``, a draw of a retrained model.
    """
    draw = np.random.default_rng(seed)
    mean = draw.normal(-10, 4, records)
    names = tuple(f"r{k}" for k in range(references))
    phi = {name: mean + draw.normal(0, SPREAD, records) for name in ("c", *names)}
    phi["o"] = phi["c"] + 14.0
    if change is not None:
        phi["c"] = change(phi["c"], mean)
    arrays = {name: {"forget": np.stack([row, np.zeros(records)], 1)} for name, row in phi.items()}
    return phi, Evidence(
        arrays,
        {"forget": np.zeros(records, int)},
        candidate=candidate,
        original="o",
        references=names,
        alpha=0.025,
        corrections=None,
    )


def measured(change=None, **more):
    return RecordDistance().measure(evidence(change, **more)[1])


def test_the_value_by_hand():
    phi, given = evidence(records=3, references=3)
    found = RecordDistance().measure(given)

    def distance(model, others):
        rows = np.array([phi[name] for name in others])
        own = rows.var(axis=0, ddof=1)
        scale = np.sqrt(0.5 * own + 0.5 * own.mean() + 0.25**2)
        z = (phi[model] - rows.mean(axis=0)) / (scale * np.sqrt(1.5))
        return np.log(1 + z**2).mean()

    pairs = [("r1", "r2"), ("r0", "r2"), ("r0", "r1")]
    assert found.references == pytest.approx([distance(f"r{k}", pairs[k]) for k in range(3)])
    assert found.value == pytest.approx(np.mean([distance("c", pair) for pair in pairs]))
    assert found.original == pytest.approx(np.mean([distance("o", pair) for pair in pairs]))
    assert (found.n, found.unit, found.better) == (3, "nats", Direction.LOWER)
    assert RecordDistance.question is Question.GONE


def expected(shift):
    """E ln(1 + z^2) of a normal z with this mean and deviation 1."""
    return integrate.quad(lambda z: np.log1p(z**2) * stats.norm.pdf(z - shift), -10, 20)[0]


@pytest.mark.parametrize("shift", [0.0, 1.0, 4.0])
def test_the_value_has_a_closed_form_for_many_references(shift):
    found = measured(lambda phi, mean: phi + shift * SPREAD, records=4000, references=60)
    assert found.value == pytest.approx(expected(shift), abs=0.05)
    assert np.mean(found.references) == pytest.approx(expected(0.0), abs=0.02)


@pytest.mark.parametrize("references", [4, 8, 20])
def test_what_a_true_retrain_says_does_not_depend_on_the_number_of_references(references):
    found = [measured(seed=seed, references=references) for seed in range(12)]
    apart = [one.value - np.mean(one.references) for one in found]
    assert np.mean(apart) == pytest.approx(0.0, abs=3 * np.std(apart) / np.sqrt(12))


HALF = np.where(np.arange(RECORDS) % 2 == 0, 1.0, -1.0)
CHEATS = {
    "half known, half pushed too far": lambda phi, mean: phi + 3 * SPREAD * HALF,
    "one in ten still known": lambda phi, mean: phi + 12 * SPREAD * (np.arange(RECORDS) % 10 == 0),
    "pushed too far": lambda phi, mean: phi - 3 * SPREAD,
    "noise": lambda phi, mean: phi + np.random.default_rng(9).normal(0, 3 * SPREAD, RECORDS),
}


@pytest.mark.parametrize("name", CHEATS)
def test_what_a_mean_hides_is_found(name):
    found = measured(CHEATS[name])
    assert found.interval.low > 0.1


def test_a_model_fitted_to_the_mean_of_retrained_ones_is_too_near():
    found = measured(lambda phi, mean: mean + 0.2 * (phi - mean))
    assert found.interval.high < -0.1


def test_a_reference_is_never_compared_with_itself():
    alone, among = measured(candidate="r3"), measured()
    assert alone.value == pytest.approx(among.references[3])
    assert alone.interval.low < 0 < alone.interval.high


def test_the_details_count_both_sides():
    found = measured(lambda phi, mean: np.where(np.arange(RECORDS) < 20, phi + 20 * SPREAD, phi))
    known, less = found.details.values()
    share = float(known.split("%")[0]) / 100
    assert 0.1 <= share < 0.13
    assert float(less.split("%")[0]) < 3
