import math

import numpy as np
import pytest

from expunge.numerics.forgetting import MIN_MODELS, Rule, epsilons, forgetting, forgetting_quality

# --- against the definition, literally ------------------------------------------------------------------------


def epsilon_at(inside, outside):
    """Epsilon of one threshold: which of the positives and which of the negatives are predicted positive."""
    fnr, fpr = 1 - np.mean(inside), np.mean(outside)
    if fpr == 0 and fnr == 0:
        return math.inf
    if fpr == 0 or fnr == 0:
        return 0.0  # discarded
    found = [0.0]
    for one, other in ((fpr, fnr), (fnr, fpr)):
        if 1 - 1e-5 - one > 0:
            found.append(math.log(1 - 1e-5 - one) - math.log(other))
    return max(found)


def literal_exact_cut(u, r):
    return max(
        epsilon_at(sign * one >= sign * cut, sign * other >= sign * cut)
        for one, other in ((u, r), (r, u))
        for sign in (1, -1)
        for cut in np.concatenate([u, r])
    )


def literal_grid_cut(u, r):
    pos, neg = (r, u) if np.median(r) > np.median(u) else (u, r)
    low, high = min(u.min(), r.min()), max(u.max(), r.max())
    cuts = np.linspace(low, high, math.ceil((high - low) * 100))
    return max(epsilon_at(pos >= cut, neg >= cut) for cut in cuts)


def literal_windows(u, r):
    pos, neg = (r, u) if np.ptp(u) >= np.ptp(r) else (u, r)
    width = np.ptp(pos)
    rights = np.linspace(pos.min() + width - 2, pos.max() + 2, 400)
    edges = [(left, right) for right in rights for left in np.linspace(right - width - 2, right - width + 2, 400)]
    left, right = np.array(edges).T
    # Rates of 160,000 windows, and epsilon of those that differ.
    hits = ((left[:, None] <= pos) & (pos <= right[:, None])).sum(1)
    alarms = ((left[:, None] <= neg) & (neg <= right[:, None])).sum(1)
    m = len(u)
    pairs = {(int(a), int(b)) for a, b in zip(hits, alarms, strict=True)}
    return max(epsilon_at(np.arange(m) < a, np.arange(m) < b) for a, b in pairs)


LITERAL = {
    Rule.EXACT_CUT: literal_exact_cut,
    Rule.GRID_CUT: literal_grid_cut,
    Rule.COMPETITION: lambda u, r: max(literal_grid_cut(u, r), literal_windows(u, r)),
}


@pytest.mark.parametrize("rule", Rule)
@pytest.mark.parametrize(("shift", "spread"), [(0.0, 1.0), (1.0, 1.0), (0.0, 0.3), (30.0, 1.0)])
def test_it_is_the_definition(rule, shift, spread):
    draw = np.random.default_rng(int(10 * shift + spread))
    u, r = shift + spread * draw.normal(size=(20, 4)), draw.normal(size=(20, 4))
    expected = [min(LITERAL[rule](u[:, j], r[:, j]), 50.0) for j in range(4)]
    np.testing.assert_allclose(epsilons(u, retrained=r, rule=rule), expected, rtol=1e-12)


@pytest.mark.parametrize("rule", [Rule.EXACT_CUT, Rule.GRID_CUT])
def test_it_is_the_definition_with_ties(rule):
    draw = np.random.default_rng(7)
    u, r = draw.integers(0, 4, (2, 24, 30)).astype(float)
    expected = [min(LITERAL[rule](u[:, j], r[:, j]), 50.0) for j in range(30)]
    np.testing.assert_allclose(epsilons(u, retrained=r, rule=rule), expected, rtol=1e-12)


@pytest.mark.parametrize("rule", Rule)
def test_it_does_not_matter_which_side_is_which(rule):
    u, r = np.random.default_rng(1).normal(size=(2, 32, 20))
    np.testing.assert_array_equal(epsilons(u, retrained=r + 1, rule=rule), epsilons(r + 1, retrained=u, rule=rule))


def test_records_are_on_their_own():
    u, r = np.random.default_rng(2).normal(size=(2, 16, 150))
    for rule in Rule:
        whole = epsilons(u, retrained=r, rule=rule)
        np.testing.assert_array_equal(whole[::50], epsilons(u[:, ::50], retrained=r[:, ::50], rule=rule))


# --- special cases --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", Rule)
def test_a_side_that_does_not_spread_is_told_at_once(rule):
    r = np.random.default_rng(3).normal(size=(16, 1))
    found = [
        epsilons(u, retrained=other, rule=rule)[0]
        for u, other in (
            (0.0 * r, r),
            (0.005 * r, r),
            (r, 0.005 * r),
            (0.0 * r + 1, 0.0 * r),
            (0.0 * r, 0.0 * r),  # 0/0: nothing tells them apart
        )
    ]
    assert found == [50, 50, 50, 50, 0]


