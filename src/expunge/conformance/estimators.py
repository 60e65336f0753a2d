"""What every estimator promises: scikit-learn's contract, and that after any history it equals a fresh fit."""

from __future__ import annotations

import copy
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from expunge.conformance._case import NotApplicable, Suite, require
from expunge.core.errors import Tampered, UsageError
from expunge.core.estimator import Estimator, Remains
from expunge.core.level import Level

SUITE = Suite()
SEED = 5
_HIDDEN = "quokka"  # in every id, so that a saved state that still names a row is known by it


class Rows:
    """The rows of a trial, with ids, of which parts can be taken."""

    def __init__(self, cls: type[Estimator], seed: int = SEED) -> None:
        self.made, self.X, self.y = cls.trial(seed)
        self.ids = [f"{_HIDDEN}-{i:03d}" for i in range(len(self.y))]

    def part(self, places: Sequence[int]) -> dict[str, Any]:
        """Return the arguments of ``fit`` for the rows at ``places``."""
        return {"X": _taken(self.X, places), "y": _taken(self.y, places), "sample_ids": [self.ids[i] for i in places]}

    def fitted(self, places: Sequence[int] | None = None) -> Any:
        """Return an estimator fitted on the rows at ``places``, all by default."""
        made = copy.deepcopy(self.made)
        return made.fit(**self.part(range(len(self.ids)) if places is None else places))


def answers(made: Any, X: Any) -> np.ndarray:
    """Return what the estimator says of ``X``: probabilities or scores where it has them."""
    for name in ("predict_proba", "decision_function", "predict", "transform", "kneighbors"):
        if hasattr(made, name):
            found = getattr(made, name)(X)
            found = found[0] if isinstance(found, tuple) else found
            return np.asarray(found.toarray() if hasattr(found, "toarray") else found)
    raise NotApplicable("it has neither predict nor transform")


def _taken(values: Any, places: Sequence[int]) -> Any:
    if hasattr(values, "iloc"):
        return values.iloc[list(places)]
    if isinstance(values, list):
        return [values[i] for i in places]
    return values[np.asarray(places, dtype=int)]


def _same(one: Any, other: Any, X: Any, *, seen: str) -> None:
    require(one.fingerprint() == other.fingerprint(), f"{seen}: another fingerprint")
    first, second = answers(one, X), answers(other, X)
    if first.dtype.kind == "f" and type(one).guarantee is not Level.BITWISE:
        require(np.allclose(first, second, rtol=1e-6, atol=1e-9), f"{seen}: other answers")
    elif first.dtype.kind == "f":  # weights derived from equal integers carry the tolerance of the solver
        require(np.allclose(first, second, rtol=1e-9, atol=1e-12), f"{seen}: other answers")
    else:
        require(np.array_equal(first, second), f"{seen}: other answers")


# --- scikit-learn's contract -------------------------------------------------------------------------------------


@SUITE.case()
def says_what_it_is(cls: type[Estimator]) -> None:
    """It has title, source, guarantee, and says what the guarantee rests on."""
    for name in ("title", "source", "argument"):
        require(str(getattr(cls, name, "")).strip(), f"no {name}")
    require(isinstance(getattr(cls, "guarantee", None), Level), "no guarantee of core.level.Level")
    require(cls.guarantee.stands_alone, "an estimator that forgets has a guarantee that stands by itself")


@SUITE.case()
def passes_scikit_learns_checks(cls: type[Estimator]) -> None:
    """Scikit-learn's check_estimator passes, with no expected failure."""
    from sklearn.exceptions import SkipTestWarning
    from sklearn.utils.estimator_checks import check_estimator

    made, _, _ = cls.trial(SEED)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SkipTestWarning)  # of estimators of texts, for which it has fewer checks
        failed = [one for one in check_estimator(made, on_skip=None, on_fail=None) if one["status"] == "failed"]
    seen = "; ".join(f"{one['check_name']}: {str(one['exception']).splitlines()[0][:120]}" for one in failed[:3])
    require(not failed, f"{len(failed)} checks fail: {seen}")


# --- what forgetting means ---------------------------------------------------------------------------------------


