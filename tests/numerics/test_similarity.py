import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from expunge.numerics.similarity import debiased_cka, linear_cka, linear_probe


def features(n, d, *, count=2, seed=0):
    return np.random.default_rng(seed).normal(size=(count, n, d))


def gram_cka(x, y):
    """Kornblith et al. 2019: HSIC of centred Gram matrices."""
    h = np.eye(len(x)) - 1 / len(x)
    k, m = h @ x @ x.T @ h, h @ y @ y.T @ h
    return (k * m).sum() / math.sqrt((k * k).sum() * (m * m).sum())


def literal_hsic(x, y):
    """Song et al. 2012: over all quadruples of different records."""
    n = len(x)
    k, m = x @ x.T, y @ y.T
    one = two = three = 0.0
    for i in range(n):
        for j in set(range(n)) - {i}:
            one += k[i, j] * m[i, j]
            for q in set(range(n)) - {i, j}:
                two += k[i, j] * m[i, q]
                three += sum(k[i, j] * m[q, r] for r in set(range(n)) - {i, j, q})
    a = n * (n - 1)
    return one / a - 2 * two / (a * (n - 2)) + three / (a * (n - 2) * (n - 3))


# --- CKA ------------------------------------------------------------------------------------------------------


@given(st.integers(2, 12), st.integers(1, 6), st.integers(1, 6), st.integers(0, 99))
def test_it_is_the_form_of_gram_matrices(n, d, e, seed):
    draw = np.random.default_rng(seed)
    x, y = 5 + draw.normal(size=(n, d)), draw.normal(size=(n, e))
    assert linear_cka(x, other=y) == pytest.approx(gram_cka(x, y), abs=1e-10)


@given(st.integers(5, 8), st.integers(1, 9), st.integers(1, 3), st.integers(0, 99))
def test_the_debiased_form_is_that_over_quadruples(n, d, e, seed):
    draw = np.random.default_rng(seed)
    x, y = draw.normal(size=(n, d)), 3 + draw.normal(size=(n, e))
    own = literal_hsic(x, x), literal_hsic(y, y)
    found = debiased_cka(x, other=y)
    if min(own) > 1e-9:
        assert found == pytest.approx(literal_hsic(x, y) / math.sqrt(own[0] * own[1]), abs=1e-8, rel=1e-6)


@pytest.mark.parametrize(("n", "d"), [(100, 64), (200, 512)])
def test_independent_features(n, d):
    pairs = [features(n, d, seed=seed) for seed in range(20)]
    biased = np.mean([linear_cka(x, other=y) for x, y in pairs])
    debiased = [debiased_cka(x, other=y) for x, y in pairs]
    assert biased == pytest.approx(d / (n + d), abs=0.005)
    assert np.mean(debiased) == pytest.approx(0, abs=4 * np.std(debiased) / math.sqrt(20))
    assert np.std(debiased) < 0.02


@pytest.mark.parametrize("cka", [linear_cka, debiased_cka])
def test_rotation_scale_and_shift_change_nothing(cka):
    x, y = features(40, 6)
    turn = np.linalg.qr(features(6, 6)[0])[0]
    assert cka(x, other=7 - 3 * x @ turn) == pytest.approx(1)
    assert cka(x @ turn + 100, other=y) == pytest.approx(cka(x, other=y))
    assert cka(x, other=y) == pytest.approx(cka(y, other=x))
    assert cka(x, other=x + 0.5 * y) > 0.5


@pytest.mark.parametrize("cka", [linear_cka, debiased_cka])
def test_features_that_do_not_vary_say_nothing(cka):
    x, _ = features(10, 3)
    assert math.isnan(cka(x, other=np.ones((10, 2))))


# --- the probe ------------------------------------------------------------------------------------------------


