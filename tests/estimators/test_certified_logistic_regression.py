import json
import math
import stat

import mpmath
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from expunge.core.errors import Refused, RunFailed
from expunge.estimators import CertifiedLogisticRegression, _certified
from expunge.estimators._certified import rounding, slope, tolerance, unit_rows
from expunge.estimators.certified_logistic_regression import verify
from expunge.numerics.privacy import gaussian_epsilon, gaussian_mu
from tests.support import tables


def rows(count=200, classes=2, seed=0):
    draw = np.random.default_rng(seed)
    X = draw.normal(size=(count, 5))
    return X, (X[:, :classes] + draw.normal(size=(count, classes))).argmax(axis=1)


def secret(model):
    return np.array(model.key_material()["weights"])


# --- what it solves -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("C", [0.1, 10.0])
def test_it_solves_what_scikit_learn_solves(classes, C):
    X, y = rows(classes=classes)
    Z = np.column_stack([X, np.ones(len(X))])
    Z /= np.linalg.norm(Z, axis=1)[:, None]
    model = CertifiedLogisticRegression(C=C).fit(X, y)
    for label, w in zip(range(classes) if classes > 2 else [1], secret(model), strict=True):
        theirs = LogisticRegression(C=C, fit_intercept=False, solver="newton-cholesky", tol=1e-10).fit(Z, y == label)
        np.testing.assert_allclose(w, theirs.coef_[0], rtol=1e-6, atol=1e-8)


def test_one_against_the_rest_gives_scikit_learns_probabilities():
    from sklearn.multiclass import OneVsRestClassifier

    X, y = rows(classes=3)
    Z = unit_rows(X, intercept=True)
    plain = LogisticRegression(fit_intercept=False, solver="newton-cholesky", tol=1e-10)
    theirs = OneVsRestClassifier(plain).fit(Z, y).predict_proba(Z)
    np.testing.assert_allclose(CertifiedLogisticRegression().fit(X, y).predict_proba(X), theirs, rtol=1e-5)


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_rows_have_norm_one_at_any_scale(scale):
    X = np.random.default_rng(0).normal(size=(20, 4)) * scale
    X[3] = 0
    norms = np.linalg.norm(unit_rows(X, intercept=False), axis=1)
    np.testing.assert_allclose(norms[np.arange(20) != 3], 1, rtol=1e-15)
    assert norms[3] == 0
    assert np.linalg.norm(unit_rows(X, intercept=True)[3]) == 1


@pytest.mark.parametrize("count", [7, 64, 300, 2500])
def test_the_bound_on_rounding_holds_and_is_no_more_than_a_few_digits(count):
    X, y = rows(count)
    Z, w = unit_rows(X, intercept=True), np.random.default_rng(1).normal(size=6) * 8
    found = slope(Z, y.astype(float), w, 0.5)
    with mpmath.workdps(40):
        exact = [mpmath.mpf(float(v)) / mpmath.mpf(0.5) for v in w]
        for z, t in zip(Z, y, strict=True):
            margin = mpmath.fdot((mpmath.mpf(float(a)) for a in z), (mpmath.mpf(float(b)) for b in w))
            error = 1 / (1 + mpmath.exp(-margin)) - int(t)
            exact = [g + error * mpmath.mpf(float(a)) for g, a in zip(exact, z, strict=True)]
        apart = float(mpmath.norm([mpmath.mpf(float(f)) - g for f, g in zip(found.gradient, exact, strict=True)]))
        norm = float(mpmath.norm(exact))
    bound = rounding(count, 6, 0.5, weight=float(np.linalg.norm(w)), errors=float(np.abs(found.p - y).sum()))
    assert apart <= bound < 1e-10
    assert norm <= found.norm <= norm + 2 * bound


@pytest.mark.parametrize("C", [1e-3, 1.0, 1e3])
def test_tolerance_is_above_rounding_at_any_solution(C):
    X, y = rows(300)
    w = secret(CertifiedLogisticRegression(C=C).fit(X, y))[0]
    errors = np.abs(slope(unit_rows(X, intercept=True), y.astype(float), w, C).p - y).sum()
    assert 2 * rounding(300, 6, C, weight=float(np.linalg.norm(w)), errors=float(errors)) <= tolerance(300, 6, C)