@SUITE.case("P-09", "P-12", "P-34")
def any_history_equals_a_fresh_fit(cls: type[Estimator]) -> None:
    """After rows put in and taken out in any order it is what a fresh fit on what remains is, at every stop."""
    rows = Rows(cls)
    draw = np.random.default_rng(SEED)
    order = draw.permutation(len(rows.ids))
    held, waiting = list(order[:40]), list(order[40:])
    made = rows.fitted(held)
    for step in range(12):
        if step % 3 == 2 and waiting:
            more, waiting = waiting[:5], waiting[5:]
            made.partial_fit(**rows.part(more))
            held += more
        else:
            gone = [held.pop(int(draw.integers(len(held)))) for _ in range(1 + step % 3)]
            made.forget([rows.ids[i] for i in gone])
            waiting += gone[:1] if step % 4 == 0 else []
        fresh = rows.fitted(sorted(held))
        _same(made, fresh, rows.X, seen=f"after step {step}, with {len(held)} rows")


@SUITE.case("P-09")
def order_and_batching_do_not_matter(cls: type[Estimator]) -> None:
    """One batch of ids, the same ids one by one, and the reverse give the same estimator."""
    rows = Rows(cls)
    ids = rows.ids[3:24:3]
    at_once, one_by_one, reverse = rows.fitted(), rows.fitted(), rows.fitted()
    at_once.forget(ids)
    for name in ids:
        one_by_one.forget([name])
    for name in reversed(ids):
        reverse.forget([name])
    _same(at_once, one_by_one, rows.X, seen="one by one")
    _same(at_once, reverse, rows.X, seen="in reverse")


@SUITE.case()
def forgetting_changes_what_was_learnt(cls: type[Estimator]) -> None:
    """An estimator that forgot rows is another one, and a row put in again is learnt again."""
    rows = Rows(cls)
    made, before = rows.fitted(), rows.fitted().fingerprint()
    made.forget(rows.ids[:5])
    require(made.fingerprint() != before, "the same fingerprint after five rows were forgotten")
    made.partial_fit(**rows.part(range(5)))
    require(made.fingerprint() == before, "another fingerprint after they were put in again")


@SUITE.case("P-01")
def forgetting_twice_is_once(cls: type[Estimator]) -> None:
    """Forgetting again what was forgotten changes nothing and is no error."""
    rows = Rows(cls)
    made = rows.fitted().forget(rows.ids[:4])
    before = made.fingerprint()
    made.forget(rows.ids[:4])
    made.forget(rows.ids[2:6][:2])
    require(made.fingerprint() == before, "another fingerprint after the second time")
    require(made.forget([]).fingerprint() == before, "another fingerprint after an empty request")


@SUITE.case("P-02")
def a_bad_request_changes_nothing(cls: type[Estimator]) -> None:
    """A request with one unknown id, or ids of another type, is refused with its place; nothing is forgotten."""
    rows = Rows(cls)
    made = rows.fitted()
    before = made.fingerprint()
    for bad in ([*rows.ids[:2], "nobody"], [0, 1], [rows.ids[0], 1], [None], [True]):
        try:
            made.forget(bad)
        except UsageError as error:
            require(_HIDDEN not in str(error) and "nobody" not in str(error), "the error shows an id")
        else:
            require(False, "a request with an id that was never given is accepted")
        require(made.fingerprint() == before, "a refused request changed the estimator")
    doubled = rows.part([0, 1])
    try:
        made.partial_fit(**doubled)
    except UsageError:
        require(made.fingerprint() == before, "refused rows changed the estimator")
    else:
        require(False, "an id that is held already is accepted again")


@SUITE.case("P-08")
def everything_can_be_forgotten(cls: type[Estimator]) -> None:
    """Without its last row it answers no more and says so, and learns anew from other rows."""
    from sklearn.exceptions import NotFittedError

    rows = Rows(cls)
    made = rows.fitted().forget(rows.ids)
    require(made.what_remains_.rows == 0, "rows remain")
    try:
        answers(made, rows.X)
    except NotFittedError:
        pass
    else:
        require(False, "it answers without a single row")
    made.partial_fit(**rows.part(range(30)))
    _same(made, rows.fitted(range(30)), rows.X, seen="after it was emptied")


