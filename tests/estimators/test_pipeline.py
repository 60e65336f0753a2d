import zipfile

import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import Normalizer, OneHotEncoder, StandardScaler

from expunge.core.errors import Refused
from expunge.core.level import Level
from expunge.estimators import (
    ForgettingOneHotEncoder,
    ForgettingOrdinalEncoder,
    ForgettingPipeline,
    ForgettingStandardScaler,
)
from tests.support import estimators
from tests.support.tables import adult

DRAW = np.random.default_rng(0)
X = DRAW.normal(size=(90, 4)) * [1, 10, 100, 1000]
Y = (X[:, 0] + X[:, 1] / 10 > 0).astype(int)


class Counting(estimators.Means):
    """Counts how often it was fitted."""

    fits = 0

    def fit(self, X, y=None, sample_ids=None):
        type(self).fits += 1
        return super().fit(X, y, sample_ids)

    def __deepcopy__(self, memo):
        made = Counting()
        made.__dict__.update({k: v.copy() if isinstance(v, np.ndarray) else v for k, v in self.__dict__.items()})
        made._book = self._book.__deepcopy__(memo)
        return made


@pytest.fixture(autouse=True)
def _none_counted():
    Counting.fits = 0


def test_what_comes_out_is_scikit_learns_pipeline_on_the_rest_to_the_bit():
    steps = [("scale", StandardScaler()), ("select", SelectKBest(k=2)), ("classify", LogisticRegression())]
    made = ForgettingPipeline([(name, clone(step)) for name, step in steps]).fit(X, Y).forget(range(30))
    plain = Pipeline([(name, clone(step)) for name, step in steps]).fit(X[30:], Y[30:])
    assert made["classify"].coef_.tobytes() == plain["classify"].coef_.tobytes()
    assert made.predict_proba(X).tobytes() == plain.predict_proba(X).tobytes()
    assert made.score(X, Y) == plain.score(X, Y)
    assert made.get_params()["select__k"] == 2
    notes = made.what_remains_.notes
    assert [note.split("'")[1] for note in notes] == ["scale", "select", "classify"]
    assert "fitted anew" in notes[0]


def test_steps_that_are_given_stay_as_they_are():
    step = ForgettingStandardScaler()
    made = ForgettingPipeline([("scale", step)]).fit(X)
    assert not hasattr(step, "mean_")
    assert made.named_steps["scale"] is made[0] is made.steps_[0][1]
    assert made[:1].transform(X).shape == X.shape


def test_while_a_step_does_the_same_the_next_only_forgets():
    texts = np.array([[name] for name in ["a", "b", "b", "a", "c"] * 6], dtype=object)
    made = ForgettingPipeline([("code", ForgettingOrdinalEncoder()), ("classify", Counting())])
    made.fit(texts, Y[:30])
    made.forget([0, 1]).forget([2]).partial_fit(texts[:2], Y[:2], sample_ids=[40, 41])
    assert Counting.fits == 1
    made.forget([i for i in range(30) if texts[i, 0] == "b" and i > 2] + [41])  # the code of c falls from 2 to 1
    assert Counting.fits == 2
    assert (
        made.fingerprint() == fresh(made, texts, [i for i in range(3, 30) if texts[i, 0] != "b"] + [40]).fingerprint()
    )
    made.partial_fit([["aa"]], Y[:1], sample_ids=[50])
    assert Counting.fits == 4


def fresh(made, texts, ids):
    rows = [i if i < 30 else i - 40 for i in ids]
    return clone(made).fit(texts[rows], Y[:30][rows], sample_ids=ids)


def test_a_column_of_forgotten_rows_alone_is_gone_in_later_steps_too(tmp_path):  # P-11, P-04
    _, texts, y = adult(1500)
    made = ForgettingPipeline(
        [
            ("code", ForgettingOneHotEncoder(handle_unknown="ignore")),
            ("classify", LogisticRegression(max_iter=20, tol=1)),
        ]
    ).fit(texts, y)
    rare = [i for i in range(len(texts)) if texts[i, 7] not in ("United-States", "?")]
    made.forget(rare)
    kept = np.setdiff1d(np.arange(len(texts)), rare)
    plain = make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression(max_iter=20, tol=1))
    plain.fit(texts[kept], y[kept])
    assert made["classify"].coef_.shape == plain[-1].coef_.shape
    assert made["classify"].coef_.tobytes() == plain[-1].coef_.tobytes()
    made.save(tmp_path / "made.skops")
    with zipfile.ZipFile(tmp_path / "made.skops") as archive:
        content = b"".join(archive.read(name) for name in archive.namelist())
    assert b"Mexico" not in content
    assert b"United-States" in content


def test_random_histories_equal_a_fresh_fit():  # P-09
    made = ForgettingPipeline(
        [
            ("scale", ForgettingStandardScaler()),
            ("unit", Normalizer()),
            ("skip", "passthrough"),
            ("classify", RandomForestClassifier(n_estimators=3, max_depth=3, random_state=0)),
        ]
    )
    held = set(range(60))
    made.fit(X[:60], Y[:60])
    draw = np.random.default_rng(1)
    for step in range(4):
        gone = draw.permutation(sorted(held))[:7].tolist()
        made.forget(gone)
        held -= set(gone)
        new = [i for i in range(60 + 5 * step, 65 + 5 * step)]
        made.partial_fit(X[new], Y[new], sample_ids=new)
        held |= set(new)
        kept = sorted(held)
        assert made.fingerprint() == clone(made).fit(X[kept], Y[kept], sample_ids=kept).fingerprint()
    reverse = kept[::-1]
    assert made.fingerprint() == clone(made).fit(X[reverse], Y[reverse], sample_ids=reverse).fingerprint()


