import math

import numpy as np
import pytest
from scipy import stats

from expunge.numerics.lira import PRIOR, Variant, lira, lira_each
from expunge.numerics.membership import ranking, tpr_at

ONLINE = [variant for variant in Variant if not variant.offline]
POOLED = [Variant.FIXED, Variant.SHRUNK, Variant.OFFLINE_FIXED, Variant.OFFLINE_SHRUNK]


def draws(models, records, *, shift=0.0, difficulty=0.0, seed=0):
    """Confidences [K, N] with their masks: own noise of 1, ``shift`` where seen, spread ``difficulty`` of records."""
    draw = np.random.default_rng(seed)
    keep = draw.random((models, records)) < 0.5
    return draw.normal(size=(models, records)) + difficulty * draw.normal(size=records) + shift * keep, keep


def auc(score, member):
    known = ~np.isnan(score)
    return ranking(score[member & known], score[~member & known]).auc


# --- against the definition, literally ------------------------------------------------------------------------


def literal(target, references, keep, variant):
    """Score one target, record by record, as the definition reads."""
    sides = {
        side: [[references[k, j] for k in range(len(keep)) if keep[k, j] == side] for j in range(len(target))]
        for side in (True, False)
    }
    squares = {side: [sum((x - np.mean(v)) ** 2 for x in v) for v in rows] for side, rows in sides.items()}
    freedom = {side: sum(max(len(v) - 1, 0) for v in rows) for side, rows in sides.items()}
    pool = {side: sum(squares[side]) / freedom[side] for side in sides}
    both = sum(map(sum, squares.values())) / sum(freedom.values())
    means = {side: [np.mean(v) if v else math.nan for v in rows] for side, rows in sides.items()}
    if variant is Variant.DOUBLY_SHRUNK:
        means = doubly_shrunk(sides, both)

    def density(side, j, phi):
        count = len(sides[side][j])
        if "per-example" in variant.value:
            variance = squares[side][j] / (count - 1) if count > 1 else math.nan
        elif "fixed" in variant.value:
            variance = pool[side]
        else:
            variance = (squares[side][j] + PRIOR * pool[side]) / (max(count - 1, 0) + PRIOR)
        return stats.norm(means[side][j], math.sqrt(variance))

    if variant.offline:
        return [density(False, j, phi).logcdf(phi) for j, phi in enumerate(target)]
    return [density(True, j, phi).logpdf(phi) - density(False, j, phi).logpdf(phi) for j, phi in enumerate(target)]


def doubly_shrunk(sides, both):
    records = range(len(sides[True]))
    whole = [j for j in records if sides[True][j] and sides[False][j]]
    apart = {j: np.mean(sides[True][j]) - np.mean(sides[False][j]) for j in whole}
    error = {j: both * (1 / len(sides[True][j]) + 1 / len(sides[False][j])) for j in whole}
    common = sum(apart[j] / error[j] for j in whole) / sum(1 / error[j] for j in whole)
    effect = max(np.mean([(apart[j] - common) ** 2 - error[j] for j in whole]), 1e-6)
    means = {True: [], False: []}
    for j in records:
        d = common
        if j in apart:
            weight = effect / (effect + error[j])
            d = weight * apart[j] + (1 - weight) * common
        # Every value, moved by half the difference towards the middle.
        moved = [x - d / 2 for x in sides[True][j]] + [x + d / 2 for x in sides[False][j]]
        means[True].append(np.mean(moved) + d / 2)
        means[False].append(np.mean(moved) - d / 2)
    return means


@pytest.mark.parametrize("variant", Variant)
@pytest.mark.parametrize("models", [5, 8])
def test_it_is_the_definition(variant, models):
    phi, keep = draws(models + 1, 12, shift=1.5, difficulty=2, seed=models)
    found = lira(phi[0], references=phi[1:], keep=keep[1:], variant=variant)
    expected = literal(phi[0], phi[1:], keep[1:], variant)
    np.testing.assert_allclose(found, expected, atol=1e-10)


@pytest.mark.parametrize("variant", Variant)
def test_each_model_is_attacked_with_the_others_only(variant):
    phi, keep = draws(9, 15, shift=1, difficulty=3)
    others = [np.arange(9) != k for k in range(9)]
    expected = [lira(phi[k], references=phi[o], keep=keep[o], variant=variant) for k, o in enumerate(others)]
    np.testing.assert_allclose(lira_each(phi, keep=keep, variant=variant), expected, atol=1e-8)


def test_several_targets_are_scored_as_one_by_one():
    phi, keep = draws(8, 10, shift=1)
    targets, references = phi[:3], phi[3:]
    found = lira(targets, references=references, keep=keep[3:])
    rows = [lira(row, references=references, keep=keep[3:]) for row in targets]
    np.testing.assert_array_equal(found, rows)


