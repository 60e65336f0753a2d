"""Truth ratio, forget quality and utility: the logs of TOFU's authors, closed forms, and laws of both."""

import json
import math
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from expunge.numerics.truth_ratio import (
    PARTS,
    Heard,
    arithmetic,
    forget_quality,
    geometric,
    harmonic_mean,
    indifference,
    model_utility,
    normalised,
    preference,
    probability,
    share,
)

LOGS = Path(__file__).parents[3] / "shared" / "data" / "tofu" / "authors_eval_llama2_7b.json"
published = pytest.mark.skipif(not LOGS.exists(), reason="shared/data/tofu is not here")


@cache
def logs():
    """The logs: model -> set -> answer [n], paraphrased [n], perturbed [n, k], rougeL_recall [n]."""
    models = json.loads(LOGS.read_text())["models"]
    return {m: {s: {k: np.array(v) for k, v in one.items()} for s, one in sets.items()} for m, sets in models.items()}


def ratios(model, ratio, right="paraphrased"):
    forget = logs()[model]["forget"]
    return ratio(forget[right], forget["perturbed"])


def utility(model, ratio=geometric, facts="paraphrased"):
    sets = logs()[model]
    told = [
        Heard(one["answer"], one[right], one["perturbed"], one["rougeL_recall"])
        for one, right in ((sets["retain"], "paraphrased"), (sets["real_authors"], facts), (sets["world_facts"], facts))
    ]
    return model_utility(told[0], real_authors=told[1], world_facts=told[2], ratio=ratio)


# --- what was published, and what was computed from the same logs ------------------------------------------------


@published
@pytest.mark.parametrize(("ratio", "distance", "p"), [(geometric, 119, 1.834066e-21), (arithmetic, 123, 6.031912e-23)])
def test_forget_quality_is_the_published_one(ratio, distance, p):
    found = forget_quality(ratios("full", ratio), ratios("retain90", ratio), seed=0)
    assert found.distance == pytest.approx(distance / 300)
    assert found.p == pytest.approx(p, rel=1e-6), "exact: the asymptotic law gives 8.5e-22 and 2.6e-23"


@published
def test_the_interval_of_the_published_distance():
    for seed in range(3):
        found = forget_quality(ratios("full", geometric), ratios("retain90", geometric), seed=seed)
        assert (found.low, found.high) == (pytest.approx(0.337, abs=0.008), pytest.approx(0.477, abs=0.008))


@published
def test_the_answer_in_the_place_of_its_paraphrase_is_another_question():
    found = forget_quality(*(ratios(model, geometric, "answer") for model in ("full", "retain90")), seed=0)
    assert (found.distance, found.p) == (pytest.approx(0.8667, abs=1e-4), pytest.approx(6.42e-117, rel=1e-3))


@published
@pytest.mark.parametrize(
    ("model", "ratio", "facts", "value"),
    [
        ("full", geometric, "paraphrased", 0.622677),
        ("retain90", geometric, "paraphrased", 0.613745),
        ("full", arithmetic, "paraphrased", 0.585886),
        ("retain90", arithmetic, "paraphrased", 0.575240),
        # the same text in another batch: what padding does
        ("full", geometric, "answer", 0.622625),
        ("retain90", geometric, "answer", 0.613613),
    ],
)
def test_model_utility_is_the_published_one(model, ratio, facts, value):
    assert utility(model, ratio, facts).value == pytest.approx(value, abs=6e-7)


@published
@pytest.mark.parametrize(
    ("model", "ratio", "parts"),
    [
        ("full", geometric, [0.9895, 0.9857, 0.4747, 0.4555, 0.9330, 0.5962, 0.4186, 0.8825, 0.5390]),
        ("full", arithmetic, [0.9895, 0.9857, 0.4539, 0.4555, 0.9330, 0.5052, 0.4186, 0.8825, 0.4231]),
        ("retain90", geometric, [0.9889, 0.9758, 0.4710, 0.4341, 0.9230, 0.5707, 0.4143, 0.8974, 0.5442]),
        ("retain90", arithmetic, [0.9889, 0.9758, 0.4496, 0.4341, 0.9230, 0.4785, 0.4143, 0.8974, 0.4201]),
    ],
)
def test_so_are_its_nine_parts(model, ratio, parts):
    found = utility(model, ratio).parts
    assert tuple(found) == PARTS
    assert list(found.values()) == pytest.approx(parts, abs=6e-5)


@published
def test_means_over_the_forget_set():
    found = {
        model: [
            indifference(ratios(model, geometric)).mean(),
            indifference(ratios(model, arithmetic)).mean(),
            ratios(model, geometric).mean(),
            preference(ratios(model, geometric)).mean(),
            ratios(model, normalised).mean(),
            probability(logs()[model]["forget"]["answer"]).mean(),
        ]
        for model in ("full", "retain90")
    }
    assert found["full"] == pytest.approx([0.515985, 0.530370, 0.576865, 0.461999, 0.661136, 0.990939], abs=6e-7)
    assert found["retain90"] == pytest.approx([0.674019, 0.679652, 0.920406, 0.241828, 0.554261, 0.147563], abs=6e-7)