def by_refitting(x, labels, others, other_labels):
    """Held-out scores by one ridge regression per record, the record left out, with the penalty of the whole fit."""
    mean, scale = others.mean(0), others.std(0)
    design = np.vstack([(x - mean) / scale, (others - mean) / scale])
    weight = np.r_[np.full(len(x), 0.5 / len(x)), np.full(len(others), 0.5 / len(others))]
    hot = np.eye(int(max(labels.max(), other_labels.max())) + 1)[np.r_[labels, other_labels]]
    scores = []
    for i in range(len(x)):
        keep = np.arange(len(design)) != i
        w = weight[keep, None]
        # Weighted least squares with a free intercept: centre by weighted means, then solve without it.
        middle, level = (w * design[keep]).sum(0) / w.sum(), (w * hot[keep]).sum(0) / w.sum()
        a, b = design[keep] - middle, hot[keep] - level
        beta = np.linalg.solve(a.T @ (w * a) + 0.1 * np.eye(x.shape[1]), a.T @ (w * b))
        scores.append(((design[i] - middle) @ beta + level)[labels[i]])
    return np.array(scores)


def test_scores_are_those_of_a_fit_without_the_record():
    draw = np.random.default_rng(4)
    x, others = 3 + draw.normal(size=(20, 5)), 3 + 2 * draw.normal(size=(30, 5))
    labels, theirs = draw.integers(0, 4, 20), draw.integers(0, 3, 30)
    found = linear_probe(x, labels=labels, others=others, other_labels=theirs)
    np.testing.assert_allclose(found.score, by_refitting(x, labels, others, theirs), rtol=1e-9)


def probed(draw, *, n=400, d=4, known=True, shift=3.0):
    """Two classes a ``shift`` apart; whether the records that are read lie where their labels say."""
    labels, theirs = np.arange(n) % 2, np.arange(2 * n) % 2
    others = draw.normal(size=(2 * n, d))
    others[:, 0] += shift * theirs
    x = draw.normal(size=(n, d))
    x[:, 0] += shift * (labels if known else 1 - labels)
    return linear_probe(x, labels=labels, others=others, other_labels=theirs)


def test_a_probe_reads_what_is_linear():
    draw = np.random.default_rng(5)
    known, lost = probed(draw), probed(draw, known=False)
    assert known.score.mean() > 0.75
    assert known.selectivity > 0.2
    assert abs(lost.score.mean() - 0.5) < 0.05, "labels that contradict those of the others cancel them"
    assert probed(draw, shift=0.0).selectivity == pytest.approx(0, abs=0.05)


def test_scores_are_of_records_held_out():
    # More features than records: a fit with the records would have them right, whatever their labels.
    found = [probed(np.random.default_rng(seed), n=60, d=200, shift=0.0).score.mean() for seed in range(10)]
    assert np.mean(found) == pytest.approx(0.5, abs=0.05)


def test_a_class_that_no_other_record_has_can_be_read():
    draw = np.random.default_rng(6)
    others, theirs = draw.normal(size=(200, 3)), np.arange(200) % 2
    found = linear_probe(
        draw.normal(size=(50, 3)) + np.array([0, 0, 9]), labels=[2] * 50, others=others, other_labels=theirs
    )
    assert found.score.mean() > 0.8


def test_the_same_seed_gives_the_same_probe():
    found = [probed(np.random.default_rng(7)) for _ in range(2)]
    np.testing.assert_array_equal(found[0].score, found[1].score)
    np.testing.assert_array_equal(found[0].control, found[1].control)


def test_what_it_refuses():
    x, y = features(6, 3)
    with pytest.raises(ValueError, match="same records"):
        linear_cka(x, other=y[:5])
    with pytest.raises(ValueError, match="needs 4 records"):
        debiased_cka(x[:3], other=y[:3])
    with pytest.raises(ValueError, match="NaN"):
        linear_cka(x * np.nan, other=y)
    with pytest.raises(ValueError, match="one of each of 6 records"):
        linear_probe(x, labels=[0, 1], others=y, other_labels=[0] * 6)
    with pytest.raises(ValueError, match="2 classes or more"):
        linear_probe(x, labels=[0] * 6, others=y, other_labels=[0] * 6)
    with pytest.raises(ValueError, match="3 columns, those of others 2"):
        linear_probe(x, labels=[0] * 6, others=y[:, :2], other_labels=[1] * 6)