def test_inputs_are_left_alone_and_scores_repeat():
    phi, keep = draws(6, 10)
    before = phi.copy(), keep.copy()
    first = lira_each(phi, keep=keep)
    np.testing.assert_array_equal(first, lira_each(phi, keep=keep))
    np.testing.assert_array_equal(phi, before[0])
    np.testing.assert_array_equal(keep, before[1])


# --- closed forms ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "exact"), [(2, 0.718), (4, 0.736), (8, 0.748), (32, 0.757)])
def test_offline_with_n_references(n, exact):
    # D = s = 1, difficulty 2: Phi(D / (s sqrt(2 (1 + 1/n)))) whatever the difficulty.
    assert stats.norm.cdf(1 / math.sqrt(2 * (1 + 1 / n))) == pytest.approx(exact, abs=6e-4)
    draw = np.random.default_rng(n)
    hard, member = 2 * draw.normal(size=40_000), draw.random(40_000) < 0.5
    references = draw.normal(size=(n, 40_000)) + hard
    target = draw.normal(size=40_000) + hard + member
    keep = np.zeros(references.shape, dtype=bool)
    found = lira(target, references=references, keep=keep, variant=Variant.OFFLINE_FIXED)
    assert auc(found, member) == pytest.approx(exact, abs=0.01)


@pytest.mark.parametrize("variant", ONLINE)
def test_with_many_references_it_is_the_best_attack(variant):
    phi, keep = draws(201, 4000, shift=1, difficulty=2)
    score = lira(phi[0], references=phi[1:], keep=keep[1:], variant=variant)
    assert auc(score, keep[0]) == pytest.approx(stats.norm.cdf(1 / math.sqrt(2)), abs=0.02)
    caught = tpr_at(score[keep[0]], score[~keep[0]], 0.1)
    assert caught == pytest.approx(stats.norm.cdf(1 + stats.norm.ppf(0.1)), abs=0.04)
    # Without references the difficulty hides most of it.
    assert auc(phi[0], keep[0]) == pytest.approx(stats.norm.cdf(1 / math.sqrt(2 * 5)), abs=0.03)


@pytest.mark.parametrize(("n", "exact"), [(2, 0.668), (4, 0.707), (8, 0.735), (16, 0.745)])
def test_published_simulation_of_the_fixed_variance(n, exact):
    draw = np.random.default_rng(n)
    keep = np.arange(2 * n)[:, None] < np.full(40_000, n)
    hard, member = 2 * draw.normal(size=40_000), draw.random(40_000) < 0.5
    references = draw.normal(size=keep.shape) + hard + keep
    target = draw.normal(size=40_000) + hard + member
    scores = {v: lira(target, references=references, keep=keep, variant=v) for v in ONLINE}
    assert auc(scores[Variant.FIXED], member) == pytest.approx(exact, abs=0.012)
    assert auc(scores[Variant.PER_EXAMPLE], member) < exact, "default variances are a trap with few references"
    assert auc(scores[Variant.DOUBLY_SHRUNK], member) > exact


@pytest.mark.parametrize("variant", [Variant.FIXED, Variant.SHRUNK, Variant.DOUBLY_SHRUNK])
def test_variances_are_within_records_and_of_their_own_side(variant):
    # IN sd 1, OUT sd 3, difficulty 5: std_out from the IN scores, or over all records, would miss the oracle.
    draw = np.random.default_rng(3)
    keep = draw.random((65, 20_000)) < 0.5
    hard = 5 * draw.normal(size=20_000)
    phi = hard + np.where(keep, 1.0, 3.0) * draw.normal(size=keep.shape)
    found = lira(phi[0], references=phi[1:], keep=keep[1:], variant=variant)
    oracle = stats.norm(hard, 1).logpdf(phi[0]) - stats.norm(hard, 3).logpdf(phi[0])
    assert auc(found, keep[0]) == pytest.approx(auc(oracle, keep[0]), abs=0.012)
    # The score falls from its top by z^2 / 2 * (1/v_in - 1/v_out): the fitted deviations are within 5 %.
    at = [lira(phi[1:].mean(0) + z, references=phi[1:], keep=keep[1:], variant=variant).mean() for z in (-30, 0, 30)]
    assert (at[1] - (at[0] + at[2]) / 2) / 450 == pytest.approx(1 - 1 / 9, rel=0.1)


# --- the null -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("models", [5, 9, 17])
@pytest.mark.parametrize("variant", [Variant.FIXED, Variant.SHRUNK, Variant.DOUBLY_SHRUNK])
def test_without_a_signal_it_is_chance(models, variant):
    phi, keep = draws(models, 8000, difficulty=2, seed=models)
    scores = lira_each(phi, keep=keep, variant=variant)
    found = [auc(row, own) for row, own in zip(scores, keep, strict=True)]
    assert np.mean(found) == pytest.approx(0.5, abs=4 * 0.0065 / math.sqrt(models))


