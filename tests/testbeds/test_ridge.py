import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn import linear_model

from expunge.core.errors import UsageError
from expunge.core.registry import load


@pytest.fixture(scope="module")
def bed():
    return load("testbeds", "ridge")()


@pytest.mark.parametrize("solver", ["svd", "cholesky"])
def test_it_equals_scikit_learn_after_any_deletion(bed, subsets, solver):
    for gone in subsets(bed, least=2):
        keep = bed.kept(gone)
        peer = linear_model.Ridge(alpha=bed.penalty, solver=solver).fit(bed.x[keep], bed.y[keep])
        truth = bed.truth(gone)
        assert_allclose(truth["coef"], peer.coef_, rtol=1e-7, atol=1e-10)
        assert_allclose(truth["intercept"], peer.intercept_, rtol=1e-7)


def test_it_minimises_the_objective_that_it_states(bed):
    # The gradient of sum (y - x w - b)^2 + penalty ||w||^2, in w and b.
    for gone in ((), bed.ids[:30], bed.ids[:55]):
        keep, truth = bed.kept(gone), bed.truth(gone)
        residual = bed.y[keep] - bed.x[keep] @ truth["coef"] - truth["intercept"]
        assert_allclose(-2 * residual @ bed.x[keep] + 2 * bed.penalty * truth["coef"], 0, atol=1e-9)
        assert_allclose(residual.sum(), 0, atol=1e-10)


def test_one_record_can_be_taken_out_of_the_inverse(bed):
    # Sherman and Morrison 1950, on A = X^T X + penalty I with a column of ones that is not penalised.
    design = np.column_stack([bed.x, np.ones(len(bed.x))])
    inverse = np.linalg.inv(design.T @ design + bed.penalty * np.diag([1.0] * 20 + [0.0]))
    for i in range(0, len(bed.x), 6):
        row = design[i]
        u = inverse @ row
        downdated = inverse + np.outer(u, u) / (1 - row @ u)
        truth = bed.truth([bed.ids[i]])
        w = downdated @ (design.T @ bed.y - bed.y[i] * row)
        assert_allclose([*truth["coef"], truth["intercept"]], w, rtol=1e-8, atol=1e-10)
        whole = bed.truth()
        residual = bed.y[i] - row @ [*whole["coef"], whole["intercept"]]
        left_out = bed.y[i] - row @ [*truth["coef"], truth["intercept"]]
        assert_allclose(left_out, residual / (1 - row @ u), rtol=1e-8)


def test_one_record_is_enough_and_none_is_not(bed):
    truth = bed.truth(bed.ids[1:])
    assert not truth["coef"].any()
    assert truth["intercept"] == bed.y[0]
    with pytest.raises(UsageError, match="0 of 60 remain"):
        bed.truth(bed.ids)


def test_few_records_have_fewer_directions_than_inputs(bed):
    assert bed.truth()["rank"] == 20
    assert bed.truth(bed.ids[10:])["rank"] == 9