@pytest.mark.filterwarnings("ignore:noise of")
def test_hard_problems_are_solved_too():
    X = np.linspace(-1, 1, 60)[:, None]
    model = CertifiedLogisticRegression(C=1e4, fit_intercept=False).fit(X, X[:, 0] > 0)
    assert model.score(X, X[:, 0] > 0) == 1.0
    twice = np.column_stack([X, X, X * (1 + 1e-13)])
    assert CertifiedLogisticRegression(C=1e4).fit(twice, X[:, 0] > 0.3).score(twice, X[:, 0] > 0.3) > 0.9


# --- what the certificate rests on ----------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 3])
def test_after_any_history_it_is_as_near_to_a_fresh_fit_as_the_noise_hides(classes):
    X, y = rows(300, classes)
    model = CertifiedLogisticRegression(C=2.0).fit(X[:250], y[:250], sample_ids=range(250))
    draw, held = np.random.default_rng(3), set(range(300))
    for step in range(12):
        gone = draw.choice(sorted(held & set(model._book.ids)), size=1 + 4 * step, replace=False).tolist()
        model.forget(gone)
        held -= set(gone)
        if step == 5:
            model.partial_fit(X[250:], y[250:], sample_ids=range(250, 300))
        kept = sorted(held & set(model._book.ids))
        fresh = CertifiedLogisticRegression(C=2.0).fit(X[kept], y[kept])
        last = model.releases_[-1]
        apart = np.linalg.norm(secret(model) - secret(fresh))
        assert apart <= last.mu * last.noise * (1 + 1e-9)
        assert last.noise == fresh.releases_[-1].noise  # the law of the reference has the same width
        assert last.residual <= last.tolerance


def test_noise_is_that_of_the_exact_curve():
    X, y = rows(100, 3)
    model = CertifiedLogisticRegression(epsilon=0.5, delta=1e-6, max_releases=9, C=3.0).fit(X, y).forget([0])
    one = model.releases_[-1]
    assert one.tolerance == tolerance(99, 6, 3.0)
    apart = math.sqrt(3) * 2 * 3.0 * one.tolerance  # three problems, C tau on either side
    assert apart / one.noise == pytest.approx(gaussian_mu(0.5, 1e-6) / 3)
    assert one.epsilon == pytest.approx(gaussian_epsilon(apart / one.noise, 1e-6))


@pytest.mark.filterwarnings("ignore:noise of")
def test_every_release_has_fresh_noise_of_the_stated_size():
    X, y = rows(60)
    # A tiny budget makes the noise large, so that its digits are not lost in those of the weights.
    model, found = CertifiedLogisticRegression(epsilon=1e-9, delta=1e-13, max_releases=100), []
    for _ in range(150):
        model.fit(X, y)
        shown = np.column_stack([model.coef_, model.intercept_])
        found.append((shown - secret(model))[0] / model.releases_[-1].noise)
    found = np.array(found)
    assert len(np.unique(found)) == found.size
    assert found.std() == pytest.approx(1, abs=0.13)
    assert abs(found.mean()) < 0.17
    assert abs(np.corrcoef(found[:-1].ravel(), found[1:].ravel())[0, 1]) < 0.17


@pytest.mark.filterwarnings("ignore:noise of")
def test_predictions_are_made_with_what_is_published():
    X, y = rows(80)
    model = CertifiedLogisticRegression(epsilon=1e-9, delta=1e-15).fit(X, y)
    Z = np.column_stack([X, np.ones(80)]) / np.sqrt((X**2).sum(1) + 1)[:, None]
    shown = np.append(model.coef_[0], model.intercept_)
    assert np.abs(Z @ (shown - secret(model)[0])).max() > 1e-3
    np.testing.assert_allclose(model.decision_function(X), Z @ shown, rtol=1e-9)


# --- the account ----------------------------------------------------------------------------------------------------


