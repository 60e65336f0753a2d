import numpy as np
import pytest
from scipy.stats import norm
from sklearn.linear_model import Ridge

from expunge.numerics import _ridge
from expunge.numerics.membership import ranking
from expunge.numerics.more_of import more_of, surprise


def kinds(draw, *, hidden, far=2.0, n=60, d=6):
    """Return known records, unlabelled ones of which the first ``hidden`` are of the kind, and strangers."""
    shift = np.zeros(d)
    shift[0] = far
    known, more = draw.normal(size=(n, d)) + shift, draw.normal(size=(hidden, d)) + shift
    return known, np.concatenate([more, draw.normal(size=(3 * n, d))]), draw.normal(size=(2 * n, d))


def test_what_a_fit_says_without_a_record_is_what_scikit_learn_says_fitted_without_it():
    draw = np.random.default_rng(0)
    rows, weight, target = draw.normal(size=(12, 3)), draw.uniform(0.5, 2, 12), draw.normal(size=(12, 2))
    weight /= weight.sum()
    fit = _ridge.fit(rows, weight)
    for i in range(12):
        keep = np.arange(12) != i
        other = Ridge(alpha=_ridge.RIDGE).fit(rows[keep], target[keep], sample_weight=weight[keep])
        np.testing.assert_allclose(fit.without(target)[i], other.predict(rows[i : i + 1])[0])
        np.testing.assert_allclose(fit.without(target[:, 0])[i], other.predict(rows[i : i + 1])[0, 0])
    whole = Ridge(alpha=_ridge.RIDGE).fit(rows, target, sample_weight=weight)
    np.testing.assert_allclose(_ridge.with_ones(rows) @ fit.slopes(target), whole.predict(rows))


def test_how_well_the_first_rule_tells_is_measured_without_each_record():
    draw = np.random.default_rng(1)
    known, unlabelled, strangers = kinds(draw, hidden=5, n=8, d=3)
    both = np.concatenate([known, unlabelled])
    rows = (both - both.mean(0)) / both.std(0)
    target = np.r_[np.ones(len(known)), -np.ones(len(unlabelled))]
    weight = np.r_[np.full(len(known), 0.5 / len(known)), np.full(len(unlabelled), 0.5 / len(unlabelled))]
    said = []
    for i in range(len(rows)):
        keep = np.arange(len(rows)) != i
        rule = Ridge(alpha=_ridge.RIDGE).fit(rows[keep], target[keep], sample_weight=weight[keep])
        said.append(rule.predict(rows[i : i + 1])[0])
    expected = ranking(np.array(said[: len(known)]), np.array(said[len(known) :])).auc
    assert more_of(known, unlabelled, strangers).telling == pytest.approx(expected)


@pytest.mark.parametrize("hidden", [0, 20, 60])
def test_the_kind_is_found_nearly_as_well_as_who_knows_both_laws_would(hidden):
    draw = np.random.default_rng(2)
    right = wrong = best_right = best_wrong = 0.0
    for _ in range(40):
        known, unlabelled, strangers = kinds(draw, hidden=hidden)
        found = more_of(known, unlabelled, strangers).unlabelled >= 0.5
        prior = hidden / len(unlabelled)
        cut = 1 + np.log((1 - prior) / prior) / 2 if hidden else np.inf  # the likelihood ratio of N(2, 1) to N(0, 1)
        right, wrong = right + found[:hidden].mean() if hidden else 0.0, wrong + found[hidden:].mean()
        best_right, best_wrong = best_right + norm.sf(cut - 2), best_wrong + norm.sf(cut)
    assert right / 40 >= (best_right / 40 - 0.1 if hidden else 0)
    assert wrong / 40 <= best_wrong / 40 + 0.05


def test_the_share_is_not_told_but_found():
    draw = np.random.default_rng(3)
    for hidden in (10, 60, 120):
        known, unlabelled, strangers = kinds(draw, hidden=hidden, far=4.0)
        likely = more_of(known, unlabelled, strangers)
        assert likely.unlabelled.sum() == pytest.approx(hidden, abs=6)
        assert likely.strangers.mean() < 0.05


def test_known_records_drawn_from_the_others_bring_none():
    draw = np.random.default_rng(4)
    shares = []
    for _ in range(50):
        rows = draw.normal(size=(300, 10))
        shares.append((more_of(rows[:40], rows[40:200], rows[200:]).unlabelled >= 0.5).mean())
    assert np.mean(shares) < 0.1


def test_neither_the_order_of_records_nor_the_unit_of_a_feature_matters():
    draw = np.random.default_rng(5)
    known, unlabelled, strangers = kinds(draw, hidden=20)
    plain = more_of(known, unlabelled, strangers)
    order = draw.permutation(len(unlabelled))
    unit = np.array([1, 100, 1, 0.01, 1, 1])
    other = more_of(known[::-1] * unit, unlabelled[order] * unit, strangers[::-1] * unit)
    np.testing.assert_allclose(other.unlabelled, plain.unlabelled[order], atol=1e-8)
    assert other.telling == pytest.approx(plain.telling)


def test_a_feature_that_is_the_same_for_all_says_nothing_and_breaks_nothing():
    known, unlabelled, strangers = kinds(np.random.default_rng(6), hidden=20)
    plain = more_of(known, unlabelled, strangers)
    wide = [np.column_stack([part, np.full(len(part), 7.0)]) for part in (known, unlabelled, strangers)]
    np.testing.assert_allclose(more_of(*wide).unlabelled, plain.unlabelled, atol=1e-8)
    mute = more_of(np.zeros((4, 2)), np.zeros((5, 2)), np.zeros((6, 2)))
    assert mute.telling <= 0.5
    assert (mute.unlabelled.max(), mute.strangers.max()) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("shapes", "word"), [(((3, 2), (4, 3), (3, 2)), "features"), (((1, 2), (4, 2), (3, 2)), "needs 2")]
)
def test_wrong_shapes_are_refused(shapes, word):
    with pytest.raises(ValueError, match=word):
        more_of(*(np.ones(shape) for shape in shapes))
    with pytest.raises(ValueError, match="NaN"):
        more_of(np.full((3, 2), np.nan), np.ones((3, 2)), np.ones((3, 2)))


def test_a_wrong_label_does_not_fit_and_is_not_asked_of_itself():
    draw = np.random.default_rng(7)
    labels = np.arange(90) % 3
    rows = draw.normal(size=(90, 4)) + 3 * np.eye(3, 4)[labels]
    wrong = labels.copy()
    wrong[:6] = (wrong[:6] + 1) % 3
    held, theirs = draw.normal(size=(30, 4)) + 3 * np.eye(3, 4)[np.arange(30) % 3], np.arange(30) % 3
    fits, others = surprise(rows, wrong, held, theirs)
    assert fits[:6, 1].max() < np.quantile(fits[6:, 1], 0.1)
    assert (others[:, 1] > 0).mean() > 0.9
    i, scale = 3, lambda part: (part - rows.mean(0)) / rows.std(0)
    keep = np.arange(90) != i
    rule = Ridge(alpha=_ridge.RIDGE * 90).fit(scale(rows)[keep], np.eye(3)[wrong][keep])
    said = rule.predict(scale(rows)[i : i + 1])[0]
    np.testing.assert_allclose(fits[i], [said[wrong[i]], said[wrong[i]] - np.delete(said, wrong[i]).max()])
