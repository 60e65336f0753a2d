"""Run the contract cases of one method, check, task or estimator, and say what is wrong with it."""

from __future__ import annotations

import enum
import importlib
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from expunge.conformance import checks, estimators, methods, tasks
from expunge.conformance._case import Case, NotApplicable, Suite, Violation
from expunge.core import registry
from expunge.core.errors import ExpungeError, UnknownName, UsageError
from expunge.core.serial import plain

SUITES: dict[str, Suite] = {
    "methods": methods.SUITE,
    "checks": checks.SUITE,
    "tasks": tasks.SUITE,
    "estimators": estimators.SUITE,
}


class Result(enum.Enum):
    """How a case ended."""

    PASSED = "passed"
    FAILED = "failed"
    EXEMPT = "exempt"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True)
class Tried:
    """One case, tried; ``because`` says what was seen, or why it was not tried."""

    case: str
    promise: str
    catches: tuple[str, ...]
    result: Result
    because: str = ""


@dataclass(frozen=True)
class Conformance:
    """All cases of one class."""

    room: str
    name: str
    tried: tuple[Tried, ...]

    @property
    def passed(self) -> bool:
        """Return whether something was tried and nothing failed."""
        results = {one.result for one in self.tried}
        return Result.PASSED in results and Result.FAILED not in results


def find(name: str) -> tuple[str, type]:
    """Return (room, class) of a registered name, of ``room/name``, or of ``module:Class``.

    Raises:
        UnknownName: no room knows the name.
        UsageError: two rooms do, or the class is none that has a contract here.
    """
    if ":" in name:
        return _imported(name)
    room, _, bare = name.rpartition("/")
    rooms = [each for each in SUITES if bare in registry.names(each) and room in ("", each)]
    if len(rooms) == 1:
        return rooms[0], registry.load(rooms[0], bare)
    known = [f"{each}/{one}" for each in SUITES for one in registry.names(each)]
    if not rooms:
        raise UnknownName(
            f"nothing is called {name!r}",
            where="methods, checks, tasks and estimators",
            found=repr(name),
            expected=f"one of {', '.join(known)}",
            fix="install the plug-in that brings it, or name the class itself: package.module:Class",
        )
    raise UsageError(
        f"{len(rooms)} things are called {bare!r}",
        where=" and ".join(rooms),
        found=repr(name),
        expected="one",
        fix=f"name the room as well: {rooms[0]}/{bare}",
    )


def _imported(target: str) -> tuple[str, type]:
    module, _, attribute = target.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")  # as `python -m` does: the class may lie in the folder one stands in
    try:
        cls = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UsageError(
            f"cannot import {target!r}",
            where="conformance",
            found=f"{type(error).__name__}: {error}",
            expected="package.module:Class, importable from here",
            fix="check the spelling, and run the command where the module can be imported",
        ) from error
    for room in SUITES:
        if isinstance(cls, type) and issubclass(cls, registry.contract(room)):
            cls.name = cls.name or module.rpartition(".")[2]  # type: ignore[attr-defined]
            return room, cls
    raise UsageError(
        f"{target} has no contract here",
        where="conformance",
        found=type(cls).__name__,
        expected="a subclass of Method, Check, Task or Estimator",
        fix="name the class itself",
    )


def settings(room: str, cls: type) -> dict[str, object]:
    """Return the settings that the cases of a class run with; phases that these do not enter are not tried."""
    if room != "methods":
        return {}
    values: dict[str, object] = plain(methods.made(cls).config)
    return values


def conform(room: str, cls: type, *, said: Callable[[Tried], None] = lambda one: None) -> Conformance:
    """Try every case of the room's contract on ``cls``; ``said`` hears of each as it ends."""
    tried = []
    for one in _tried(SUITES[room], cls):
        said(one)
        tried.append(one)
    return Conformance(room, cls.name, tuple(tried))  # type: ignore[attr-defined]


def _tried(suite: Suite, cls: type) -> Iterator[Tried]:
    exempt = dict(cls.exempt)  # type: ignore[attr-defined]
    for case in suite:
        result, because = _outcome(case, cls)
        reason = exempt.pop(case.name, None)
        if reason is not None:
            result, because = _exempted(result, reason)
        yield Tried(case.name, case.promise, case.catches, result, because)
    for name in exempt:
        because = "no case has this name: delete the line, or correct its spelling"
        yield Tried(name, "An exemption names a case.", (), Result.FAILED, because)


def _outcome(case: Case, cls: type) -> tuple[Result, str]:
    try:
        case.run(cls)
    except NotApplicable as reason:
        return Result.NOT_APPLICABLE, str(reason)
    except Violation as seen:
        return Result.FAILED, str(seen)
    except Exception as error:  # noqa: BLE001  # somebody's class may raise anything: a failure, and the others go on
        frame = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(frame.filename).name}, line {frame.lineno}, in {frame.name}"
        # Nothing here holds anybody's data: the cases bring their own records.
        said = str(error).splitlines()[0] if str(error) else ""
        kind = "refused" if isinstance(error, ExpungeError) else "raised"
        return Result.FAILED, f"{kind} {type(error).__name__}: {said} ({where})"
    return Result.PASSED, ""


def _exempted(result: Result, reason: str) -> tuple[Result, str]:
    if not reason.strip():
        return Result.FAILED, "the exemption gives no reason"
    if result is Result.FAILED:
        return Result.EXEMPT, reason
    return Result.FAILED, f"the exemption is not needed (the case: {result.value}); delete it"