def test_the_target_cannot_stand_among_its_references():
    # Left in, it would be told apart by its own noise: AUC .79 at K = 4 without any signal.
    phi, _ = draws(4, 20_000)
    keep = np.random.default_rng(1).permuted(np.tile(np.arange(4)[:, None] < 2, 20_000), axis=0)
    with pytest.raises(ValueError, match="same model"):
        lira(phi[2], references=phi, keep=keep)
    with pytest.raises(ValueError, match="same model"):
        lira(np.stack([phi[0] + 1, phi[3]]), references=phi, keep=keep)
    nearly = lira(phi[2] + 1e-9, references=phi, keep=keep, variant=Variant.FIXED)  # what is refused, in effect
    assert auc(nearly, keep[2]) == pytest.approx(0.79, abs=0.02)


# --- traps ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", [v for v in Variant if v.offline])
def test_offline_is_one_sided(variant):
    phi, keep = draws(40, 5)
    keep[:] = False
    at = [lira(np.full(5, z), references=phi, keep=keep, variant=variant) for z in (-6.0, -1.0, 0.0, 2.0, 6.0)]
    assert (np.diff(at, axis=0) > 0).all(), "6 deviations below the mean is the least like a member"
    assert (np.array(at) <= 0).all()


def test_the_worst_covered_record_does_not_cost_the_others():
    phi, keep = draws(12, 20, shift=1, seed=5)
    whole = lira_each(phi, keep=keep, variant=Variant.PER_EXAMPLE)
    keep[:, 7] = np.arange(12) < 1
    phi[:, 7] *= 50
    thin = lira_each(phi, keep=keep, variant=Variant.PER_EXAMPLE)
    rest = np.arange(20) != 7
    np.testing.assert_array_equal(thin[:, rest], whole[:, rest])
    assert np.isnan(thin[:, 7]).all()


def test_a_difference_may_have_either_sign():
    phi, keep = draws(41, 4000, shift=-2, difficulty=1)
    assert auc(lira(phi[0], references=phi[1:], keep=keep[1:]), keep[0]) > 0.85


def test_one_reference_is_enough_for_the_doubly_shrunk():
    phi, keep = draws(2, 20_000, shift=2)
    score = lira(phi[0], references=phi[1:], keep=keep[1:])
    assert np.isfinite(score).all()
    # By hand: the other mean lies a common difference away, the variance is 1.
    common = phi[1][keep[1]].mean() - phi[1][~keep[1]].mean()
    middle = phi[1] + np.where(keep[1], -common / 2, common / 2)
    np.testing.assert_allclose(score, common * (phi[0] - middle), atol=1e-9)
    assert auc(score, keep[0]) > 0.75


@pytest.mark.parametrize("variant", Variant)
def test_models_that_say_a_constant_do_not_break_it(variant):
    keep = np.arange(6)[:, None] < np.full(4, 3)
    score = lira(np.full(4, 1.0), references=np.zeros((6, 4)), keep=keep, variant=variant)
    assert np.isfinite(score).all()


@pytest.mark.parametrize("variant", POOLED)
def test_a_pooled_variance_needs_two_of_a_kind(variant):
    phi, keep = draws(3, 4)
    keep[1:] = [[True] * 4, [False] * 4]
    with pytest.raises(ValueError, match="needs some record with 2 references"):
        lira(phi[0], references=phi[1:], keep=keep[1:], variant=variant)


@pytest.mark.parametrize("side", [True, False])
def test_the_ratio_needs_references_of_both_kinds(side):
    phi, keep = draws(5, 4)
    keep[:] = side
    with pytest.raises(ValueError, match="needs"):
        lira(phi[0], references=phi[1:], keep=keep[1:])
    with pytest.raises(ValueError, match="2 references"):
        lira(phi[0], references=phi[1:], keep=keep[1:], variant=Variant.PER_EXAMPLE)


def test_what_it_refuses():
    phi, keep = draws(4, 3)
    with pytest.raises(ValueError, match="2 models"):
        lira_each(phi[:1], keep=keep[:1])
    with pytest.raises(ValueError, match="takes booleans"):
        lira_each(phi, keep=keep.astype(int))
    with pytest.raises(ValueError, match="takes booleans"):
        lira_each(phi, keep=keep[:, :2])
    with pytest.raises(ValueError, match="3 records"):
        lira(phi[0, :2], references=phi[1:], keep=keep[1:])
    with pytest.raises(ValueError, match="NaN or infinite"):
        lira_each(np.where(keep, np.inf, phi), keep=keep)
    with pytest.raises(ValueError, match="shape"):
        lira(1.0, references=phi, keep=keep)