@published
def test_halves_of_one_retrained_model_are_alike():
    one = ratios("retain90", geometric)
    found = forget_quality(one[:150], one[150:], seed=0)
    assert (found.distance, found.p) == (pytest.approx(0.087, abs=5e-4), pytest.approx(0.63, abs=5e-3))
    assert found.low > 0, "a largest distance is never negative"


# --- without data -----------------------------------------------------------------------------------------------

DRAW = np.random.default_rng(0)
RIGHT, WRONG = DRAW.gamma(2.0, size=200), DRAW.gamma(2.0, 1.5, size=(200, 5))


@pytest.mark.parametrize(("n", "p"), [(40, 1.860e-23), (200, 1.943e-119), (400, 1.064e-239)])
def test_complete_separation_is_a_value_of_the_number_of_records(n, p):
    found = forget_quality(np.arange(n), np.arange(n) + 10.0 * n, seed=0, resamples=10)
    assert (found.distance, found.low, found.high) == (1.0, 1.0, 1.0)
    assert found.p == pytest.approx(p, rel=1e-3)
    assert found.p == pytest.approx(2 / math.comb(2 * n, n)), "one order of all, and its reverse"


def test_ratios_are_those_of_probabilities():
    p, q = np.exp(-RIGHT), np.exp(-WRONG)
    np.testing.assert_allclose(geometric(RIGHT, WRONG), stats.gmean(q, axis=1) / p)
    np.testing.assert_allclose(arithmetic(RIGHT, WRONG), q.mean(axis=1) / p)
    np.testing.assert_allclose(normalised(RIGHT, WRONG), p / (p + stats.gmean(q, axis=1)))
    np.testing.assert_allclose(share(RIGHT, WRONG), p / (p + q.sum(axis=1)))
    assert (arithmetic(RIGHT, WRONG) >= geometric(RIGHT, WRONG)).all(), "the means' inequality"


def test_three_wrong_answers_are_not_five():
    assert share([1.0], [[1.0] * 3]).tolist() == [0.25]
    assert share([1.0], [[1.0] * 5])[0] == pytest.approx(1 / 6)
    assert geometric([1.0], [[1.0] * 3]).tolist() == [1.0]


def test_aggregates_by_hand():
    assert indifference([0.5, 2.0, 1.0]).tolist() == [0.5, 0.5, 1.0]
    assert preference([0.25, 2.0, 1.0]).tolist() == [0.75, 0.0, 0.0]
    for aggregate in (indifference, preference):
        with pytest.raises(ValueError, match="positive"):
            aggregate([1.0, 0.0])


@pytest.mark.parametrize("onto", [lambda r: 1 / r, np.log, lambda r: 1 / (1 + r)])
def test_forget_quality_asks_for_the_order_alone(onto):
    one, other = geometric(RIGHT, WRONG)[:120], arithmetic(RIGHT, WRONG)[100:]
    before, after = forget_quality(one, other, seed=3), forget_quality(onto(one), onto(other), seed=3)
    assert after == before


def test_a_resampled_distance_is_that_of_its_samples():
    """With ties: values are whole numbers."""
    one, other = DRAW.integers(0, 6, 30).astype(float), DRAW.integers(1, 8, 40).astype(float)
    found = forget_quality(one, other, seed=5, resamples=50, confidence=0.9)
    draw, distances = np.random.default_rng(5), []
    for _ in range(50):
        mine, theirs = one[draw.integers(30, size=30)], other[draw.integers(40, size=40)]
        distances.append(stats.ks_2samp(mine, theirs, method="asymp").statistic)
    assert (found.low, found.high) == (
        pytest.approx(np.quantile(distances, 0.05)),
        pytest.approx(np.quantile(distances, 0.95)),
    )


def test_absurd_losses_stay_finite():
    for right, wrong in ((5000.0, 1.0), (1.0, 5000.0)):
        for ratio in (geometric, arithmetic):
            found = ratio([right], [[wrong, wrong]])
            assert np.isfinite(found).all()
            assert 0 <= indifference(found)[0] < 1e-200
            assert preference(found)[0] == (1.0 if right < wrong else 0.0)
    assert harmonic_mean(probability([5000.0, 0.0])) < 1e-200


def test_a_harmonic_mean_with_a_zero_is_zero():
    assert harmonic_mean([1.0, 0.0, 1.0]) == 0.0
    assert harmonic_mean([0.2, 0.4, 0.9]) == pytest.approx(stats.hmean([0.2, 0.4, 0.9]))
    with pytest.raises(ValueError, match="0 or more"):
        harmonic_mean([1.0, -1.0])


def test_a_model_that_generates_nothing_has_no_utility_and_its_parts_say_why():
    told = Heard([0.1, 0.2], [0.1, 0.2], [[3.0, 4.0], [3.0, 4.0]], [1.0, 1.0])
    silent = Heard([0.1, 0.2], [0.1, 0.2], [[3.0, 4.0], [3.0, 4.0]], [0.0, 0.0])
    found = model_utility(told, real_authors=silent, world_facts=told)
    assert found.value == 0.0
    assert [name for name, value in found.parts.items() if value == 0] == ["real_authors.rouge"]


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="right tells of 2 records, wrong of 3"):
        geometric([1.0, 2.0], [[1.0]] * 3)
    with pytest.raises(ValueError, match="wrong has shape"):
        geometric([1.0, 2.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="NaN or infinite"):
        forget_quality([1.0, np.nan], [1.0], seed=0)
