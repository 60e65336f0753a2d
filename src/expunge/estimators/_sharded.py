"""An ensemble whose members each saw one part of the rows: forgetting trains anew only those that held them.

Source: SISA, Bourtoule et al., "Machine Unlearning", IEEE S&P 2021 (arXiv 1912.03817).
"""

from __future__ import annotations

import copy
import hashlib
import io
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import MetaEstimatorMixin, clone
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted, validate_data
from skops.io import dumps

from expunge.core.digest import skops_digest
from expunge.core.estimator import Remains
from expunge.core.level import Level
from expunge.engine.shards import Shards, expected_share, whose
from expunge.estimators._base import Forgetting, secret_seed, vacate
from expunge.estimators._packed import pack, unpack


class Sharded(MetaEstimatorMixin, Forgetting):
    """What the sharded classifier and regressor share.

    Args:
        estimator: what each member is; with ``n_slices`` > 1 it must have ``partial_fit``.
        n_shards: members; a deletion trains one anew, about 1/n_shards of the work.
        n_slices: a member is trained on one slice after the other, so that a late slice costs less.
        weights: ``rows`` weighs a member by the rows it was trained on, ``equal`` does not.
        n_jobs: members trained at the same time (joblib).
        random_state: of shards, slices and members; secret where None.
    """

    source = "SISA, Bourtoule et al. 2021, IEEE S&P; assignment by keyed hash of the subject"
    guarantee = Level.BITWISE
    argument = (
        "shard, slice, order and seed of a member are keyed hashes: each member is a function of seed and rows; "
        "assumes members that are deterministic for a seed, and requests that do not depend on released models"
    )

    def __init__(
        self,
        estimator: Any = None,
        *,
        n_shards: int = 10,
        n_slices: int = 1,
        weights: str = "rows",
        n_jobs: int | None = None,
        random_state: Any = None,
    ) -> None:
        self.estimator = estimator
        self.n_shards = n_shards
        self.n_slices = n_slices
        self.weights = weights
        self.n_jobs = n_jobs
        self.random_state = random_state

    # --- what differs ---

    @abstractmethod
    def _default(self) -> Any:
        """Return what a member is where no estimator is given."""

    @abstractmethod
    def _target(self, y: Any) -> np.ndarray:
        """Return the targets as an array, or refuse them."""

    # --- scikit-learn's ---

    def fit(self, X: Any, y: Any = None, sample_ids: Sequence[Any] | None = None, subjects: Any = None) -> Self:
        """Learn from rows ``X`` [n, d] and ``y`` [n] alone.

        Args:
            X: rows.
            y: what belongs to them.
            sample_ids: one id per row, all text or all integers; by default 0, 1, 2, ...
            subjects: whose each row is, None where unknown: all rows of a subject lie in one shard and one slice.
        """
        self._given = subjects
        try:
            return super().fit(X, y, sample_ids)
        finally:
            del self._given

    def partial_fit(
        self, X: Any, y: Any = None, classes: Any = None, sample_ids: Sequence[Any] | None = None, subjects: Any = None
    ) -> Self:
        """Learn from more rows: equal to :meth:`fit` on these and all before; trains the touched members anew."""
        if not hasattr(self, "_book"):
            return self.fit(X, y, sample_ids, subjects)
        self._given = subjects
        try:
            return super().partial_fit(X, y, classes, sample_ids)
        finally:
            del self._given

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = get_tags(self._member()).input_tags.allow_nan
        return tags

    # --- the base's ---

    def __getstate__(self) -> dict[str, Any]:
        """Return the state with labels that are objects as one array."""
        state = super().__getstate__()
        return {**state, "_y": pack(state["_y"])} if "_y" in state else state

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        super().__setstate__({**state, "_y": unpack(state["_y"])} if "_y" in state else state)

    def _read(self, X: Any, y: Any, *, first: bool) -> Mapping[str, Any]:
        if self.weights not in ("rows", "equal"):
            raise ValueError(f"weights must be 'rows' or 'equal', not {self.weights!r}")
        nan = "allow-nan" if get_tags(self._member()).input_tags.allow_nan else True
        X, y = validate_data(self, X, y, reset=first, dtype="numeric", ensure_all_finite=nan, y_numeric=False)
        subjects = self._given if self._given is not None else [None] * len(X)
        if len(subjects) != len(X):
            raise ValueError(f"{len(subjects)} subjects for {len(X)} rows")
        if self.n_slices > 1 and not hasattr(self._member(), "partial_fit"):
            raise ValueError("slices need an estimator with partial_fit: take n_slices=1")
        return {"X": X, "y": self._target(y), "subject": np.array(list(subjects), dtype=object)}

    def _begin(self) -> None:
        self._seed = secret_seed(self.random_state)
        self._X = self._y = None
        self._where = np.zeros((0, 2), dtype=np.int64)
        self._touched: dict[int, int] = {}
        self._states: list[list[Any]] = [[] for _ in range(self.n_shards)]
        self.estimators_: list[Any] = [None] * self.n_shards
        self._digests = [_digest(None)] * self.n_shards

    def _insert(self, rows: Mapping[str, Any], ids: Sequence[str | int]) -> None:
        shards = self._shards
        keys = whose([repr(name) for name in ids], list(rows["subject"]))
        where = np.array([(shards.shard(key), shards.slice(key)) for key in keys]).reshape(-1, 2)
        empty = self._X is None
        self._X = rows["X"] if empty else np.concatenate([self._X, rows["X"]])
        self._y = rows["y"] if empty else np.concatenate([self._y, rows["y"]])
        self._where = np.concatenate([self._where, where])
        self._touch(where)

    def _remove(self, places: np.ndarray) -> None:
        where = self._where[places]
        self._X, self._y, self._where = (vacate(a, places) for a in (self._X, self._y, self._where))
        self._touch(where)

    @property
    def _shards(self) -> Shards:
        return Shards(self._seed, self.n_shards, self.n_slices)

    def _touch(self, where: np.ndarray) -> None:
        for shard, part in where.tolist():
            self._touched[shard] = min(part, self._touched.get(shard, part))

    def _settle(self) -> None:
        """Train anew, from the first touched slice, every member that held a row which came or went."""
        self._learn_targets()
        work = sorted(self._touched.items())
        order = self._book.canonical()
        jobs = [self._job(shard, part, order) for shard, part in work]
        made = Parallel(n_jobs=self.n_jobs)(delayed(_train)(*job) for job in jobs)
        for (shard, _), (member, states) in zip(work, made, strict=True):
            self.estimators_[shard] = member
            self._digests[shard] = _digest(member)  # of what training gave: opened again it is written otherwise
            self._states[shard] = [*self._states[shard][: self.n_slices - len(states)], *states] if states else []
        self._touched = {}
        counts = np.bincount(self._where[:, 0], minlength=self.n_shards).astype(float)
        weight = counts if self.weights == "rows" else (counts > 0).astype(float)
        self.weights_ = weight / max(1.0, weight.sum())

    def _job(self, shard: int, part: int, order: np.ndarray) -> tuple[Any, ...]:
        mine = order[self._where[order, 0] == shard]
        start = self._states[shard][part] if part and len(self._states[shard]) > part else None
        if start is None:
            part = 0
        member = clone(self._member())
        seeds = {n: self._shards.member_seed(shard) for n in member.get_params() if n.split("__")[-1] == "random_state"}
        member.set_params(**seeds)
        slices = self._where[mine, 1]
        parts = [mine[slices <= j] for j in range(self.n_slices)] if self.n_slices > 1 else [mine]
        data = [(self._X[rows], self._y[rows]) for rows in parts]
        return member, start, part, data, self._known()

    def _known(self) -> Any:
        """Return the classes that ``partial_fit`` of a member must be told; None where there are none."""
        return None

    def _learn_targets(self) -> None:
        """Take in which targets there are."""

    def _learnt(self) -> Mapping[str, Any]:
        kept = sorted(zip(self._where.tolist(), self._book.ids, strict=True), key=lambda each: repr(each[1]))
        return {"where": kept, "members": self._digests, "weights": self.weights_}

    # --- what is known of it ---

    @property
    def what_remains_(self) -> Remains:
        """What of its training rows the estimator holds."""
        check_is_fitted(self, "_book")
        return Remains(
            rows=len(self._book),
            holds="the rows themselves, from which members are trained anew",
            tombstones=self._book.tombstones,
            notes=(
                f"{sum(m is not None for m in self.estimators_)} members of {type(self._member()).__name__}, "
                f"{sum(map(len, self._states))} states between slices",
                "the seed of shards and members is key material",
                self.argument,
            ),
        )

    def touches(self, ids: Sequence[Any]) -> dict[int, int]:
        """Return the first slice, by shard, that must be trained anew to forget these rows; changes nothing."""
        found: dict[int, int] = {}
        for shard, part in self._where[self._book.find(ids)].tolist():
            found[shard] = min(part, found.get(shard, part))
        return found

    def cost(self, ids: Sequence[Any]) -> float:
        """Return the work of forgetting these rows as a share of training the whole ensemble; changes nothing."""
        sizes = np.zeros((self.n_shards, self.n_slices))
        np.add.at(sizes, (self._where[:, 0], self._where[:, 1]), 1)
        # A stage trains on its slice and all before; without slices there is one stage, on everything.
        stages = sizes.cumsum(1) if self.n_slices > 1 else sizes
        return float(sum(stages[shard, part:].sum() for shard, part in self.touches(ids).items()) / stages.sum())

    def expected_cost(self, requests: int) -> float:
        """Return the expected share of the work that so many uniform requests at once would cost."""
        return expected_share(self.n_shards, self.n_slices, requests)

    def never_saw(self, ids: Sequence[Any]) -> list[Any]:
        """Return the members that never saw any of these rows: references that cost nothing."""
        touched = self.touches(ids)
        return [m for shard, m in enumerate(self.estimators_) if m is not None and shard not in touched]

    @classmethod
    def trial(cls, seed: int) -> tuple[Any, Any, Any]:
        """Return an ensemble of three members, and 60 rows."""
        made, X, y = super().trial(seed)
        return made.set_params(n_shards=3, random_state=seed), X, y

    # --- helpers ---

    def _member(self) -> Any:
        return self._default() if self.estimator is None else self.estimator

    def _voting(self) -> list[tuple[Any, float]]:
        self._check_ready()
        return [(m, w) for m, w in zip(self.estimators_, self.weights_, strict=True) if m is not None]

    def _checked(self, X: Any) -> np.ndarray:
        self._check_ready()
        nan = "allow-nan" if get_tags(self._member()).input_tags.allow_nan else True
        return validate_data(self, X, reset=False, dtype="numeric", ensure_all_finite=nan)


def _train(member: Any, start: Any, part: int, data: list[Any], classes: Any) -> tuple[Any, list[Any]]:
    """Return a member trained on its slices from ``part`` on, and the states before each of them."""
    if not len(data[-1][0]):
        return None, []
    if len(data) == 1:
        return member.fit(*data[0]), []
    made, states = (member if start is None else copy.deepcopy(start)), []
    for index, (X, y) in enumerate(data):
        if index < part:
            continue
        states.append(copy.deepcopy(made))
        if len(X):
            made.partial_fit(X, y, **({} if classes is None else {"classes": classes}))
    return made, states


def _digest(member: Any) -> str:
    if member is None:
        return hashlib.sha256(b"nobody").hexdigest()
    return skops_digest(io.BytesIO(dumps(member)), name="member")