def test_a_request_that_leaves_rows_no_step_can_use_is_refused_and_changes_nothing():  # P-08
    made = ForgettingPipeline([("scale", ForgettingStandardScaler()), ("classify", LogisticRegression())]).fit(X, Y)
    before, mean = made.fingerprint(), made[0].mean_.copy()
    with pytest.raises(Refused, match="step 'classify'"):
        made.forget(np.flatnonzero(Y == 0))
    assert made.fingerprint() == before
    assert made[0].mean_.tobytes() == mean.tobytes()
    assert made.what_remains_.rows == 90
    made.forget(range(90))
    with pytest.raises(NotFittedError):
        made.predict(X)
    assert made.what_remains_.rows == 0
    made.partial_fit(X, Y)
    assert made.fingerprint() == clone(made).fit(X, Y, sample_ids=range(90, 180)).fingerprint()


def test_rows_that_a_step_refuses_change_nothing():
    made = ForgettingPipeline([("scale", ForgettingStandardScaler()), ("classify", LogisticRegression())]).fit(X, Y)
    before = made.fingerprint()
    for bad in (np.full((1, 4), np.inf), np.ones((1, 3))):
        with pytest.raises(ValueError, match=r"infinity|features"):
            made.partial_fit(bad, [1])
    with pytest.raises(ValueError, match="inconsistent"):
        made.partial_fit(X[:2], [1])
    assert made.fingerprint() == before


def test_the_level_is_that_of_the_weakest_step():
    def level(*steps):
        return ForgettingPipeline([(str(i), step) for i, step in enumerate(steps)]).guarantee

    class Exact(estimators.Means):
        guarantee = Level.EXACT

    assert ForgettingPipeline.guarantee is Level.BITWISE
    assert level(ForgettingStandardScaler(), estimators.Means()) is Level.BITWISE
    assert level(ForgettingStandardScaler(), "passthrough", Exact()) is Level.EXACT
    assert level(StandardScaler(), RandomForestClassifier(random_state=0)) is Level.BITWISE
    assert level(StandardScaler(), RandomForestClassifier()) is Level.EXACT


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_frames_are_held_and_saved_whole(kind, tmp_path):
    module = pytest.importorskip(kind)
    table = module.DataFrame(
        {"kind": ["oak", "ash", "oak", "elm", "ash", "oak"], "size": [1.0, 2.0, None, 4.0, 5.0, 6.0], "n": range(6)}
    )
    if kind == "pandas":
        table.index = [f"person-{i}" for i in range(6)]
        table["kind"] = table["kind"].astype("category")
    columns = ColumnTransformer(
        [("code", OneHotEncoder(sparse_output=False), ["kind"]), ("scale", StandardScaler(), ["size", "n"])],
        verbose_feature_names_out=False,
    )
    made = ForgettingPipeline([("columns", columns)]).set_output(transform=kind).fit(table)
    made.forget([3])
    made.save(tmp_path / "made.skops")
    opened = ForgettingPipeline.load(tmp_path / "made.skops")
    with zipfile.ZipFile(tmp_path / "made.skops") as archive:
        content = b"".join(archive.read(name) for name in archive.namelist())
    assert b"elm" not in content
    assert b"person-" not in content
    for each in (made, opened):
        out = each.forget([0]).transform(table[1:3])
        assert list(out.columns) == ["kind_ash", "kind_oak", "size", "n"]
        assert np.array_equal(each["columns"].named_transformers_["scale"].mean_, [13 / 3, 3.0])
    made.partial_fit(table[3:4], sample_ids=[9])
    assert list(made.transform(table).columns) == ["kind_ash", "kind_elm", "kind_oak", "size", "n"]
    with pytest.raises(ValueError, match="same columns"):
        made.partial_fit(table[["kind", "n"]])
    assert made.feature_names_in_.tolist() == ["kind", "size", "n"]


def test_ids_are_routed_and_steps_are_tuned_by_name():
    with sklearn.config_context(enable_metadata_routing=True):
        made = ForgettingPipeline([("scale", ForgettingStandardScaler()), ("classify", LogisticRegression())])
        search = GridSearchCV(made.set_fit_request(sample_ids=True), {"classify__C": [0.1, 1.0]}, cv=2)
        search.fit(X, Y, sample_ids=[f"row {i}" for i in range(90)])
        best = search.best_estimator_
    assert best.what_remains_.rows == 90
    best.forget(["row 3"])
    assert best[0].what_remains_.rows == 89


def test_fitting_and_predicting_in_one_keep_the_order_of_the_rows():
    order = DRAW.permutation(90)
    made = ForgettingPipeline([("scale", ForgettingStandardScaler())])
    out = made.fit_transform(X[order], sample_ids=order)
    assert np.allclose(out, StandardScaler().fit_transform(X)[order])
    made = ForgettingPipeline([("scale", StandardScaler()), ("classify", LogisticRegression())])
    assert np.array_equal(made.fit_predict(X[order], Y[order], sample_ids=order), made.predict(X[order]))
    assert not hasattr(made, "transform")