def test_releases_compose_until_the_budget_is_spent():
    X, y = rows(60)
    model = CertifiedLogisticRegression(max_releases=4).fit(X[:50], y[:50])
    model.partial_fit(X[50:], y[50:])
    assert model.published()["epsilon"] == 0
    for place in range(4):
        model.forget([place])
    composed = [one.composed for one in model.releases_]
    assert composed[:2] == [0, 0]
    assert composed[2] < composed[3] < composed[4] < composed[5] == pytest.approx(1.0, rel=1e-6)
    assert composed[5] <= 1.0
    assert all(one.epsilon == composed[2] for one in model.releases_[2:])
    before, shown = model.fingerprint(), model.coef_
    with pytest.raises(Refused, match="budget") as caught:
        model.forget([7])
    assert "retrain" in str(caught.value)
    assert model.fingerprint() == before
    assert model.coef_ is shown
    assert model.what_remains_.rows == 56
    with pytest.raises(Refused):
        model.partial_fit(X[:1], y[:1], sample_ids=[99])
    model.retrain().forget([7])
    assert len(model.releases_) == 2
    assert model.releases_[-1].composed == composed[2]


def test_rows_put_in_after_a_deletion_are_a_release_too():
    X, y = rows(60)
    model = CertifiedLogisticRegression().fit(X[:50], y[:50]).forget([3]).partial_fit(X[50:], y[50:])
    assert [one.mu > 0 for one in model.releases_] == [False, True, True]
    assert model.published()["releases"] == 2


def test_retraining_owes_the_past_nothing():
    X, y = rows(150, 3)
    ids = [f"p{i:03d}" for i in range(150)]
    model = CertifiedLogisticRegression().fit(X, y, sample_ids=ids).forget(ids[:70:3]).forget(ids[100:120])
    kept = [i for i in range(150) if not (i < 70 and i % 3 == 0) and not 100 <= i < 120]
    shuffled = np.random.default_rng(0).permutation(kept)
    fresh = CertifiedLogisticRegression().fit(X[shuffled], y[shuffled], sample_ids=[ids[i] for i in shuffled])
    assert (secret(model.retrain()) == secret(fresh)).all()  # bit for bit: the reference itself


# --- what may be seen -----------------------------------------------------------------------------------------------


def test_what_is_published_holds_no_secret():
    X, y = rows(60, 3)
    model = CertifiedLogisticRegression().fit(X, y).forget([1, 2])
    text = json.dumps(model.published())
    hidden = [*secret(model).ravel(), model.releases_[-1].residual, model.releases_[-1].noise]
    assert not [value for value in hidden if repr(float(value)) in text]
    assert set(json.loads(text)) == {
        *("classes", "coef", "intercept", "fit_intercept", "epsilon", "epsilon_of_this_release", "delta"),
        *("releases", "reference", "assumptions"),
    }


def test_what_is_saved_is_key_material(tmp_path):
    X, y = rows(60)
    model = CertifiedLogisticRegression().fit(X, y).forget([5])
    model.save(tmp_path / "model.skops")
    assert stat.S_IMODE((tmp_path / "model.skops").stat().st_mode) == 0o600
    assert any("key material" in note for note in model.what_remains_.notes)
    opened = CertifiedLogisticRegression.load(tmp_path / "model.skops")
    assert opened.releases_ == model.releases_
    assert opened.published() == model.published()
    assert opened.forget([6]).releases_[-1].composed > model.releases_[-1].composed


# --- the verifier ---------------------------------------------------------------------------------------------------


@pytest.fixture(params=[2, 3])
def certified(request):
    X, y = rows(120, request.param)
    model = CertifiedLogisticRegression().fit(X, y).forget(range(0, 120, 7)).forget([1])
    kept = [i for i in range(120) if i % 7 and i != 1]
    return X, y, kept, model


def test_another_computation_comes_to_the_same_verdict(certified):
    X, y, kept, model = certified
    found = verify(X[kept[::-1]], y[kept[::-1]], secret=model.key_material(), published=model.published())
    assert found.holds, found.wrong
    assert found.tolerance == model.releases_[-1].tolerance
    assert found.residual == pytest.approx(model.releases_[-1].residual, rel=1.0)
    assert found.epsilon == pytest.approx(model.published()["epsilon"], rel=1e-7)


