"""Scikit-learn classifiers and regressors: skops in, skops out; nothing is ever unpickled."""

from __future__ import annotations

import copy
import io
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

from expunge.core import digest as digests
from expunge.core import registry
from expunge.core.errors import ExpungeError, Obstacle, Tampered, UsageError
from expunge.core.estimator import Estimator
from expunge.core.level import Level
from expunge.core.model import ModelSource

FILE = "estimator.skops"


class EstimatorModel(ModelSource):
    """A fitted classifier or regressor with scikit-learn's methods; a live one is copied once.

    Scikit-learn's own, XGBoost's, LightGBM's, or one that can forget.

    Args:
        path: a ``.skops`` file, or a folder that holds ``estimator.skops``.

    Raises:
        UnsafeFile: a pickle, or a file with types that could run code.
        Tampered: the file is damaged.
    """

    gradients: ClassVar[bool] = False

    def __init__(self, path: str | Path) -> None:
        from sklearn.base import BaseEstimator

        self._original = _skops().load_object(_file(Path(path)), BaseEstimator)

    @staticmethod
    def accepts(thing: object) -> bool:
        """Return whether ``thing`` is an estimator."""
        # By its methods: to ask for the class would load scikit-learn for every network.
        return not isinstance(thing, type) and all(
            callable(getattr(thing, name, None)) for name in ("fit", "predict", "get_params")
        )

    @classmethod
    def adopt(cls, thing: Any) -> EstimatorModel:
        """Return a source over a copy of the estimator, taken now."""
        source = cls.__new__(cls)
        source._original = copy.deepcopy(thing)
        return source

    @property
    def forgets(self) -> Level | None:
        """What the original guarantees when it forgets by itself; None where it cannot."""
        return self._original.guarantee if isinstance(self._original, Estimator) else None

    def open(self) -> Any:
        """Return a fresh copy of the original."""
        return copy.deepcopy(self._original)

    def digest(self, model: Any = None) -> str:
        """Return the model digest: equal to that of the folder :meth:`save` fills."""
        return self._digest if model is None else state_digest(model)

    @property
    def regressor(self) -> bool:
        """Whether the original predicts numbers."""
        from sklearn.base import is_regressor

        return bool(is_regressor(self._original))

    @cached_property
    def _digest(self) -> str:
        return state_digest(self._original)

    def save(self, model: Any, folder: Path) -> None:
        """Write ``estimator.skops`` into ``folder``."""
        _skops().save_object(model, folder / FILE)

    def reopen(self, folder: Path) -> Any:
        """Return the estimator in ``folder``; it is of the original's class."""
        file = _file(Path(folder))
        try:
            return _skops().load_object(file, type(self._original))
        except UsageError as error:
            if not file.is_file():
                raise
            raise Tampered(
                "another kind of estimator than the original",
                where=file.name,
                found=error.obstacles[0].found,
                expected=type(self._original).__name__,
                fix="use one that was fitted with the same class",
            ) from error

    def examine(self) -> list[Obstacle]:
        """Return that it is not fitted, predicts no label, has several outputs, or cannot be saved without a pickle."""
        from sklearn.base import is_classifier
        from sklearn.exceptions import NotFittedError
        from sklearn.utils.validation import check_is_fitted

        model, name = self._original, type(self._original).__name__
        if not is_classifier(model) and not self.regressor:
            return [
                Obstacle(
                    what="the model predicts no label",
                    where=name,
                    found="a transformer, a clustering or another estimator that is neither of the two",
                    expected="a classifier or a regressor: these are the tasks there are for tables",
                    fix="forget with the estimator itself (expunge.estimators), which needs no audit",
                )
            ]
        try:
            check_is_fitted(model)
            classes = () if self.regressor else model.classes_
        except (NotFittedError, AttributeError):
            return [
                Obstacle(
                    what="the model is not fitted",
                    where=name,
                    found="no state of a fit",
                    expected="a fitted classifier or regressor",
                    fix="pass it as it was after fit",
                )
            ]
        if not self.regressor and (isinstance(classes, list) or len(classes) < 2):
            return [
                Obstacle(
                    what="the model does not decide between classes",
                    where=name,
                    found=f"{len(classes)} outputs" if isinstance(classes, list) else f"{len(classes)} class",
                    expected="one output, at least 2 classes",
                    fix="pass a classifier of one label",
                )
            ]
        return self._unsavable()

    def _unsavable(self) -> list[Obstacle]:
        try:
            again = _skops().open_object(_skops().dump_object(self._original), FILE, type(self._original))
            if state_digest(again) == self._digest:
                return []
            found = "another state after saving and opening"
        except ExpungeError as error:
            found = error.obstacles[0].found
        return [
            Obstacle(
                what="the model cannot be saved without a pickle",
                where=type(self._original).__name__,
                found=found,
                expected="state that skops knows: of scikit-learn, NumPy, SciPy, LightGBM, XGBoost or expunge",
                fix="leave out functions and classes of your own",
            )
        ]


def state_digest(estimator: Any) -> str:
    """Return the model digest of an estimator, fitted or not: that of a folder with its skops file alone."""
    data = io.BytesIO(_skops().dump_object(estimator))
    return digests.combine([digests.skops_digest(data, name=type(estimator).__name__)])


def _file(path: Path) -> Path:
    return path / FILE if path.is_dir() else path


def _skops() -> ModuleType:
    """Return the module that reads and writes; loaded late, since whoever has networks need not have skops."""
    try:
        from expunge.models import _skops as module
    except ModuleNotFoundError as error:
        raise registry.missing_extra(error) from error
    return module
