import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.linear_model import LinearRegression

from expunge.core.errors import UsageError
from expunge.core.registry import load


@pytest.fixture(scope="module")
def bed():
    return load("testbeds", "linear")()


def test_it_equals_other_solvers_after_any_deletion(bed, subsets):
    for gone in subsets(bed, least=8):
        keep = bed.kept(gone)
        truth = bed.truth(gone)
        peer = LinearRegression().fit(bed.x[keep], bed.y[keep])
        assert_allclose(truth["coef"], peer.coef_, rtol=1e-8)
        assert_allclose(truth["intercept"], peer.intercept_, rtol=1e-8)
        design = np.column_stack([bed.x[keep], np.ones(len(keep))])
        assert_allclose([*truth["coef"], truth["intercept"]], np.linalg.lstsq(design, bed.y[keep])[0], rtol=1e-8)
        assert truth["rank"] == 5


@pytest.mark.parametrize("left", [1, 2, 3, 5])
def test_where_the_rank_falls_the_shortest_of_all_solutions_is_taken(bed, left):
    truth = bed.truth(bed.ids[left:])
    x, y = bed.x[:left], bed.y[:left]
    assert truth["rank"] == left - 1
    assert_allclose(x @ truth["coef"] + truth["intercept"], y, rtol=1e-10)
    shortest = np.linalg.lstsq(x - x.mean(0), y - y.mean())[0]
    assert_allclose(truth["coef"], shortest, rtol=1e-8, atol=1e-12)
    if left == 1:
        assert not truth["coef"].any()
        assert truth["intercept"] == y[0]


def test_copies_alone_have_no_slope(bed):
    # Two equal rows: what centring leaves is rounding, and must not be divided by.
    gone = [name for i, name in enumerate(bed.ids) if i not in (1, len(bed.ids) - 3)]
    assert np.array_equal(bed.x[1], bed.x[-3])
    assert bed.truth(gone)["rank"] == 0
    assert not bed.truth(gone)["coef"].any()


def test_rounding_of_equal_rows_is_not_a_slope():
    # Three copies of 0.1 have a mean that is not 0.1.
    from expunge.testbeds._least_squares import solve

    answer = solve(np.full((3, 2), 0.1), np.full(3, 0.1), penalty=0.0)
    assert answer["rank"] == 0
    assert not answer["coef"].any()


def test_the_residual_without_a_record_needs_no_refit(bed):
    # Cook and Weisberg 1982, eq. 2.2.1: e_i / (1 - h_ii), from Sherman and Morrison.
    whole = bed.truth()
    design = np.column_stack([bed.x, np.ones(len(bed.x))])
    hat = np.einsum("ij,ij->i", design @ np.linalg.inv(design.T @ design), design)
    residual = bed.y - bed.x @ whole["coef"] - whole["intercept"]
    for i in range(0, len(bed.x), 7):
        without = bed.truth([bed.ids[i]])
        left_out = bed.y[i] - bed.x[i] @ without["coef"] - without["intercept"]
        assert_allclose(left_out, residual[i] / (1 - hat[i]), rtol=1e-7)


def test_deleting_one_of_two_copies_leaves_the_other(bed):
    whole, once, never = bed.truth(), bed.truth(bed.ids[:1]), bed.truth([bed.ids[0], bed.ids[-4]])
    assert not np.allclose(whole["coef"], once["coef"], rtol=1e-6)
    assert not np.allclose(once["coef"], never["coef"], rtol=1e-6)
    assert_allclose(once["coef"], bed.truth([bed.ids[-4]])["coef"], rtol=1e-10)


def test_nothing_left_is_refused(bed):
    with pytest.raises(UsageError, match="0 of 120 remain") as caught:
        bed.truth(bed.ids)
    assert caught.value.obstacles[0].expected == "at least 1"
