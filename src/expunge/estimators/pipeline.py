"""A pipeline that forgets through all its steps: each forgets, or is fitted anew where what it sees has changed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils import Bunch, get_tags
from sklearn.utils.metaestimators import available_if

from expunge.core.errors import Refused
from expunge.core.estimator import Remains
from expunge.core.level import Level
from expunge.estimators._base import Forgetting, vacate
from expunge.estimators._packed import pack, unpack
from expunge.estimators._preparing import alike
from expunge.estimators._rows import Rows
from expunge.estimators._written import written

Steps = list[tuple[str, Any]]


class _Weakest:
    """The level of a pipeline: that of its weakest step; of the class, what a pipeline can reach."""

    def __get__(self, made: ForgettingPipeline | None, cls: type) -> Level:
        return Level.BITWISE if made is None else min((_level(step) for _, step in made.steps), default=Level.BITWISE)


def _handed_over(name: str) -> Any:
    """Return a method that scikit-learn's pipeline of the fitted steps answers."""

    def answer(self: ForgettingPipeline, X: Any, **params: Any) -> Any:
        return getattr(self._fitted_whole(), name)(X, **params)

    answer.__name__ = name
    answer.__doc__ = f"Return what ``{name}`` of the last step says of rows ``X`` [n, ...]."
    return available_if(lambda self: hasattr(Pipeline(self.steps), name))(answer)


