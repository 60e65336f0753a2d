"""Means of the target per category, from integer sums, in folds that rows fall into by a keyed hash of their ids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.preprocessing import TargetEncoder
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import assert_all_finite, column_or_1d

from expunge.core.level import Level
from expunge.estimators._base import secret_seed, vacate
from expunge.estimators._clustering import totals
from expunge.estimators._columns import Table, read_columns
from expunge.estimators._keyed import row_keys, uniforms
from expunge.estimators._moments import on_grid
from expunge.estimators._packed import pack, unpack
from expunge.estimators._preparing import Preparing

_TYPES = ("binary", "multiclass", "continuous")
_LIMB = 17  # bits: products of two sum to below 2^63 over 2^24 rows
_GRID = 3 * _LIMB - 3  # bits of a target value; one more is its sign's


class ForgettingTargetEncoder(Preparing, TargetEncoder):
    """Scikit-learn's ``TargetEncoder``, with ``forget(ids)``: a category becomes the mean target of its rows, shrunk.

    ``transform`` is scikit-learn's. What a later step is to be trained on comes from ``fit_transform``: each row is
    encoded from the rows of the other folds, so that its own target is not in it. The fold of a row is a keyed hash
    of its id, not its place, so that leaving a row out moves no other; :meth:`cross_fitted` gives the same after
    requests.

    Sums, and sums of squares, of the targets are integers on a grid of 2^-48 of the largest magnitude that is held.
    They are summed anew after each change, O(n d). Whether targets are two classes, several or numbers is found
    anew too, where ``target_type`` is ``"auto"``.

    Args:
        target_type: ``"auto"``, ``"binary"``, ``"multiclass"`` or ``"continuous"``.
        smooth: ``"auto"`` (empirical Bayes), or how many rows of the overall mean each category is mixed with.
        cv: number of folds, at least 2.
        random_state: an integer makes the same folds again; None draws a secret seed, which is kept and saved.
    """

    title = "Target encoding that forgets"
    source = "Micci-Barreca, SIGKDD Explorations 2001; summation form (Cao & Yang 2015); scikit-learn's TargetEncoder"
    guarantee = Level.BITWISE
    argument = "encodings are a function of integer sums over the rows held, in folds that are keyed by ids"
    _holds = "the categories and targets of the rows"

    def __init__(
        self, *, target_type: str = "auto", smooth: str | float = "auto", cv: int = 5, random_state: Any = None
    ) -> None:
        self.target_type = target_type
        self.smooth = smooth
        self.cv = cv
        self.random_state = random_state

    categories = "auto"  # what scikit-learn's transform reads: categories are those of the rows, none are rare
    _infrequent_enabled = False

    def _read(self, X: Any, y: Any, *, first: bool) -> Mapping[str, Any]:
        if self.target_type != "auto" and self.target_type not in _TYPES:
            raise ValueError(f"target_type must be 'auto' or one of {', '.join(_TYPES)}; found {self.target_type!r}")
        if not isinstance(self.cv, (int, np.integer)) or self.cv < 2:
            raise ValueError(f"cv must be an integer of at least 2; found {self.cv!r}")
        if self.smooth != "auto" and not (isinstance(self.smooth, (int, float)) and 0 <= self.smooth < np.inf):
            raise ValueError(f"smooth must be 'auto' or a number of at least 0; found {self.smooth!r}")
        if y is None:
            raise ValueError(
                "This ForgettingTargetEncoder estimator requires y to be passed, but the target y is None."
            )
        columns = read_columns(self, X, first=first)
        y = column_or_1d(y, warn=True)
        if len(y) != len(columns[0]):
            raise ValueError(f"Found input variables with inconsistent numbers of samples: {[len(columns[0]), len(y)]}")
        if y.dtype.kind == "f":
            assert_all_finite(y, input_name="y")
        if first or not len(self._book):
            self._type(y)
        elif (y.dtype.kind in "biuf") != (self._y.dtype.kind in "biuf"):
            raise ValueError(f"y has values of type {self._y.dtype} before and {y.dtype} now: give one type of values")
        return {"y": y, **{str(j): values for j, values in enumerate(columns)}}

    def _type(self, y: np.ndarray) -> str:
        found = type_of_target(y, input_name="y") if self.target_type == "auto" else self.target_type
        if found not in _TYPES:
            raise ValueError(
                f"Unknown label type: Target type was inferred to be {found!r}. Only {_TYPES} are supported."
            )
        return str(found)

    def _begin(self) -> None:
        self._seed = secret_seed(self.random_state)
        self._table, self._keys, self._y = Table(), np.empty(0, dtype=np.uint64), np.empty(0)

    def _insert(self, rows: Mapping[str, Any], ids: Sequence[str | int]) -> None:
        y, *columns = rows.values()
        y = np.concatenate([self._y, y]) if len(self._y) else y
        self._type(y)
        self._table.add(columns)
        self._keys, self._y = np.concatenate([self._keys, row_keys(self._seed, ids)]), y

    def _remove(self, places: np.ndarray) -> None:
        self._table.remove(places)
        self._keys, self._y = vacate(self._keys, places), vacate(self._y, places)

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        for name in ("_sums", "_folds"):  # derived, and large
            state.pop(name, None)
        return {**state, "_y": pack(state["_y"])} if "_y" in state else state

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        super().__setstate__({**state, "_y": unpack(state["_y"])} if "_y" in state else state)
        if "_y" in state:
            self._settle()

    # --- what is learnt ---

    def _settle(self) -> None:
        if not len(self._y):
            self._sums = None
            return
        self.target_type_ = self._type(self._y)
        self.__dict__.pop("classes_", None)
        if self.target_type_ == "continuous":
            targets = [self._y.astype(np.float64)]
        else:
            classes, codes = np.unique(self._y, return_inverse=True)
            self.classes_ = np.array(classes.tolist()) if classes.dtype.kind == "U" else classes
            each = range(len(classes)) if self.target_type_ == "multiclass" else [1]
            targets = [(codes == code).astype(np.float64) for code in each]
        self.categories_ = [column.categories() for column in self._table.columns]
        self._folds = (uniforms(self._keys, self._seed, "fold") * self.cv).astype(np.int64)
        self._sums = [Sums(target, self._table.ranks(), self._folds, self.cv) for target in targets]
        self.encodings_, mean = self._encoded(None)
        self.target_mean_ = mean if self.target_type_ == "multiclass" else mean[0]

    def _encoded(self, without: int | None) -> tuple[list[np.ndarray], np.ndarray]:
        """Return the encodings of each column (and class), as scikit-learn orders them, and the mean targets."""
        made = [sums.encodings(self.smooth, without) for sums in self._sums]
        columns = len(self._table.columns)
        return [encodings[j] for j in range(columns) for encodings, _ in made], np.array([mean for _, mean in made])

    def cross_fitted(self, sample_ids: Iterable[Any] | None = None) -> np.ndarray:
        """Return rows held, each encoded from the rows of the other folds ([n, columns or columns · classes]).

        Args:
            sample_ids: which rows, in which order; by default all, in the order of ``sample_ids_``.
        """
        self._check_ready()
        ranks = self._table.ranks()
        found = np.empty((len(ranks), ranks.shape[1] * len(self._sums)))
        for fold in np.unique(self._folds).tolist():
            rows = self._folds == fold
            encodings, _ = self._encoded(None if rows.all() else fold)  # with one fold alone there is no other
            for place, encoding in enumerate(encodings):
                found[rows, place] = encoding[ranks[rows, place // len(self._sums)]]
        if sample_ids is None:
            return found
        return found[[self._book.place[name] for name in sample_ids]]

    def transform(self, X: Any) -> Any:
        """Return rows ``X`` [m, d] encoded from all rows held; unseen categories become the mean of the targets."""
        self._check_ready()
        return super().transform(X)

    def fit_transform(self, X: Any, y: Any = None, sample_ids: Any = None) -> Any:
        """Learn from rows, and return them, each encoded from the rows of the other folds."""
        return self.fit(X, y, sample_ids).cross_fitted()

    def _handed_on(self, X: Any, ids: Sequence[Any]) -> Any:
        """Return training rows for the next step of a pipeline, in the container that ``transform`` returns."""
        like, values = self.transform(X), self.cross_fitted(ids)
        return type(like)(values, columns=like.columns) if hasattr(like, "iloc") else _like(like, values)

    def get_metadata_routing(self) -> Any:
        """Return which metadata each method takes: the ids; there is no splitter."""
        return self._get_metadata_request()

    def _acts(self) -> Mapping[str, Any]:
        return self._learnt()  # what the next step was trained on changes with every fold

    def _learnt(self) -> Mapping[str, Any]:
        if self._sums is None:
            return {}
        return {
            "categories": [column.categories().tolist() for column in self._table.columns],
            "classes": self.classes_.tolist() if hasattr(self, "classes_") else None,
            "seed": self._seed,
            "sums": [sums.learnt() for sums in self._sums],
        }

    @classmethod
    def trial(cls, seed: int) -> tuple[Any, Any, Any]:
        draw = np.random.default_rng(seed)
        X = np.empty((60, 2), dtype=object)
        X[:, 0], X[:, 1] = draw.choice(["oak", "ash", "elm"], 60), draw.integers(4, size=60).astype(object)
        return cls(random_state=seed), X, np.arange(60) % 3


class Sums:
    """Per fold and category: how many rows, the sum of their targets and of the squares, as Python's integers."""

    def __init__(self, y: np.ndarray, ranks: np.ndarray, folds: np.ndarray, cv: int) -> None:
        _, exponent = np.frexp(np.abs(y).max())
        self.bits = int(_GRID - exponent)
        whole = on_grid(y, self.bits)
        mask = (1 << _LIMB) - 1
        limbs = [whole & mask, (whole >> _LIMB) & mask, whole >> (2 * _LIMB)]
        pairs = [(i, j) for i in range(3) for j in range(i, 3)]
        values = np.stack([np.ones_like(whole), *limbs, *(limbs[i] * limbs[j] for i, j in pairs)], axis=1)
        self.by_column = []
        for column in ranks.T:
            categories = int(column.max()) + 1
            parts = totals(column * cv + folds, values, categories * cv).astype(object).reshape(categories, cv, -1)
            once = sum(parts[..., 1 + i] << (i * _LIMB) for i in range(3))
            twice = sum((parts[..., 4 + p] << ((i + j) * _LIMB)) * (1 + (i != j)) for p, (i, j) in enumerate(pairs))
            self.by_column.append(np.stack([parts[..., 0], once, twice]))

    def encodings(self, smooth: str | float, without: int | None) -> tuple[list[np.ndarray], float]:
        """Return one encoding per category and column, and the mean of the targets; ``without`` leaves out a fold."""
        used = [np.delete(part, [] if without is None else without, axis=2).sum(axis=2) for part in self.by_column]
        n, s, ss = used[0].sum(axis=1)
        mean, variance = float(np.ldexp(s / n, -self.bits)), _variance(n, s, ss, self.bits)
        return [np.array([self._one(*c, smooth, mean, variance) for c in part.T]) for part in used], mean

    def _one(self, n: int, s: int, ss: int, smooth: str | float, mean: float, variance: float) -> float:
        if not n:
            return mean
        own = float(np.ldexp(s / n, -self.bits))
        if smooth != "auto":
            return (own * n + float(smooth) * mean) / (n + float(smooth))
        within = _variance(n, s, ss, self.bits)
        total = variance * n + within
        share = variance * n / total if total > 0 else 0.0
        return share * own + (1 - share) * mean

    def learnt(self) -> Mapping[str, Any]:
        """Return the grid and all sums, for fingerprints."""
        return {"bits": self.bits, "sums": [part.tolist() for part in self.by_column]}


def _variance(n: int, s: int, ss: int, bits: int) -> float:
    return float(np.ldexp((n * ss - s * s) / (n * n), -2 * bits))


def _like(table: Any, values: np.ndarray) -> Any:
    """Return values in a frame of polars where ``table`` is one, else as they are."""
    return type(table)(values, schema=list(table.columns)) if hasattr(table, "columns") else values
