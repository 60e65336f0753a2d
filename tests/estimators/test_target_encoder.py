import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import TargetEncoder

from expunge.estimators import ForgettingPipeline, ForgettingTargetEncoder
from tests.support.tables import adult, frame

DRAW = np.random.default_rng(0)
X = np.stack([DRAW.choice(["oak", "ash", "elm"], 120), DRAW.choice(["a", "b", "c", "d"], 120)], axis=1).astype(object)
TARGETS = {
    "binary": DRAW.integers(2, size=120),
    "texts": DRAW.choice(["no", "yes"], 120),
    "multiclass": DRAW.integers(3, size=120),
    "continuous": DRAW.normal(size=120) * 1e5 + 3e7,
}


@pytest.mark.parametrize("target", list(TARGETS))
@pytest.mark.parametrize("smooth", ["auto", 2.5])
def test_it_is_scikit_learns_and_after_forgetting_too(target, smooth):
    y = TARGETS[target]
    made = ForgettingTargetEncoder(smooth=smooth).fit(X, y).forget(range(0, 120, 4))
    kept = np.setdiff1d(np.arange(120), np.arange(0, 120, 4))
    plain = TargetEncoder(smooth=smooth).fit(X[kept], y[kept])
    assert made.target_type_ == plain.target_type_
    assert np.allclose(made.target_mean_, plain.target_mean_, rtol=1e-12)
    for one, other in zip(made.encodings_, plain.encodings_, strict=True):
        assert np.allclose(one, other, rtol=1e-9)
    unseen = np.array([["birch", "a"]], dtype=object)
    assert np.allclose(
        made.transform(np.concatenate([X, unseen])), plain.transform(np.concatenate([X, unseen])), rtol=1e-9
    )
    assert made.get_feature_names_out().tolist() == plain.get_feature_names_out().tolist()


def test_on_adult_it_is_scikit_learns():
    _, texts, y = adult(3000)
    made, plain = ForgettingTargetEncoder().fit(texts, y), TargetEncoder().fit(texts, y)
    assert np.allclose(made.transform(texts), plain.transform(texts), rtol=1e-9)


@pytest.mark.parametrize("target", ["multiclass", "continuous"])
def test_each_row_is_encoded_from_the_rows_of_other_folds(target):
    y = TARGETS[target]
    made = ForgettingTargetEncoder(cv=4, random_state=1)
    out = made.fit_transform(X, y)
    for fold in range(4):
        inside = made._folds == fold
        plain = TargetEncoder().fit(X[~inside], y[~inside])
        assert np.allclose(out[inside], plain.transform(X[inside]), rtol=1e-9)
    assert 15 < np.bincount(made._folds).min()


def test_folds_follow_the_id_and_not_the_place():
    y = TARGETS["continuous"]
    ids = [f"row {i}" for i in range(120)]
    made = ForgettingTargetEncoder(random_state=1).fit(X, y, ids).forget(ids[:30])
    order = DRAW.permutation(np.arange(30, 120))
    fresh = ForgettingTargetEncoder(random_state=1).fit(X[order], y[order], [ids[i] for i in order])
    assert made.fingerprint() == fresh.fingerprint()
    assert made.cross_fitted(ids[40:50]).tobytes() == fresh.cross_fitted(ids[40:50]).tobytes()
    other = ForgettingTargetEncoder(random_state=2).fit(X[order], y[order], [ids[i] for i in order])
    assert made.cross_fitted(ids[40:50]).tobytes() != other.cross_fitted(ids[40:50]).tobytes()


def test_in_a_pipeline_later_steps_are_trained_on_the_cross_fitted_rows():
    y = TARGETS["binary"]
    made = ForgettingPipeline([("code", ForgettingTargetEncoder(random_state=3)), ("classify", LogisticRegression())])
    made.fit(X, y).forget(range(20))
    code = ForgettingTargetEncoder(random_state=3)
    plain = LogisticRegression().fit(code.fit_transform(X[20:], y[20:], np.arange(20, 120)), y[20:])
    assert made["classify"].coef_.tobytes() == plain.coef_.tobytes()
    leaky = LogisticRegression().fit(code.transform(X[20:]), y[20:])
    assert made["classify"].coef_.tobytes() != leaky.coef_.tobytes()


def test_the_largest_target_that_goes_and_classes_that_go():
    y = np.array([1e-3, 2e-3, 4e-3, 1e9])
    rows = np.array([["a"], ["a"], ["b"], ["b"]], dtype=object)
    made = ForgettingTargetEncoder(random_state=0).fit(rows, y).forget([3])
    assert made.target_mean_ == pytest.approx(7e-3 / 3, rel=1e-12)
    assert made.fingerprint() == ForgettingTargetEncoder(random_state=0).fit(rows[:3], y[:3]).fingerprint()
    made = ForgettingTargetEncoder().fit(rows, ["x", "y", "z", "z"])
    assert made.transform(rows).shape == (4, 3)
    assert made.forget([0]).transform(rows).shape == (4, 1)
    assert made.classes_.tolist() == ["y", "z"]


def test_what_is_refused_changes_nothing():
    made = ForgettingTargetEncoder().fit(X, TARGETS["continuous"])
    before = made.fingerprint()
    for bad in (["text"], [np.nan], [1.0, 2.0], None):
        with pytest.raises(ValueError, match=r"one type|NaN|inconsistent|required|requires"):
            made.partial_fit(X[:1], bad)
    assert made.fingerprint() == before
    for name, value in {"cv": 1, "smooth": -1.0, "target_type": "odd"}.items():
        with pytest.raises(ValueError, match=name):
            ForgettingTargetEncoder(**{name: value}).fit(X, TARGETS["binary"])


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_frames_come_in_and_go_out(kind):
    table = frame(kind, X)
    made = ForgettingTargetEncoder(random_state=0).set_output(transform=kind)
    out = made.fit_transform(table, TARGETS["multiclass"])
    assert list(out.columns) == ["a_0", "a_1", "a_2", "b_0", "b_1", "b_2"]
    assert np.array_equal(np.asarray(out), made.cross_fitted())
    whole = ForgettingPipeline([("code", ForgettingTargetEncoder(random_state=0)), ("classify", LogisticRegression())])
    whole.set_output(transform=kind).fit(table, TARGETS["multiclass"]).forget([1])
    assert whole["classify"].feature_names_in_.tolist() == list(out.columns)
    assert whole.predict(table).shape == (120,)
