import math

import numpy as np
import pytest
from scipy import optimize, special, stats

from expunge.numerics.leakage import one_run_bound, rate_bound, right_guesses, split_bound

# --- two samples ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("caught", "alarms"), [(10, 2), (20, 0), (0, 0), (3, 30), (0, 30), (15, 15)])
@pytest.mark.parametrize("delta", [0.0, 1e-2])
def test_the_bound_by_the_law_of_the_counts(caught, alarms, delta):
    def upper(count, of):  # the rate at which so few or fewer have probability alpha / 2
        return 1.0 if count == of else optimize.brentq(lambda p: stats.binom.cdf(count, of, p) - 0.025, 0, 1)

    miss, alarm = upper(20 - caught, 20), upper(alarms, 30)
    found = [0.0]
    for one, other in ((miss, alarm), (alarm, miss)):
        if 1 - delta - one > 0:
            found.append(math.log(1 - delta - one) - math.log(other))
    bound = rate_bound(caught, members=20, false_alarms=alarms, strangers=30, delta=delta)
    assert bound.epsilon == pytest.approx(max(found), abs=1e-9)
    assert bound.epsilon <= bound.largest


@pytest.mark.parametrize(
    ("n", "perfect", "tenth"),
    [(50, 2.57, 0), (100, 3.28, 0.30), (250, 4.21, 1.50), (500, 4.91, 2.32), (1000, 5.60, 3.10), (5000, 7.21, 4.82)],
)
def test_published_largest_epsilon(n, perfect, tenth):
    found = rate_bound(n // 10, members=n, false_alarms=0, strangers=n)
    u = 1 - 0.025 ** (1 / n)
    assert found.largest == pytest.approx(math.log((1 - u) / u))
    assert found.largest == pytest.approx(perfect, abs=0.006)
    assert found.epsilon == pytest.approx(tenth, abs=0.006)


def delta_of(epsilon, mu):
    """Dong et al. 2019, corollary 2.13."""
    return stats.norm.cdf(-epsilon / mu + mu / 2) - math.exp(epsilon) * stats.norm.cdf(-epsilon / mu - mu / 2)


@pytest.mark.parametrize("mu", [0.5, 1.0, 2.0])
def test_a_gaussian_mechanism_is_not_exceeded(mu):
    delta = 1e-2
    true = optimize.brentq(lambda e: delta_of(e, mu) - delta, 0, 20)
    draw = np.random.default_rng(0)
    found = [
        split_bound(draw.normal(mu, 1, 300), strangers=draw.normal(size=300), delta=delta, seed=seed).epsilon
        for seed in range(300)
    ]
    assert np.mean(np.array(found) > true) <= 0.05
    if mu == 2.0:
        assert np.mean(found) > 0.2 * true, "a bound of 0 is valid, and useless"


@pytest.mark.parametrize("n", [50, 400])
def test_randomised_response_of_epsilon_one_is_not_exceeded(n):
    # The ratio of the two laws is exactly e or 1/e; noise breaks ties only.
    draw, found = np.random.default_rng(1), []
    for seed in range(400):
        members, strangers = (
            (draw.random(n) < rate) + draw.random(n) for rate in (special.expit(1), special.expit(-1))
        )
        found.append(split_bound(members, strangers=strangers, seed=seed).epsilon)
    assert np.mean(np.array(found) > 1) <= 0.05
    if n == 400:
        assert np.mean(found) > 0.3


def test_the_threshold_of_one_half_is_counted_on_the_other():
    members, strangers = np.random.default_rng(3).normal(size=(2, 60)) + np.array([[1.0], [0.0]])
    draw = np.random.default_rng(7)
    (first_in, second_in), (first_out, second_out) = (np.split(draw.permutation(v), 2) for v in (members, strangers))

    def bound(cut, inside, outside):
        caught, alarms = int((inside >= cut).sum()), int((outside >= cut).sum())
        return rate_bound(caught, members=30, false_alarms=alarms, strangers=30)

    cuts = sorted([*first_in, *first_out])
    best = max(cuts, key=lambda cut: bound(cut, first_in, first_out).epsilon)
    assert bound(best, first_in, first_out) != bound(best, second_in, second_out)
    assert split_bound(members, strangers=strangers, seed=7) == bound(best, second_in, second_out)


@pytest.mark.parametrize("n", [50, 250])
def test_permuted_membership_shows_nothing(n):
    draw = np.random.default_rng(2)
    scores = draw.normal(size=2 * n)
    found = []
    for seed in range(1000):
        draw.shuffle(scores)
        found.append(split_bound(scores[:n], strangers=scores[n:], seed=seed).epsilon)
    assert np.mean(np.array(found) > 0) <= 0.05


# --- one training run -----------------------------------------------------------------------------------------


def literal_p(epsilon, correct, guesses, canaries, delta):
    law = stats.binom(guesses, math.exp(epsilon) / (1 + math.exp(epsilon)))
    f = [law.sf(v - 1) for v in range(correct + 1)]
    more = max((f[correct - i] - f[correct]) / i for i in range(1, correct + 1))
    return min(f[correct] + 2 * canaries * delta * more, 1.0)


@pytest.mark.parametrize(
    ("correct", "guesses", "canaries"), [(20, 20, 50), (45, 50, 100), (40, 50, 500), (70, 100, 100)]
)
@pytest.mark.parametrize("delta", [0.0, 1e-5, 1e-4])
def test_the_one_run_bound_is_the_supremum(correct, guesses, canaries, delta):
    found = one_run_bound(correct, guesses=guesses, canaries=canaries, delta=delta).epsilon
    assert found > 0
    assert literal_p(found, correct, guesses, canaries, delta) == pytest.approx(0.05, rel=1e-6)
    assert literal_p(found - 1e-4, correct, guesses, canaries, delta) < 0.05
    assert literal_p(found + 1e-4, correct, guesses, canaries, delta) > 0.05


@pytest.mark.parametrize("guesses", [5, 50, 1000])
def test_all_right_without_delta_has_a_closed_form(guesses):
    found = one_run_bound(guesses, guesses=guesses, canaries=guesses)
    assert found.epsilon == found.largest == pytest.approx(special.logit(0.05 ** (1 / guesses)))


@pytest.mark.parametrize(
    ("canaries", "guesses", "published"),
    [
        (100, 50, (2.78, 1.99, 0.77, 0)),
        (500, 250, (4.40, 2.49, 1.12, 0.19)),
        (1000, 100, (3.47, 2.17, 0.96, 0.05)),
        (1000, 500, (5.09, 2.60, 1.20, 0.25)),
        (10_000, 5000, (7.14, 2.83, 1.33, 0.36)),
    ],
)
def test_published_one_run_bounds(canaries, guesses, published):
    right = [math.ceil(rate * guesses) for rate in (1, 0.95, 0.8, 0.6)]
    right[1] = min(right[1], round(0.95 * guesses + 0.5)) if guesses == 50 else round(0.95 * guesses)
    found = [one_run_bound(v, guesses=guesses, canaries=canaries, delta=1e-5) for v in right]
    assert [one.epsilon for one in found] == pytest.approx(published, abs=0.08)
    assert [one.epsilon for one in found][::2] == pytest.approx(published[::2], abs=0.006)
    assert {one.largest for one in found} == {found[0].epsilon}


@pytest.mark.parametrize("delta", [0.0, 1e-5])
@pytest.mark.parametrize("true", [0.0, 1.0, 2.0])
def test_randomised_response_is_exceeded_no_more_often_than_stated(true, delta):
    # Each guess right with e^eps / (1 + e^eps): the worst mechanism, its law summed up, not sampled.
    bounds = [one_run_bound(v, guesses=100, canaries=200, delta=delta).epsilon for v in range(101)]
    weights = stats.binom.pmf(np.arange(101), 100, special.expit(true))
    assert 0.01 < weights[np.array(bounds) > true].sum() <= 0.05
    assert (np.diff(bounds) >= 0).all()


def test_the_best_of_several_numbers_of_guesses_would_show_too_much():
    draw, found = np.random.default_rng(5), []
    for _ in range(1000):
        scores, coin = draw.normal(size=200), draw.random(200) < 0.5
        right = {g: right_guesses(scores, included=coin, inside=g) for g in (10, 20, 50, 100, 150)}
        found.append({g: one_run_bound(v, guesses=g, canaries=200).epsilon > 0 for g, v in right.items()})
    assert np.mean([any(one.values()) for one in found]) > 0.06
    assert np.mean([one[50] for one in found]) <= 0.05


def test_right_guesses_by_hand():
    coin = np.array([True, False, True, False, True])
    assert right_guesses([5, 4, 3, 2, 1], included=coin, inside=3) == 2
    assert right_guesses([5, 4, 3, 2, 1], included=coin, inside=0, outside=2) == 1
    assert right_guesses([5, 4, 3, 2, 1], included=coin, inside=3, outside=2) == 3


@pytest.mark.parametrize("flip", [False, True])
def test_equal_scores_do_not_help_whatever_their_order(flip):
    coin = np.array([True] * 5 + [False] * 5) ^ flip
    assert right_guesses(np.zeros(10), included=coin, inside=5) == 0
    assert right_guesses(np.zeros(10), included=coin, inside=0, outside=5) == 0


def test_what_it_refuses():
    with pytest.raises(ValueError, match="11 of 10 caught"):
        rate_bound(11, members=10, false_alarms=0, strangers=10)
    with pytest.raises(ValueError, match="1 record or more"):
        rate_bound(0, members=0, false_alarms=0, strangers=10)
    with pytest.raises(ValueError, match="delta"):
        rate_bound(1, members=10, false_alarms=0, strangers=10, delta=1.0)
    with pytest.raises(ValueError, match="alpha"):
        one_run_bound(1, guesses=2, canaries=3, alpha=0.0)
    with pytest.raises(ValueError, match="right <= guesses <= canaries"):
        one_run_bound(3, guesses=2, canaries=3)
    with pytest.raises(ValueError, match="2 records or more"):
        split_bound([1.0], strangers=[1.0, 2.0])
    with pytest.raises(ValueError, match="NaN"):
        split_bound([1.0, math.nan], strangers=[1.0, 2.0])
    with pytest.raises(ValueError, match="4 and 2 guesses on 5 canaries"):
        right_guesses(np.zeros(5), included=np.zeros(5, dtype=bool), inside=4, outside=2)
