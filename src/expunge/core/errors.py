"""Every error expunge raises on purpose, in one tree, each with its exit code.

ExpungeError                 3  (base; never raised itself)
├── UsageError               2  the call, job file or configuration is wrong
│   ├── UnknownName          2  no such method, check, task, ... ; lists the known ones
│   ├── InvalidProblem       2  the problem has obstacles; lists all of them at once
│   │   └── NotFound         1  nothing that the request names is in what was searched
│   └── MissingExtra         2  an optional dependency is absent; names the install command
├── Refused                  5  expunge will not do this, and says why
│   ├── UnsafeFile           5  a pickle, or anything else that runs code when opened
│   ├── BrokenTrainer        5  the trainer breaks its contract
│   └── ForeignRun           5  the output directory belongs to another job
└── RunFailed                3  something failed while running
    ├── Tampered             3  a file is not what was written
    ├── StorageFailed        3  disk full, read-only, permission
    ├── Diverged             3  a loss or a weight became NaN or infinite
    └── Interrupted          3  stopped by the user; the same command resumes

4 is reserved for a request that waits for approval: that is no error, and no class has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Obstacle:
    """One thing that is wrong: what, where, found, expected, and how to fix it.

    Texts name positions and counts, never the content or the id of a record: they end up in logs.
    ``fatal`` is False for things worth knowing that do not stop the work.
    """

    what: str
    where: str = ""
    found: str = ""
    expected: str = ""
    fix: str = ""
    fatal: bool = True

    def __str__(self) -> str:
        """Return the obstacle as one line per known part."""
        parts = [self.what if not self.where else f"{self.what} ({self.where})"]
        parts += [f"  {name}: {text}" for name, text in self._details() if text]
        return "\n".join(parts)

    def _details(self) -> list[tuple[str, str]]:
        return [("found", self.found), ("expected", self.expected), ("fix", self.fix)]


class ExpungeError(Exception):
    """Base of all errors of expunge; carries one :class:`Obstacle` or several."""

    exit_code = 3

    def __init__(self, what: str, *, where: str = "", found: str = "", expected: str = "", fix: str = "") -> None:
        self.obstacles: tuple[Obstacle, ...] = (
            Obstacle(what=what, where=where, found=found, expected=expected, fix=fix),
        )
        super().__init__(str(self.obstacles[0]))

    def __reduce__(self) -> tuple[object, ...]:
        """Cross a process boundary without losing the parts (keyword arguments defeat the default)."""
        return (_rebuild, (type(self), self.obstacles, self.args))


def _rebuild(kind: type[ExpungeError], obstacles: tuple[Obstacle, ...], args: tuple[object, ...]) -> ExpungeError:
    error = kind.__new__(kind)
    error.obstacles, error.args = obstacles, args
    return error


class UsageError(ExpungeError):
    """The call, the job file or a configuration is wrong."""

    exit_code = 2


class UnknownName(UsageError):
    """A name that the registry does not know."""


class InvalidProblem(UsageError):
    """A problem cannot be worked on; ``obstacles`` holds every reason."""

    def __init__(self, obstacles: Sequence[Obstacle]) -> None:
        super().__init__("invalid problem")
        self.obstacles = tuple(obstacles)
        lines = "\n".join(f"{i}. {obstacle}" for i, obstacle in enumerate(self.obstacles, 1))
        self.args = (f"the problem has {len(self.obstacles)} obstacle(s):\n{lines}",)


class NotFound(InvalidProblem):
    """Nothing that the request names is in what was searched: a result, as long as that is what was meant."""

    exit_code = 1


class MissingExtra(UsageError):
    """An optional dependency is not installed."""


class Refused(ExpungeError):
    """Expunge will not do this."""

    exit_code = 5


class UnsafeFile(Refused):
    """A file that could run code when opened."""


class BrokenTrainer(Refused):
    """The trainer breaks the contract that makes a reference a reference."""


class ForeignRun(Refused):
    """The output directory belongs to another job."""


class RunFailed(ExpungeError):
    """Something failed while running."""


class Tampered(RunFailed):
    """A file is not what was written."""


class StorageFailed(RunFailed):
    """Writing failed; nothing half-written was left."""


class Diverged(RunFailed):
    """A loss or a weight became NaN or infinite."""


class Interrupted(RunFailed):
    """The user stopped the run; the same command resumes it."""


UNABLE = (Diverged, InvalidProblem)
"""Errors of a method that was tried and has failed, whoever asked for it: it ruined the model, or cannot act on it."""


def fault_of_method(error: Exception) -> str:
    """Return what is wrong with a method that raised this, without its words where these could hold data.

    Empty where the error says nothing of the method: of the machine (no room, no memory), of a file that was changed,
    of a trainer that is refused. Of what diverged it is also said when, and what was seen then: figures, no data.
    """
    of_others = isinstance(error, (OSError, MemoryError, Refused, RunFailed)) and not isinstance(error, Diverged)
    if of_others:
        return ""
    if not isinstance(error, ExpungeError):
        return f"{type(error).__name__} in the method"
    seen = ""
    if isinstance(error, Diverged):
        seen = ", ".join(filter(None, (error.obstacles[0].where, error.obstacles[0].found)))
    return "; ".join(obstacle.what for obstacle in error.obstacles) + (f" ({seen})" if seen else "")
