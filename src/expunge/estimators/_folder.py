"""An estimator in a folder of its own: one process at a time, and after a crash the state before or after."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from expunge.core.errors import Refused
from expunge.core.storage import lock, sweep
from expunge.estimators._base import Forgetting

FILE = "estimator.skops"


class StateFolder:
    """The saved state of one estimator; ``with StateFolder(path) as state: state.forget(ids)``.

    A change is written aside, synced and renamed before the call returns: a process that dies at any moment leaves
    the state before or after, and no file that still holds a forgotten row.

    Args:
        path: the folder; it is made where there is none.
        kind: the class of an estimator of your own; ours need not be named.

    Raises:
        Refused: another process has the folder open.
        Tampered: the state is damaged.
    """

    def __init__(self, path: str | Path, kind: type[Forgetting] = Forgetting) -> None:
        self.path, self._kind = Path(path), kind
        self._handle: IO[bytes] | None = None
        self._made: Any = None

    def __enter__(self) -> Self:
        """Lock the folder and open what is in it."""
        self._handle = lock(self.path)
        if self._handle is None:
            raise Refused(
                "another process has this estimator open",
                where=self.path.name,
                found="a locked folder",
                expected="one process at a time",
                fix="wait until the other one ends",
            )
        try:
            sweep(self.path)
            self._made = self._kind.load(self.path / FILE) if (self.path / FILE).exists() else None
        except BaseException:
            self._unlock()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let others open the folder."""
        self._unlock()

    @property
    def estimator(self) -> Any:
        """The estimator as it was last written; None in an empty folder."""
        return self._made

    def put(self, estimator: Forgetting) -> None:
        """Write ``estimator`` in the place of what was here."""
        estimator.save(self.path / FILE)
        self._made = estimator

    def forget(self, ids: Iterable[Any], *rows: Any) -> None:
        """Forget rows, and write what remains before returning; ``rows``: X and y, for an estimator that needs them."""
        self._change(lambda made: made.forget(ids, *rows))

    def partial_fit(self, X: Any, y: Any = None, sample_ids: Any = None) -> None:
        """Learn from more rows, and write the result before returning."""
        self._change(lambda made: made.partial_fit(X, y, sample_ids=sample_ids))

    def _change(self, change: Callable[[Any], Any]) -> None:
        if self._made is None:
            raise Refused("there is no estimator in this folder", where=self.path.name, fix="put one first")
        try:
            change(self._made)
            self._made.save(self.path / FILE)
        except BaseException:
            self._made = self._kind.load(self.path / FILE)  # what is in memory is what is on disk
            raise

    def _unlock(self) -> None:
        if self._handle is not None:
            self._handle.close()
            self._handle = None
