"""Estimators as models: copied, saved without a pickle, known by a digest that needs neither NumPy nor memory."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
from lightgbm import LGBMClassifier
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.cluster import KMeans
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC
from xgboost import XGBClassifier

from expunge.core import registry
from expunge.core.digest import model_digest
from expunge.core.errors import Tampered, UnsafeFile, UsageError
from expunge.core.level import Level
from expunge.models.estimator import FILE, EstimatorModel, state_digest
from tests.support.estimators import Means

KINDS = {
    "logistic": lambda: LogisticRegression(),
    "forest": lambda: RandomForestClassifier(5, random_state=3),
    "boosting": lambda: GradientBoostingClassifier(n_estimators=3, random_state=3),
    "histograms": lambda: HistGradientBoostingClassifier(max_iter=3, random_state=3),
    "neighbours": lambda: KNeighborsClassifier(algorithm="kd_tree"),
    "vectors": lambda: make_pipeline(StandardScaler(), SVC()),
    "perceptron": lambda: MLPClassifier((4,), max_iter=2000, random_state=3, tol=0.1),
    "xgboost": lambda: XGBClassifier(n_estimators=3, n_jobs=1),
    "lightgbm": lambda: LGBMClassifier(n_estimators=3, verbose=-1, n_jobs=1),
    "means": lambda: Means(),
}


@pytest.fixture(scope="module")
def rows():
    draw = np.random.default_rng(0)
    y = np.arange(60) % 2
    return draw.normal(size=(60, 3)) + y[:, None], y


@pytest.mark.parametrize("kind", KINDS)
def test_what_comes_back_is_what_was_saved(kind, rows, tmp_path):
    source = EstimatorModel.adopt(KINDS[kind]().fit(*rows))
    model = source.open()
    source.save(model, tmp_path)
    again = source.reopen(tmp_path)
    assert source.examine() == []
    assert source.digest() == source.digest(model) == source.digest(again) == model_digest(tmp_path)
    assert type(again) is type(model)
    np.testing.assert_array_equal(again.predict(rows[0]), model.predict(rows[0]))


@pytest.mark.parametrize("kind", KINDS)
def test_equal_fits_have_one_digest_and_others_another(kind, rows):
    x, y = rows
    one, same = KINDS[kind]().fit(x, y), KINDS[kind]().fit(x, y)
    assert state_digest(one) == state_digest(same)
    assert state_digest(one) != state_digest(KINDS[kind]().fit(x[6:], y[6:]))


def test_the_digest_is_verified_without_numpy(rows, tmp_path):
    source = EstimatorModel.adopt(KINDS["forest"]().fit(*rows))
    source.save(source.open(), tmp_path)
    code = (
        "import sys, pathlib\n"
        "from expunge.core.digest import model_digest\n"
        f"print(model_digest(pathlib.Path({str(tmp_path)!r})))\n"
        "print(sorted({'numpy', 'torch', 'sklearn'} & set(sys.modules)))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.split("\n")[:2] == [source.digest(), "[]"]


def test_gaps_between_fields_are_not_written_out(rows, tmp_path):
    """A tree's nodes have seven unused bytes each, in which stands what the memory held before."""
    import io
    import zipfile

    source = EstimatorModel.adopt(KINDS["forest"]().fit(*rows))
    source.save(source.open(), tmp_path)
    seen = 0
    with zipfile.ZipFile(tmp_path / FILE) as archive:
        for name in archive.namelist():
            if name.endswith(".npy"):
                data = archive.read(name)
                array = np.load(io.BytesIO(data))
                if array.dtype.names and "missing_go_to_left" in array.dtype.names:
                    nodes = np.frombuffer(data[-array.nbytes :], dtype=np.uint8).reshape(len(array), 64)
                    assert not nodes[:, 57:].any()
                    seen += 1
    assert seen == 5


def test_what_a_user_holds_is_never_changed(rows):
    mine = Means().fit(*rows)
    source = EstimatorModel.adopt(mine)
    before = source.digest()
    source.open().forget([0])
    mine.forget([1])
    assert source.digest() == before
    assert source.open().what_remains_.rows == 60


def test_which_things_are_estimators(rows):
    assert registry.adopt("models", LogisticRegression().fit(*rows)).name == "estimator"
    assert not EstimatorModel.accepts(LogisticRegression)
    assert not EstimatorModel.accepts(StandardScaler())


def test_what_a_model_can_do():
    assert EstimatorModel.gradients is False
    assert EstimatorModel.adopt(Means()).forgets is Level.BITWISE
    assert EstimatorModel.adopt(LogisticRegression()).forgets is None


def test_a_file_and_a_folder_open_alike(rows, tmp_path):
    source = EstimatorModel.adopt(LogisticRegression().fit(*rows))
    source.save(source.open(), tmp_path)
    assert EstimatorModel(tmp_path).digest() == EstimatorModel(tmp_path / FILE).digest() == source.digest()
    with pytest.raises(UsageError, match="cannot read"):
        EstimatorModel(tmp_path / "none.skops")


def test_pickles_are_refused(rows, tmp_path):
    (tmp_path / "model.skops").write_bytes(pickle.dumps(LogisticRegression().fit(*rows)))
    with pytest.raises(UnsafeFile, match="a pickle"):
        EstimatorModel(tmp_path / "model.skops")


def test_another_class_is_not_reopened(rows, tmp_path):
    other = EstimatorModel.adopt(SVC().fit(*rows))
    other.save(other.open(), tmp_path)
    with pytest.raises(Tampered, match="another kind of estimator"):
        EstimatorModel.adopt(LogisticRegression().fit(*rows)).reopen(tmp_path)


class Odd(ClassifierMixin, BaseEstimator):
    """Holds what only a pickle could hold."""

    def fit(self, x, y):
        self.classes_, self.rule_ = np.unique(y), (part for part in y)
        return self

    def predict(self, x):
        return self.classes_[:1].repeat(len(x))


def _twice(x):
    return 2 * x


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda x, y: KMeans(2, n_init=1).fit(x), "predicts no label"),
        (lambda x, y: Ridge(), "not fitted"),
        (lambda x, y: LogisticRegression(), "not fitted"),
        (lambda x, y: KNeighborsClassifier().fit(x, np.stack([y, y], axis=1)), "2 outputs"),
        (lambda x, y: KNeighborsClassifier().fit(x, 0 * y), "1 class"),
        (lambda x, y: make_pipeline(FunctionTransformer(_twice), SVC()).fit(x, y), "without a pickle"),
    ],
)
def test_what_cannot_be_worked_on(make, says, rows):
    assert any(says in str(obstacle) for obstacle in EstimatorModel.adopt(make(*rows)).examine())


def test_state_of_no_known_form_is_said(rows):
    source = EstimatorModel.__new__(EstimatorModel)  # a generator cannot even be copied
    source._original = Odd().fit(*rows)
    assert "without a pickle" in str(source.examine()[0])


def test_a_fitted_regressor_can_be_worked_on(rows):
    source = EstimatorModel.adopt(Ridge().fit(*rows))
    assert source.examine() == []
    assert source.regressor
    assert not EstimatorModel.adopt(LogisticRegression().fit(*rows)).regressor
