import math

import numpy as np
import pytest
from scipy import stats

from expunge.numerics.exposure import MIN_REFERENCES, more_exposed


def draws(references, records, *, prior=None, seed=0):
    """A retrained model and K references, of which the spreads differ as a prior of so many degrees says."""
    draw = np.random.default_rng(seed)
    sigma = 1.0 if prior is None else np.sqrt(prior / draw.chisquare(prior, records))
    return 3 * draw.normal(size=records) + sigma * draw.normal(size=(references + 1, records))


@pytest.mark.parametrize("references", [3, 5, 20])
@pytest.mark.parametrize("prior", [None, 4.0, 20.0])
def test_a_retrained_model_is_exposed_at_the_stated_rate(references, prior):
    p = []
    for seed in range(4):
        phi = draws(references, 2000, prior=prior, seed=seed)
        p.append(more_exposed(phi[0], references=phi[1:]).p)
    assert stats.kstest(np.concatenate(p), "uniform").pvalue > 0.001


@pytest.mark.parametrize("prior", [None, 4.0])
def test_few_references_borrow_the_spread_of_other_records(prior):
    phi = draws(3, 4000, prior=prior)
    found = more_exposed(phi[0], references=phi[1:])
    if prior is None:
        assert found.freedom > 1e3
    else:
        assert found.freedom - 2 == pytest.approx(prior, rel=0.25)
    # By the moderated form, with the prior that the data were drawn from.
    variance = phi[1:].var(axis=0, ddof=1)
    own = 0.0 if prior is None else 2 / (2 + prior)
    expected = (phi[0] - phi[1:].mean(0)) / np.sqrt((own * variance + (1 - own)) * 4 / 3)
    assert np.median(np.abs(found.t / expected - 1)) < 0.05


def test_who_became_exposed_is_listed_with_few_false_entries():
    false, caught = [], []
    for seed in range(20):
        phi = draws(5, 1000, prior=20.0, seed=seed)
        phi[0, :50] += 6
        found = more_exposed(phi[0], references=phi[1:], level=0.1)
        false.append(found.listed[50:].sum() / max(found.listed.sum(), 1))
        caught.append(found.listed[:50].mean())
    assert np.mean(false) <= 0.1 + 0.02
    assert np.mean(caught) > 0.8


def test_less_exposed_is_not_listed():
    phi = draws(5, 200)
    found = more_exposed(phi[1:].mean(0) - 10, references=phi[1:])
    assert not found.listed.any()
    assert (found.p > 0.99).all()
    np.testing.assert_allclose(found.excess, -10)


def test_a_few_records_are_compared_with_their_own_spread():
    phi = draws(6, 1)
    found = more_exposed(phi[0], references=phi[1:])
    plain = (phi[0] - phi[1:].mean(0)) / (phi[1:].std(0, ddof=1) * math.sqrt(7 / 6))
    np.testing.assert_allclose(found.t, plain)
    np.testing.assert_allclose(found.p, stats.t.sf(plain, 5))


def test_references_that_never_vary():
    found = more_exposed([1.0, 0.0, -1.0], references=np.zeros((4, 3)))
    np.testing.assert_array_equal(found.p, [0.0, 0.5, 1.0])
    assert found.listed.tolist() == [True, False, False]


def test_what_it_refuses():
    phi = draws(4, 5)
    with pytest.raises(ValueError, match="needs 3 references"):
        more_exposed(phi[0], references=phi[1:MIN_REFERENCES])
    with pytest.raises(ValueError, match="same model"):
        more_exposed(phi[2], references=phi)
    with pytest.raises(ValueError, match="level"):
        more_exposed(phi[0], references=phi[1:], level=0.0)
    with pytest.raises(ValueError, match="NaN"):
        more_exposed(phi[0] * np.nan, references=phi[1:])
    with pytest.raises(ValueError, match="records"):
        more_exposed(phi[0, :4], references=phi[1:])
