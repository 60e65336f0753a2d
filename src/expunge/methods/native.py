"""A model that can forget by itself: those of ``expunge.estimators``, and plug-ins that keep their contract."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from expunge.core.config import setting
from expunge.core.errors import Obstacle, RunFailed
from expunge.core.level import Level
from expunge.core.method import Cost, Method
from expunge.core.outcome import Outcome
from expunge.core.problem import Problem
from expunge.engine.context import Context
from expunge.engine.fitting import Refit, is_numbered, names
from expunge.engine.holding import other_rows

_NETWORKS = "it works on estimators alone, and this case is of networks; estimators have cases of their own"


class Native(Method):
    """The original, told to forget: what its sums, trees or neighbours hold of the records is taken out.

    The guarantee is that of the estimator: ``bitwise``, ``exact`` or ``certified``. It must hold the records of the
    problem under their ids, all of them and no others.
    """

    title = "Let the model forget"
    source = "the estimator's own, named in its evidence (expunge.core.estimator)"
    guarantee = Level.CERTIFIED
    exempt: ClassVar[Mapping[str, str]] = dict.fromkeys(
        (
            "callers_model_is_untouched",
            "datasets_are_untouched",
            "models_share_no_memory",
            "frozen_parts_stay",
            "has_an_effect",
            "reports_what_changed",
            "modes_are_right",
            "gradients_are_used_or_read_in_peace",
            "same_seed_same_bits",
            "another_seed_another_model",
            "random_draws_are_new",
            "no_record_is_skipped",
            "forgotten_records_are_read_only_where_declared",
            "judging_records_decide_nothing",
            "names_of_modules_decide_nothing",
            "work_is_counted",
            "interrupted_it_ends_the_same",
        ),
        _NETWORKS,
    )

    @dataclass(frozen=True, kw_only=True)
    class Config(Method.Config):
        """Settings of the method."""

        verify_by_refit: bool = setting(
            False, "fit anew on the remaining rows with the same settings and seed, and compare fingerprints (bitwise)"
        )

    def guarantee_on(self, problem: Problem) -> Level:
        """Return the guarantee of the estimator."""
        return problem.source.forgets or self.guarantee

    def obstacles(self, problem: Problem) -> list[Obstacle]:
        """Return that the model cannot forget, or holds other rows than the problem."""
        found = super().obstacles(problem)
        if problem.source.forgets is None:
            what = "the model cannot forget by itself"
            return [*found, Obstacle(what=what, found="no forget(ids)", fix="fit one of expunge.estimators next time")]
        strange = other_rows(problem)
        found += [strange] if strange is not None else []
        if self.config.verify_by_refit:
            found += _not_repeatable(problem.source.open(), self.guarantee_on(problem))
        return found

    def cost(self, problem: Problem) -> Cost:
        """Return one visit of every forgotten record, and one fit where it is verified by one."""
        refit = len(problem.retain_view) if self.config.verify_by_refit else 0
        return Cost(trained=len(problem.forget_view) + refit)

    def unlearn(self, problem: Problem, run: Context) -> Outcome:
        """Return a copy of the original that forgot, with nothing left to do.

        Raises:
            RunFailed: parts of its state still show forgotten rows, or it is not what a fresh fit gives.
        """
        model = problem.source.open()
        if not len(problem.forget_view):
            return Outcome(model=model, stopped="nothing to forget")
        numbered = is_numbered(model)
        before = dict(_numbers(model))
        learnt = model.fingerprint()
        model.forget(names(problem.forget_ids, numbered=numbered))
        if callable(getattr(model, "drain", None)):
            model.drain()
        _nothing_left(model, problem)
        fingerprint = model.fingerprint()
        evidence = [*_evidence(model), f"fingerprint of what the model has learnt: {fingerprint}"]
        if self.config.verify_by_refit:
            again = Refit(model).fit(clone(model), problem.retain_view).fingerprint()
            if again != fingerprint:
                raise _differs(model)
            evidence.append("a fresh fit on the remaining rows, with the same settings and seed, has this fingerprint")
        share = _changed(before, dict(_numbers(model)))
        return Outcome(
            model=model,
            cost=self.cost(problem),
            touched=share,
            stopped="at once",
            warnings=("the rows left no trace in what the model has learnt",) if fingerprint == learnt else (),
            evidence=tuple(evidence),
        )


def _not_repeatable(model: Any, level: Level) -> list[Obstacle]:
    if level is not Level.BITWISE:
        return [
            Obstacle(
                what="verify_by_refit compares bits",
                found=f"an estimator that guarantees {level.value}",
                fix="leave it out: a fresh fit differs by its own randomness",
            )
        ]
    # A seed of its own is what all its parts draw from; without one, each part needs its seed.
    own = model.get_params(deep="random_state" not in model.get_params(deep=False))
    unset = [n for n, v in own.items() if n.rpartition("__")[2] == "random_state" and v is None]
    if not unset:
        return []
    return [
        Obstacle(
            what="verify_by_refit needs the seed",
            where=unset[0],
            found="None: a seed of its own, which nobody knows",
            fix="leave it out, or set random_state when fitting",
        )
    ]


def _nothing_left(model: Any, problem: Problem) -> None:
    remains = model.what_remains_
    if not remains.pending and remains.rows == len(problem.retain_view):
        return
    raise RunFailed(
        "the model did not forget all",
        where=type(model).__name__,
        found=f"{remains.pending} parts pending, {remains.rows} rows",
        expected=f"nothing pending, {len(problem.retain_view)} rows",
        fix="try it by its contract: expunge conformance estimators/NAME",
    )


def _differs(model: Any) -> RunFailed:
    return RunFailed(
        "the model is not what a fresh fit gives",
        where=type(model).__name__,
        found="another fingerprint",
        expected="that of a fit on the remaining rows, same settings and seed",
        fix="see that the data file is what the model was fitted on; if it is, report this: it breaks its guarantee",
    )


def _evidence(model: Any) -> Iterator[str]:
    """Yield the argument of the estimator and what it says of its state; no number of rows."""
    remains = model.what_remains_
    yield f"{type(model).__name__}: {type(model).argument}"
    yield f"of the rows that remain it holds {remains.holds}; no part of it still waits to be rebuilt"
    if remains.tombstones:
        yield (
            "keyed hashes of forgotten ids are kept, so that forgetting twice is no error; without the key, which is "
            "saved with the model, they say nothing"
        )
    yield from remains.notes
    yield "assumption: under these ids the model was fitted on the rows of the training records, with the same labels"


def _numbers(thing: Any, path: str = "", seen: set[int] | None = None) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield the arrays of numbers in an object, by where they are."""
    seen = set() if seen is None else seen
    if id(thing) in seen:
        return
    seen.add(id(thing))
    if isinstance(thing, np.ndarray):
        if thing.dtype.kind in "biufc":
            yield path, thing.copy()
        return
    parts: Any = ()
    if isinstance(thing, dict):
        parts = thing.items()
    elif isinstance(thing, (list, tuple)):
        parts = enumerate(thing)
    elif hasattr(thing, "__dict__") and not isinstance(thing, type):
        parts = vars(thing).items()
    for name, part in parts:
        yield from _numbers(part, f"{path}.{name}", seen)


def _changed(before: dict[str, NDArray[Any]], after: dict[str, NDArray[Any]]) -> float:
    """Return the share of numbers that differ; an array of another shape counts as changed as a whole."""
    changed = total = 0
    for path, now in after.items():
        was = before.get(path)
        total += now.size
        changed += now.size if was is None or was.shape != now.shape else int((was != now).sum())
    return changed / max(1, total)
