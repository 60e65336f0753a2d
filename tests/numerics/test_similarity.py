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


def test_a_probe_reads_what_is_linear():
    x = features(2000, 5, count=1)[0]
    found = linear_probe(x, labels=(x @ np.array([1.0, -1, 0, 0, 2]) > 0).astype(int))
    assert found.accuracy > 0.97
    assert found.control == pytest.approx(0.5, abs=0.06)
    assert found.selectivity == found.accuracy - found.control


def test_accuracy_is_of_records_held_out():
    # More features than records: the training half is fitted without an error, whatever the labels.
    draw = np.random.default_rng(1)
    found = [linear_probe(draw.normal(size=(100, 200)), labels=draw.integers(0, 2, 100), seed=s) for s in range(10)]
    assert np.mean([one.accuracy for one in found]) == pytest.approx(0.5, abs=0.07)


@pytest.mark.parametrize("shift", [1.0, 2.0])
def test_two_normal_classes_have_the_accuracy_of_bayes(shift):
    draw = np.random.default_rng(2)
    labels = np.arange(8000) % 2
    found = linear_probe(draw.normal(size=(8000, 1)) + shift * labels[:, None], labels=labels)
    assert found.accuracy == pytest.approx(0.5 * (1 + math.erf(shift / 2 / math.sqrt(2))), abs=0.025)


def test_the_same_seed_gives_the_same_probe():
    x = features(60, 3, count=1)[0]
    labels = np.arange(60) % 3
    assert linear_probe(x, labels=labels, seed=4) == linear_probe(x, labels=labels, seed=4)


def test_what_it_refuses():
    x, y = features(6, 3)
    with pytest.raises(ValueError, match="same records"):
        linear_cka(x, other=y[:5])
    with pytest.raises(ValueError, match="needs 4 records"):
        debiased_cka(x[:3], other=y[:3])
    with pytest.raises(ValueError, match="NaN"):
        linear_cka(x * np.nan, other=y)
    with pytest.raises(ValueError, match="one of each of 6 records"):
        linear_probe(x, labels=[0, 1])
    with pytest.raises(ValueError, match="2 classes or more"):
        linear_probe(x, labels=[0] * 6)
    with pytest.raises(ValueError, match="2 classes or more of 2"):
        linear_probe(x, labels=[0, 0, 0, 0, 0, 1])