class ForgettingPipeline(Forgetting, Pipeline):
    """Scikit-learn's ``Pipeline`` over steps that forget, with ``forget(ids)`` and ``partial_fit``.

    The rows are held as they were given. ``forget`` goes through the steps in order: each forgets the rows; as long
    as what it does to the rows that remain has not changed, the next one only forgets too; from the first one that
    has changed on, the steps are fitted anew on the rows as they come out now. So the result is always what a
    fresh fit of the whole on the remaining rows gives: no step goes on with rows scaled by a mean that is gone.

    Steps that cannot forget (scikit-learn's own) are fitted anew on the rows that remain, and named in
    ``what_remains_.notes``. Every fit sees the rows in the order of their ids. ``guarantee`` of a pipeline is the
    level of its weakest step; a step with ``random_state=None`` reaches ``exact`` at most, for it is fitted anew with
    other random numbers. A request that leaves rows on which a step cannot be fitted (one class, too few rows) is
    refused, and nothing changes; all rows together can always be forgotten.

    Args:
        steps: pairs of a name and a step, the last one a predictor or a transformer; ``"passthrough"`` is one too.
    """

    title = "A pipeline that forgets through all its steps"
    source = "reference section 1.2: the guarantee of a pipeline is the weakest of its parts; scikit-learn's Pipeline"
    guarantee = _Weakest()  # type: ignore[assignment]
    argument = (
        "every step either forgets or is fitted anew on the remaining rows as they come out of the steps before it; "
        "the level is that of the weakest step, bitwise where all are and seeds are fixed"
    )
    memory = None
    transform_input = None
    verbose = False

    def __init__(self, steps: Steps) -> None:
        self.steps = steps

    # --- rows ---

    def _read(self, X: Any, y: Any, *, first: bool) -> Mapping[str, Any]:
        self._validate_steps()
        rows = Rows(X)
        y = None if y is None else np.asarray(y)
        if y is not None and len(y) != len(rows):
            raise ValueError(f"Found input variables with inconsistent numbers of samples: {[len(rows), len(y)]}")
        if not first and len(self._book) and (y is None) != (self._y is None):
            raise ValueError("y is given for some rows and not for others")
        return {"X": rows, "y": y}

    def _begin(self) -> None:
        self._X: Rows | None = None
        self._y: np.ndarray | None = None
        self.steps_: Steps = []

    def _insert(self, rows: Mapping[str, Any], ids: Sequence[str | int]) -> None:
        X, y = rows["X"], rows["y"]
        if self._X is None or not len(self._X):
            steps = self._through(X, y, list(ids), None)
        else:

            def put_in(step: Any, new: Any) -> Any:
                step.partial_fit(new, rows["y"], sample_ids=ids)
                return step.transform(new) if hasattr(step, "transform") else None

            more = X.X
            X = self._X.join(X)
            y = None if y is None else np.concatenate([self._y, y])  # type: ignore[list-item]
            steps = self._through(X, y, [*self._book.ids, *ids], put_in, more)
        self.steps_, self._X, self._y = steps, X, y

    def _remove(self, places: np.ndarray) -> None:
        assert self._X is not None
        gone = [self._book.ids[place] for place in places]
        left = vacate(np.arange(len(self._X)), places)
        X, y = self._X.take(left), None if self._y is None else self._y[left]

        def take_out(step: Any, _: Any) -> None:
            step.forget(gone)

        if len(left):
            steps = self._through(X, y, [self._book.ids[place] for place in left], take_out)
        else:
            steps = []
        self.steps_, self._X, self._y = steps, X, y

    # --- steps ---

    def _through(
        self, X: Rows, y: Any, ids: list[Any], change: Callable[[Any, Any], Any] | None, more: Any = None
    ) -> Steps:
        """Return the steps for these rows: changed while that suffices, fitted anew from there on.

        Args:
            X: all rows.
            y: what belongs to them.
            ids: their ids.
            change: changes a copy of a step that forgets, and returns the new rows as they come out of it; None to
                fit all steps anew.
            more: the new rows, where there are some.
        """
        order = np.array(sorted(range(len(ids)), key=ids.__getitem__), dtype=np.int64)
        names = [ids[place] for place in order]
        y = None if y is None else y[order]
        done: Steps = []
        anew = change is None
        rows: Any = None  # as they come out of the steps that are done; needed only once a step is fitted anew
        current = self.steps if anew else self.steps_
        for place, (name, step) in enumerate(current):
            last = place == len(current) - 1
            if step in (None, "passthrough"):
                done.append((name, step))
                continue
            if not anew and isinstance(step, Forgetting):
                made = copy.deepcopy(step)
                before = copy.deepcopy(step._acts()) if hasattr(step, "_acts") else None
                assert change is not None
                more = change(made, more)
                anew = before is None or not alike(before, made._acts())
            elif not anew and not get_tags(step).requires_fit:
                made, more = step, step.transform(more) if more is not None and hasattr(step, "transform") else more
            else:
                if rows is None:
                    rows = _handed_on(done, X.take(order).X, names)
                made, rows = self._fitted_anew(name, step, rows, y, names, last=last, changing=change is not None)
                anew = True
            done.append((name, made))
            if anew and rows is None and not last:
                rows = _handed_on(done, X.take(order).X, names)
        return done

    def _fitted_anew(
        self, name: str, step: Any, rows: Any, y: Any, ids: list[Any], *, last: bool, changing: bool
    ) -> tuple[Any, Any]:
        """Return the step fitted on these rows, and the rows as they come out of it."""
        made = clone(step)
        try:
            if isinstance(step, Forgetting):
                made.fit(rows, y, sample_ids=ids)
                return made, None if last else _handed_on([(name, made)], rows, ids)
            if last or not hasattr(made, "fit_transform"):
                made.fit(rows, y)
                return made, None if last else made.transform(rows)
            return made, made.fit_transform(rows, y)
        except ValueError as error:
            if not changing:
                raise
            raise Refused(
                "a step cannot be fitted on the rows that would remain",
                where=f"step {name!r}",
                found=f"{type(error).__name__}: {str(error).splitlines()[0]}",
                expected="rows that every step can be fitted on",
                fix="forget all rows, or delete the model; nothing was forgotten",
            ) from error

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        return {**state, "_y": pack(state["_y"])} if "_y" in state else state

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        super().__setstate__({**state, "_y": unpack(state["_y"])} if "_y" in state else state)

    # --- scikit-learn's ---

    @property
    def _now(self) -> Steps:
        return getattr(self, "steps_", None) or self.steps

    def _fitted_whole(self) -> Pipeline:
        self._check_ready()
        return Pipeline(self.steps_)

    @available_if(Pipeline._can_fit_transform)
    def fit_transform(self, X: Any, y: Any = None, sample_ids: Any = None) -> Any:
        """Learn from rows, and return them as they come out of the last step."""
        self.fit(X, y, sample_ids)
        assert self._X is not None
        return _handed_on(self.steps_, self._X.X, self._book.ids)

    @available_if(lambda self: hasattr(self._final_estimator, "predict"))
    def fit_predict(self, X: Any, y: Any = None, sample_ids: Any = None) -> Any:
        """Learn from rows, and return what is predicted of them."""
        return self.fit(X, y, sample_ids).predict(X)

    predict = _handed_over("predict")
    predict_proba = _handed_over("predict_proba")
    predict_log_proba = _handed_over("predict_log_proba")
    decision_function = _handed_over("decision_function")
    score_samples = _handed_over("score_samples")
    transform = _handed_over("transform")
    inverse_transform = _handed_over("inverse_transform")

    @available_if(lambda self: hasattr(self._final_estimator, "score"))
    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Return the score that the last step gives itself on rows ``X`` [n, ...] with ``y`` [n]."""
        return float(self._fitted_whole().score(X, y, sample_weight))

    def get_feature_names_out(self, input_features: Any = None) -> Any:
        """Return the names of the columns that come out of the last step."""
        return self._fitted_whole().get_feature_names_out(input_features)

    def set_output(self, *, transform: str | None = None) -> Any:
        """Let the steps return frames: ``"default"``, ``"pandas"`` or ``"polars"``."""
        super().set_output(transform=transform)
        if getattr(self, "steps_", None):
            Pipeline(self.steps_).set_output(transform=transform)
        return self

    @property
    def named_steps(self) -> Bunch:
        """The steps by name: fitted ones where there are, else those that were given."""
        return Bunch(**dict(self._now))

    @property
    def classes_(self) -> Any:
        """The classes that the last step knows."""
        return self._now[-1][1].classes_

    @property
    def n_features_in_(self) -> int:
        """Number of columns that the first step was fitted on."""
        return int(self._now[0][1].n_features_in_)

    @property
    def feature_names_in_(self) -> Any:
        """Names of the columns that the first step was fitted on."""
        return self._now[0][1].feature_names_in_

    def __getitem__(self, index: Any) -> Any:
        """Return one step, or scikit-learn's pipeline of some of them, which only transforms or predicts."""
        return Pipeline(self._now)[index]

    def get_metadata_routing(self) -> Any:
        """Return that the ids are this pipeline's own, and the rest as scikit-learn does."""
        return super().get_metadata_routing().add_self_request(self)

    # --- what is promised beyond ---

    def _learnt(self) -> Mapping[str, Any]:
        if not len(self._book):
            return {}
        return {
            f"{place}": step.fingerprint() if isinstance(step, Forgetting) else written(step)
            for place, (_, step) in enumerate(self.steps_)
        }

    @property
    def what_remains_(self) -> Remains:
        parts = [(name, step.what_remains_) for name, step in self.steps_ if isinstance(step, Forgetting)]
        plain = [
            f"step {name!r} ({type(step).__name__}) cannot forget: it is fitted anew on the rows that remain"
            for name, step in self.steps
            if step not in (None, "passthrough") and not isinstance(step, Forgetting) and get_tags(step).requires_fit
        ]
        return Remains(
            rows=len(self._book),
            holds="; ".join(["the rows as they were given", *(f"step {name!r}: {part.holds}" for name, part in parts)]),
            tombstones=self._book.tombstones,
            pending=sum(part.pending for _, part in parts),
            notes=(*plain, *(f"step {name!r}: {note}" for name, part in parts for note in part.notes)),
        )

    @classmethod
    def trial(cls, seed: int) -> tuple[Any, Any, Any]:
        from expunge.estimators.gaussian_nb import ForgettingGaussianNB
        from expunge.estimators.standard_scaler import ForgettingStandardScaler

        _, X, y = ForgettingGaussianNB.trial(seed)
        return cls([("scale", ForgettingStandardScaler()), ("classify", ForgettingGaussianNB())]), X, y


def _handed_on(steps: Steps, rows: Any, ids: Sequence[Any]) -> Any:
    """Return training rows as they come out of these steps; a step may give them otherwise than it gives new rows."""
    for _, step in steps:
        if step not in (None, "passthrough"):
            rows = step._handed_on(rows, ids) if hasattr(step, "_handed_on") else step.transform(rows)
    return rows


def _level(step: Any) -> Level:
    if step in (None, "passthrough"):
        return Level.BITWISE
    reached: Level = step.guarantee if isinstance(step, Forgetting) else Level.BITWISE
    unseeded = any(name.endswith("random_state") and value is None for name, value in step.get_params().items())
    return min(reached, Level.EXACT) if unseeded else reached
