"""Ridge regression that forgets is scikit-learn's on what remains, and its fast answers are those of a new solution."""

import numpy as np
import pytest
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from expunge.estimators import ForgettingRidge
from expunge.estimators._quadratic import MOST_CHANGES, Quadratic

X, Y = load_diabetes(return_X_y=True, scaled=False)
GONE = np.arange(0, len(X), 3)
KEPT = np.setdiff1d(np.arange(len(X)), GONE)


def table(n, d=40, seed=0):
    """Return rows [n, d], half of them one-hot, and a target."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(n, d))
    x[:, d // 2 :] = np.eye(d - d // 2)[draw.integers(0, d - d // 2, n)]
    return x, x @ draw.normal(size=d) + draw.normal(size=n)


@pytest.fixture
def solutions(monkeypatch):
    """Return a list that grows with every solution from the integers."""
    seen = []
    solve = ForgettingRidge._solve
    monkeypatch.setattr(ForgettingRidge, "_solve", lambda self: (seen.append(1), solve(self))[1])
    return seen


@pytest.mark.parametrize("alpha", [0.1, 10.0])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_it_is_scikit_learns_on_what_remains(alpha, fit_intercept):
    """P-18: the penalty is not times n, so that it is the same for fewer rows."""
    made = ForgettingRidge(alpha, fit_intercept=fit_intercept).fit(X, Y).forget(GONE)
    fresh = Ridge(alpha, fit_intercept=fit_intercept, solver="cholesky").fit(X[KEPT], Y[KEPT])
    np.testing.assert_allclose(made.coef_, fresh.coef_, rtol=1e-5)
    np.testing.assert_allclose(made.intercept_, fresh.intercept_, rtol=1e-5)
    np.testing.assert_allclose(made.predict(X), fresh.predict(X), rtol=1e-6)
    assert made.score(X, Y) == pytest.approx(fresh.score(X, Y), abs=1e-8)


def test_standardising_is_that_of_the_rows_that_remain():
    made = ForgettingRidge(20.0, standardize=True).fit(X, Y)
    for name in GONE:  # one by one: deviations change with every row
        made.forget([name])
    fresh = make_pipeline(StandardScaler(), Ridge(20.0, solver="cholesky")).fit(X[KEPT], Y[KEPT])
    np.testing.assert_allclose(made.predict(X), fresh.predict(X), rtol=1e-8)
    wide, target = table(600)
    made = ForgettingRidge(20.0, standardize=True).fit(wide, target)
    for name in range(100):
        made.forget([name])
    fresh = make_pipeline(StandardScaler(), Ridge(20.0, solver="cholesky")).fit(wide[100:], target[100:])
    np.testing.assert_allclose(made.predict(wide), fresh.predict(wide), rtol=1e-6, atol=1e-6)
    with pytest.raises(ValueError, match="fit_intercept"):
        ForgettingRidge(standardize=True, fit_intercept=False).fit(X, Y)


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_several_targets(fit_intercept):
    wide, target = table(300)
    both = np.column_stack([target, wide[:, 0] - 5 * target, np.full(300, 2.0)])
    made = ForgettingRidge(fit_intercept=fit_intercept).fit(wide, both).forget([1]).forget(range(60))
    fresh = Ridge(fit_intercept=fit_intercept, solver="cholesky").fit(wide[60:], both[60:])
    np.testing.assert_allclose(made.coef_, fresh.coef_, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(made.predict(wide), fresh.predict(wide), rtol=1e-6, atol=1e-6)
    with pytest.raises(ValueError, match="targets"):
        made.partial_fit(wide[:3], target[:3])


def test_without_penalty_it_is_least_squares_also_where_columns_repeat(solutions):
    doubled = np.column_stack([X, X[:, :2]])
    made = ForgettingRidge(alpha=0.0).fit(doubled, Y).forget(GONE)
    means = doubled[KEPT].mean(0)
    expected, *_ = np.linalg.lstsq(doubled[KEPT] - means, Y[KEPT] - Y[KEPT].mean(), rcond=1e-10)
    np.testing.assert_allclose(made.predict(doubled), (doubled - means) @ expected + Y[KEPT].mean(), rtol=1e-5)
    before = len(solutions)
    made.forget([1]).forget([2])
    assert len(solutions) == before + 2, "the formula for an inverse does not hold for a pseudo-inverse"


# --- one row at a time ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_two_thousand_rows_one_by_one_stay_within_rounding(solutions, fit_intercept):
    """P-17: within 1e-10 of a new solution, and solved anew every thousand changes."""
    x, y = table(3000)
    made = ForgettingRidge(fit_intercept=fit_intercept).fit(x, y)
    for name in range(2000):
        made.forget([name])
    assert len(solutions) == 2 + (2000 > 2 * MOST_CHANGES + 1)
    fresh = ForgettingRidge(fit_intercept=fit_intercept).fit(x[2000:], y[2000:], sample_ids=range(2000, 3000))
    assert made.fingerprint() == fresh.fingerprint()
    assert np.linalg.norm(made.coef_ - fresh.coef_) <= 1e-10 * np.linalg.norm(fresh.coef_)
    again = Ridge(fit_intercept=fit_intercept, solver="cholesky").fit(x[2000:], y[2000:])
    np.testing.assert_allclose(made.coef_, again.coef_, rtol=1e-5, atol=1e-7)


def test_rows_come_one_by_one_too(solutions):
    x, y = table(500)
    made = ForgettingRidge().fit(x[:100], y[:100])
    for name in range(100, 500):
        made.partial_fit(x[[name]], y[[name]], sample_ids=[name])
        made.forget([name - 50])
    kept = [*range(50), *range(450, 500)]
    fresh = ForgettingRidge().fit(x[kept], y[kept], sample_ids=kept)
    assert made.fingerprint() == fresh.fingerprint()
    np.testing.assert_allclose(made.coef_, fresh.coef_, rtol=1e-10, atol=1e-12)
    assert len(solutions) < 5


def test_a_row_that_carries_a_direction_alone_is_solved_anew(solutions):
    """P-16: without it 1 − x^T P x is rounding, and the formula would divide by it."""
    x, y = table(100)
    x[:, 3] = 0.0
    x[17, 3] = 1e3
    made = ForgettingRidge(alpha=1e-6).fit(x, y)
    before = len(solutions)
    made.forget([17])
    assert len(solutions) == before + 1
    kept = np.setdiff1d(np.arange(100), [17])
    fresh = ForgettingRidge(alpha=1e-6).fit(x[kept], y[kept], sample_ids=kept)
    assert made.coef_[3] == fresh.coef_[3] == 0.0
    np.testing.assert_allclose(made.coef_, fresh.coef_, rtol=1e-9, atol=1e-12)


def test_weights_that_miss_the_tolerance_are_solved_anew(solutions):
    x, y = table(200)
    made = ForgettingRidge().fit(x, y)
    made._solved._P *= 1.9  # what drift would do, and more than refining mends
    made.forget([0])
    assert len(solutions) == 2
    fresh = ForgettingRidge().fit(x[1:], y[1:], sample_ids=range(1, 200))
    np.testing.assert_array_equal(made.coef_, fresh.coef_)


def test_columns_that_nearly_depend_on_each_other_are_solved_anew(solutions):
    """A residual of 1e-13 leaves weights that are wrong in the fourth digit there."""
    x, y = table(400)
    x[:, 1] = x[:, 0] + 1e-6 * x[:, 1]
    made = ForgettingRidge(alpha=1e-9, bits=40).fit(x, y)
    for name in range(50):
        made.forget([name])
    fresh = ForgettingRidge(alpha=1e-9, bits=40).fit(x[50:], y[50:], sample_ids=range(50, 400))
    assert np.linalg.norm(made.coef_ - fresh.coef_) <= 1e-9 * np.linalg.norm(fresh.coef_)
    assert len(solutions) > 10


def test_one_change_is_the_formula_of_sherman_and_morrison():
    """Derived anew from the rows, in the plainest way."""
    x, y = table(50, d=6)

    def solved(rows):
        mean, target = x[rows].mean(0), y[rows].mean(keepdims=True)
        v, t = x[rows] - mean, (y[rows] - target)[:, None]
        return Quadratic(len(rows), mean, target, v.T @ v, v.T @ t, alpha=2.0, centred=True, standardize=False)

    made = solved(np.arange(50))
    assert made.changed(x[:1], y[:1, None], -1)
    assert made.changed(x[:1], y[:1, None], 1)
    assert made.changed(x[1:3], y[1:3, None], -1)
    rows = np.setdiff1d(np.arange(50), [1, 2])
    fresh = solved(rows)
    np.testing.assert_allclose(made.mean, fresh.mean, rtol=1e-12)
    np.testing.assert_allclose(made.w, fresh.w, rtol=1e-12)
    P = np.tril(made._P) + np.tril(made._P, -1).T
    v = x[rows] - x[rows].mean(0)
    np.testing.assert_allclose(P @ (v.T @ v + 2 * np.eye(6)), np.eye(6), atol=1e-10)


def test_a_failure_half_way_leaves_weights_that_come_from_the_integers(monkeypatch):
    x, y = table(200)
    made = ForgettingRidge().fit(x, y)
    monkeypatch.setattr(Quadratic, "_change", lambda *given: (_ for _ in ()).throw(MemoryError))
    with pytest.raises(MemoryError):
        made.forget([0])
    assert made._solved is None


def test_bad_settings_are_refused():
    for alpha in (-1.0, None, "1", True, np.nan):
        with pytest.raises(ValueError, match="alpha"):
            ForgettingRidge(alpha=alpha).fit(X, Y)
