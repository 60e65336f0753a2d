import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.covariance import EmpiricalCovariance

from expunge.core.errors import UsageError
from expunge.core.registry import load


@pytest.fixture(scope="module")
def bed():
    return load("testbeds", "gaussian_mean")()


def test_it_equals_numpy_and_scikit_learn_after_any_deletion(bed, subsets):
    for gone in subsets(bed, least=2):
        x = bed.x[bed.kept(gone)]
        truth = bed.truth(gone)
        assert_allclose(truth["mean"], np.mean(x, axis=0), rtol=1e-14)
        assert_allclose(truth["covariance"], np.cov(x.T, ddof=0), rtol=1e-9, atol=1e-12)
        assert_allclose(truth["covariance"], EmpiricalCovariance().fit(x).covariance_, rtol=1e-6, atol=1e-9)


def test_mean_and_covariance_move_as_they_must_when_one_goes(bed):
    # m' = (n m - x) / (n - 1); n' C' = n C - (x - m)(x - m')^T (Chan, Golub and LeVeque 1983, backwards).
    whole, n = bed.truth(), len(bed.x)
    for i in range(0, n, 5):
        truth = bed.truth([bed.ids[i]])
        assert_allclose(truth["mean"], (n * whole["mean"] - bed.x[i]) / (n - 1), rtol=1e-13)
        lost = np.outer(bed.x[i] - whole["mean"], bed.x[i] - truth["mean"])
        assert_allclose((n - 1) * truth["covariance"], n * whole["covariance"] - lost, rtol=1e-6, atol=1e-7)


def test_sums_of_squares_would_lose_the_digits(bed):
    far = bed.x[:, 3]
    exact = np.var(far)
    assert abs(np.mean(far**2) - np.mean(far) ** 2 - exact) > 1e-6 * exact
    assert_allclose(bed.truth()["covariance"][3, 3], exact, rtol=1e-12)


def test_one_record_is_enough_and_none_is_not(bed):
    truth = bed.truth(bed.ids[1:])
    assert np.array_equal(truth["mean"], bed.x[0])
    assert not truth["covariance"].any()
    with pytest.raises(UsageError, match="0 of 80 remain"):
        bed.truth(bed.ids)
