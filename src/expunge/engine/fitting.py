"""The trainer that an estimator brings along: itself, with its settings, fitted anew on the rows of a view."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from threadpoolctl import threadpool_limits

from expunge.core.digest import keyed, keyed_int
from expunge.core.errors import Refused
from expunge.core.estimator import Estimator
from expunge.core.level import Level
from expunge.core.records import Records
from expunge.data._rows import given, names_of
from expunge.models.estimator import state_digest
from expunge.tasks._estimators import log_probabilities, predictions

SAMPLE = 256
"""Rows that are fitted to see whether seeds make a difference."""
_RANDOM = "random_state"


class Refit:
    """A trainer: a clone of a fitted estimator, its seeds set, fitted on table records.

    Every setting called ``random_state``, at any depth, gets a number that follows from ``seed``; all others are
    those of the estimator. Nothing that it learnt is taken along.

    Args:
        estimator: fitted; its settings, class and whether it was given column names are taken, nothing else.

    Raises:
        Refused: a part of it is fitted beforehand (``FrozenEstimator``, ``cv="prefit"``): cloned or not, it carries
            what it learnt.
    """

    passes = 1

    def __init__(self, estimator: Any) -> None:
        _refuse_fitted_parts(estimator)
        self._settings = clone(estimator)
        self._names = names_of(estimator)
        self._numbered = is_numbered(estimator)
        self._kind = _kind_of(estimator)
        self._differ: dict[tuple[str, ...], bool] = {}

    @property
    def repeatable(self) -> bool:
        """Whether one seed gives one model: not where an estimator adds noise that nobody may know, and be it twice."""
        return not (isinstance(self._settings, Estimator) and self._settings.guarantee is Level.CERTIFIED)

    def describe(self) -> str:
        """Return a text that is equal for equal trainers."""
        kind, plain = type(self._settings), _seeded(clone(self._settings), None)
        return f"refit of {kind.__module__}.{kind.__qualname__}, settings {state_digest(plain)[:16]}"

    def __call__(self, records: Records, *, seed: int) -> Any:
        """Return a new estimator, fitted on table records in their order."""
        return self.fit(_seeded(clone(self._settings), seed), records)

    def fit(self, estimator: Any, records: Records) -> Any:
        """Return ``estimator`` fitted on table records, on one thread; one that can forget is told their ids."""
        rows, codes = records.read(range(len(records)))
        labels = np.asarray(rows.classes, dtype=self._kind)[codes.numpy()] if rows.classes else codes.numpy()
        more = {"sample_ids": names(records.ids, numbered=self._numbered)} if isinstance(estimator, Estimator) else {}
        with threadpool_limits(1):  # another number of threads adds in another order, and gives other bits
            return estimator.fit(given(rows.frame, self._names), labels, **more)

    def seeds_matter(self, records: Records) -> bool:
        """Return whether two seeds answer some records differently: two fits on SAMPLE of them at the most.

        They are asked about records that they were not fitted on, too: trees that are grown to the end answer those
        of their own alike. Without a setting for a seed there is nothing to try.
        """
        if not self.repeatable:
            return True
        if not _random_settings(self._settings):
            return False
        ranked = sorted(records.ids, key=lambda name: keyed(b"expunge refit sample", name))
        some = records.select(_sample(records, ranked))
        if some.ids not in self._differ:
            asked = records.select(ranked[: 2 * SAMPLE])
            rows = asked.read(range(len(asked)))[0]
            ask = log_probabilities if rows.classes else predictions
            one, other = (ask(self(some, seed=seed), rows) for seed in (1, 2))
            self._differ[some.ids] = not torch.equal(one, other)
        return self._differ[some.ids]


def _kind_of(estimator: Any) -> Any:
    """Return the dtype of the labels that an estimator was fitted with; None for text, whose width follows from it."""
    kind = getattr(getattr(estimator, "classes_", None), "dtype", None)
    return None if kind is None or kind.kind in "US" else kind


def is_numbered(estimator: Any) -> bool:
    """Return whether a fitted estimator that can forget knows its rows by whole numbers."""
    return any(isinstance(name, int) for name in getattr(estimator, "sample_ids_", ())[:1])


def names(ids: Sequence[str], *, numbered: bool) -> list[str] | list[int]:
    """Return ids of records as an estimator knows them; text stays text where one of them is no whole number."""
    return [int(name) for name in ids] if numbered and all(map(str.isdecimal, ids)) else list(ids)


def _sample(records: Records, ranked: Sequence[str]) -> Sequence[str]:
    """Return ids from the front of ``ranked``, every class among them, in the order of the records; not all."""
    rows, labels = records.read(range(len(records)))
    codes = labels.tolist() if rows.classes else [0] * len(records)
    size = min(SAMPLE, 3 * len(records) // 4)
    first: dict[int, list[str]] = {}
    for name in ranked:
        first.setdefault(codes[records.position[name]], []).append(name)
    chosen = {name for names in first.values() for name in names[: max(5, size // len(first) // 2)]}
    chosen |= set(ranked[: max(0, size - len(chosen))])
    return [name for name in records.ids if name in chosen]


def _random_settings(estimator: Any) -> list[str]:
    return sorted(name for name in estimator.get_params(deep=True) if name.rpartition("__")[2] == _RANDOM)


def _seeded(estimator: Any, seed: int | None) -> Any:
    names = _random_settings(estimator)
    values = {n: None if seed is None else keyed_int(b"expunge refit", seed, n) % 2**31 for n in names}
    return estimator.set_params(**values)


def _refuse_fitted_parts(estimator: Any) -> None:
    settings = estimator.get_params(deep=True)
    frozen = [name for name, value in settings.items() if type(value).__name__ == "FrozenEstimator"]
    frozen += [name for name, value in settings.items() if isinstance(value, str) and value == "prefit"]
    frozen += [name for name, value in settings.items() if name.rpartition("__")[2] == "prefit" and value is True]
    if frozen:
        raise Refused(
            "a part of the estimator is fitted beforehand",
            where=f"{type(estimator).__name__}, {frozen[0]}",
            found=f"{len(frozen)} settings",
            expected="parts that are fitted with the whole: a clone keeps what a fitted part has learnt",
            fix="fit the parts with it, or give a trainer of your own that fits them anew",
        )