@SUITE.case("P-08")
def a_class_can_be_forgotten(cls: type[Estimator]) -> None:
    """A class without rows is gone, as in a fresh fit."""
    rows = Rows(cls)
    made = rows.fitted()
    if not hasattr(made, "classes_"):
        raise NotApplicable("it has no classes")
    y = np.asarray(rows.y)
    kept = [i for i in range(len(y)) if y[i] != y[0]]
    made.forget([rows.ids[i] for i in range(len(y)) if y[i] == y[0]])
    fresh = rows.fitted(kept)
    require(list(made.classes_) == list(fresh.classes_), "other classes than those of a fresh fit")
    _same(made, fresh, rows.X, seen="without one class")


@SUITE.case("P-07")
def a_copy_stays(cls: type[Estimator]) -> None:
    """Forgetting one of two equal rows leaves the other."""
    rows = Rows(cls)
    twice = [*range(len(rows.ids)), 7]
    part = rows.part(twice)
    part["sample_ids"] = [*rows.ids, f"{_HIDDEN}-copy"]
    made = copy.deepcopy(rows.made).fit(**part)
    made.forget([rows.ids[7]])
    fresh = [i for i in twice[:-1] if i != 7]
    part = rows.part([*fresh, 7])
    part["sample_ids"] = [*(rows.ids[i] for i in fresh), f"{_HIDDEN}-copy"]
    _same(made, copy.deepcopy(rows.made).fit(**part), rows.X, seen="with the copy left")


@SUITE.case()
def integers_are_ids_too(cls: type[Estimator]) -> None:
    """Rows without ids are numbered in the order in which they came."""
    rows = Rows(cls)
    part = rows.part(range(20))
    part.pop("sample_ids")
    made = copy.deepcopy(rows.made).fit(**part)
    named = copy.deepcopy(rows.made).fit(**part, sample_ids=np.arange(20))
    require(made.fingerprint() == named.fingerprint(), "numbers given differ from numbers by default")
    made.forget([0, np.int64(3)])
    require(made.what_remains_.rows == 18, "not two rows fewer")


@SUITE.case()
def it_says_what_remains(cls: type[Estimator]) -> None:
    """It counts the rows that it holds, and what it keeps of those that it forgot."""
    rows = Rows(cls)
    made = rows.fitted().forget(rows.ids[:6])
    found = made.what_remains_
    require(isinstance(found, Remains), "what_remains_ is no core.estimator.Remains")
    require(found.rows == len(rows.ids) - 6, f"{found.rows} rows, not {len(rows.ids) - 6}")
    require(found.holds.strip(), "it does not say what it holds")


# --- what is written down ----------------------------------------------------------------------------------------


@SUITE.case("P-03")
def saving_keeps_everything(cls: type[Estimator]) -> None:
    """Saved and opened, it answers and forgets as before."""
    rows = Rows(cls)
    made = rows.fitted().forget(rows.ids[:3])
    with tempfile.TemporaryDirectory() as folder:
        made.save(Path(folder) / "made.skops")
        opened = cls.load(Path(folder) / "made.skops")  # type: ignore[attr-defined]
        _same(made, opened, rows.X, seen="saved and opened")
        made.forget(rows.ids[:9])
        opened.forget(rows.ids[:9])
        _same(made, opened, rows.X, seen="forgetting after it was opened")
        file = Path(folder) / "made.skops"
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 0xFF
        file.write_bytes(data[: len(data) * 2 // 3])
        try:
            cls.load(file)  # type: ignore[attr-defined]
        except Tampered:
            return
        require(False, "a damaged file is opened")


@SUITE.case("P-04", "P-20")
def nothing_of_a_forgotten_row_is_saved(cls: type[Estimator]) -> None:
    """What is saved names no forgotten row."""
    import io
    import zipfile

    rows = Rows(cls)
    made = rows.fitted().forget(rows.ids[:3])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "made.skops"
        made.save(file)
        with zipfile.ZipFile(io.BytesIO(file.read_bytes())) as archive:
            content = b"".join(archive.read(name) for name in archive.namelist())
    for name in rows.ids[:3]:
        for text in (name.encode(), name.encode("utf-32-le")):
            require(text not in content, "the id of a forgotten row is in the saved state")
    require(rows.ids[10].encode() in content or rows.ids[10].encode("utf-32-le") in content, "ids are not found at all")