def test_separated_sides_reach_the_cap():
    r = np.random.default_rng(4).normal(size=(16, 2))
    for rule in Rule:
        np.testing.assert_array_equal(epsilons(r + 20, retrained=r, rule=rule), [50, 50])


def test_a_window_sees_what_a_cut_does_not():
    draw = np.random.default_rng(5)
    u, r = 0.2 * draw.normal(size=(64, 50)), 2 * draw.normal(size=(64, 50))
    cut, window = (epsilons(u, retrained=r, rule=rule).mean() for rule in (Rule.GRID_CUT, Rule.COMPETITION))
    assert window > cut + 0.5


@pytest.mark.parametrize(
    ("epsilon", "quality"),
    [([0.0], 1), ([0.49], 1), ([0.5], 0.5), ([1.2], 0.25), ([0.0, 50.0], 0.5), ([4.9], 2**-9), ([5.0], 0)],
)
def test_buckets_halve_and_the_last_gives_nothing(epsilon, quality):
    assert forgetting_quality(np.array(epsilon), models=64) == quality  # ceil(ln 63) = 5


# --- the null -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "low", "high", "mean"),
    [(Rule.EXACT_CUT, 0.20, 0.24, 1.40), (Rule.GRID_CUT, 0.31, 0.36, 1.15), (Rule.COMPETITION, 0.15, 0.22, 1.55)],
)
def test_a_perfect_unlearner_scores_far_below_one(rule, low, high, mean):
    u, r = 2 * np.random.default_rng(6).normal(size=(2, 64, 400))
    found = epsilons(u, retrained=r, rule=rule)
    assert low < forgetting_quality(found, models=64) < high
    assert found.mean() == pytest.approx(mean, abs=0.1)


@pytest.mark.parametrize("rule", Rule)
def test_beside_its_floor_a_perfect_unlearner_loses_nothing(rule):
    records = 300 if rule is Rule.EXACT_CUT else 60
    found = [
        forgetting(u, retrained=r, rule=rule, exchanges=6, seed=seed)
        for seed in range(4)
        for u, r in [2 * np.random.default_rng(seed).normal(size=(2, 32, records))]
    ]
    assert np.mean([one.lost for one in found]) == pytest.approx(0, abs=0.1)
    assert np.mean([one.excess.mean() for one in found]) == pytest.approx(0, abs=0.1)


def test_the_p_value_is_valid_though_records_share_models():
    # One confidence per model, the same for every record: exchanged record by record, the floor would be far too sure.
    p = []
    for seed in range(150):
        draw = np.random.default_rng(seed)
        u, r = draw.normal(size=(2, 16, 1)) + 0.3 * draw.normal(size=(2, 16, 10))
        p.append(forgetting(u, retrained=r, exchanges=19, seed=seed).p_value)
    assert np.mean(np.array(p) <= 0.1) <= 0.1 + 3 * math.sqrt(0.09 / 150)
    assert min(p) >= 1 / 20


def test_a_shift_is_seen():
    u, r = np.random.default_rng(8).normal(size=(2, 64, 100))
    found = [forgetting(u + shift, retrained=r, seed=1) for shift in (0.5, 1.0, 1.5)]
    assert [one.p_value for one in found] == [pytest.approx(1 / 21)] * 3
    lost = [one.lost for one in found]
    assert 0.2 < lost[0] < lost[1] < lost[2] <= 1
    assert found[1].excess.mean() > 0.5
    assert found[0].null_deviation > 0


def test_the_variant_is_named_and_the_seed_repeats():
    u, r = np.random.default_rng(9).normal(size=(2, 16, 5))
    one, other = (forgetting(u, retrained=r, seed=3) for _ in range(2))
    assert (one.rule, one.models) == (Rule.EXACT_CUT, 16)
    np.testing.assert_array_equal(one.null_epsilon, other.null_epsilon)
    assert one.null_quality == other.null_quality


def test_what_it_refuses():
    u, r = np.random.default_rng(10).normal(size=(2, MIN_MODELS, 3))
    with pytest.raises(ValueError, match="needs 16 models on each side, found 15"):
        epsilons(u[1:], retrained=r[1:], rule=Rule.EXACT_CUT)
    with pytest.raises(ValueError, match="as many models on both sides"):
        forgetting(u, retrained=r[:, :2])
    with pytest.raises(ValueError, match="NaN or infinite"):
        forgetting(u * np.inf, retrained=r)
    with pytest.raises(ValueError, match="needs 16 models and 1 record"):
        forgetting_quality(np.zeros(3), models=8)
    with pytest.raises(ValueError, match="1 exchange"):
        forgetting(u, retrained=r, exchanges=0)