def test_the_verifier_finds_what_is_wrong(certified):
    X, y, kept, model = certified
    good = {"secret": model.key_material(), "published": model.published()}

    def wrong(keep=kept, **more):
        parts = {name: {**value, **more.get(name, {})} for name, value in good.items()}
        return " ".join(verify(X[keep], y[keep], **parts).wrong)

    weights = good["secret"]["weights"]
    exact = np.array(weights)
    assert wrong() == ""
    assert "not what the weights solve" in wrong([*kept, 0])
    assert "not what the weights solve" in wrong(secret={"weights": (exact + 1e-9).tolist()})
    bare = {"coef": exact[:, :-1].tolist(), "intercept": exact[:, -1].tolist()}
    assert "such noise" in wrong(published=bare)
    assert "the noise is" in wrong(secret={"noise": good["secret"]["noise"] / 2})
    assert "less than it is" in wrong(secret={"mus": [mu / 2 for mu in good["secret"]["mus"]]})
    assert "published otherwise" in wrong(published={"epsilon": 0.001})
    assert "come to epsilon" in wrong(secret={"mus": good["secret"]["mus"] * 2000})
    assert "classes" in wrong(published={"classes": [0, 5]})
    assert "one problem per class" in wrong(secret={"weights": [*weights, weights[0]]})


# --- faults ---------------------------------------------------------------------------------------------------------


def test_a_failure_in_the_middle_changes_nothing(monkeypatch):
    X, y = rows(60)
    model = CertifiedLogisticRegression().fit(X, y)
    before, shown = model.fingerprint(), model.published()
    with monkeypatch.context() as patched:
        patched.setattr(_certified, "slope", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            model.forget([0, 1])
    assert (model.fingerprint(), model.published()) == (before, shown)
    assert model.what_remains_.rows == 60
    assert model.forget([0, 1]).what_remains_.rows == 58


def test_weights_that_solve_another_problem_show_in_the_fingerprint():
    X, y = rows(60)
    model = CertifiedLogisticRegression().fit(X, y)
    before = model.fingerprint()
    model._parts[1].w[0] += 1e-6
    assert model.fingerprint() != before


def test_what_cannot_be_solved_is_no_release(monkeypatch):
    X, y = rows(60)
    monkeypatch.setattr(_certified, "tolerance", lambda *_: 1e-18)
    with pytest.raises(RunFailed, match="tolerance"):
        CertifiedLogisticRegression().fit(X, y)


def test_noise_that_drowns_the_model_is_said():
    X, y = rows(60)
    with pytest.warns(UserWarning, match="noise of"):
        CertifiedLogisticRegression(C=1e8, epsilon=0.01).fit(X, y)


@pytest.mark.parametrize(
    "wrong", [{"epsilon": 0}, {"delta": 1}, {"max_releases": 0}, {"C": -1.0}, {"C": math.nan}], ids=str
)
def test_settings_without_meaning_are_refused(wrong):
    with pytest.raises(ValueError, match="it takes"):
        CertifiedLogisticRegression(**wrong).fit(*rows(20))


# --- real data ------------------------------------------------------------------------------------------------------


def test_on_adult_a_tenth_can_go_at_no_loss():
    numbers, texts, y = tables.adult(4000)
    X = np.hstack([StandardScaler().fit_transform(numbers), OneHotEncoder(sparse_output=False).fit_transform(texts)])
    model = CertifiedLogisticRegression(max_releases=400).fit(X[:3000], y[:3000])
    for start in range(0, 300, 100):
        model.forget(range(start, start + 100))
    for place in range(300, 320):
        model.forget([place])
    plain = LogisticRegression(max_iter=1000).fit(X[320:3000], y[320:3000])
    assert model.score(X[3000:], y[3000:]) >= plain.score(X[3000:], y[3000:]) - 0.005
    assert model.releases_[-1].composed < 1
    assert verify(X[320:3000], y[320:3000], secret=model.key_material(), published=model.published()).holds
