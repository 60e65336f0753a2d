"""Writing that leaves nothing half-written: write aside, sync, rename."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from expunge.core.errors import StorageFailed, UsageError

ASIDE = ".aside-"
_writes = True


def only_read() -> None:
    """Write nothing from now on in this process: another one does the same work, and writes for both."""
    global _writes
    _writes = False


def writes() -> bool:
    """Return whether this process writes."""
    return _writes


@contextmanager
def storing(where: Path) -> Iterator[None]:
    """Turn an operating system's refusal to write into one clear error.

    Raises:
        StorageFailed: disk full, read-only, no permission, ...
    """
    try:
        yield
    except OSError as error:
        raise StorageFailed(
            "cannot write",
            where=where.name,
            found=error.strerror or type(error).__name__,
            expected="room and permission to write",
            fix="free space or choose another --out; nothing half-written was left, the same command resumes",
        ) from error


def write_file(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write ``data`` to ``path`` so that a reader sees the old file or the whole new one."""
    if not _writes:
        return
    aside = path.with_name(f"{ASIDE}{uuid.uuid4().hex}")
    with storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def write_named(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write ``data`` to a path that a user named: what a link leads to, and into a pipe or a device, not in its place.

    A file that is there keeps who may read it; a new one gets ``mode``.

    Raises:
        UsageError: a folder, or links that lead to each other.
    """
    if path.is_dir():
        raise UsageError(
            "a folder cannot be written to as a file",
            where=path.name or str(path),
            found="a folder",
            expected="the path of a file",
            fix="name a file in it",
        )
    if path.exists() and not path.is_file():
        with storing(path):
            path.write_bytes(data)
        return
    try:
        target = path.resolve()
    except (RuntimeError, OSError) as error:  # which of them depends on the version of Python
        raise UsageError(
            "links that lead to each other cannot be written to",
            where=path.name,
            found="a link that ends nowhere",
            expected="the path of a file",
            fix="remove the link, or name another file",
        ) from error
    write_file(target, data, mode=target.stat().st_mode & 0o777 if target.exists() else mode)


def write_folder(path: Path, fill: Callable[[Path], None]) -> None:
    """Let ``fill`` write into an empty folder, then move it to ``path``; an existing ``path`` is kept."""
    if not _writes:  # what is written may be made by all processes together
        with tempfile.TemporaryDirectory(prefix="expunge-") as unseen:
            fill(Path(unseen))
        return
    aside = path.with_name(f"{ASIDE}{uuid.uuid4().hex}")
    with storing(path):
        aside.mkdir(parents=True)
        try:
            fill(aside)
            for file in sorted(aside.rglob("*")):
                if file.is_file():
                    with file.open("rb") as handle:
                        os.fsync(handle.fileno())
            if path.exists():  # another process wrote the same content first
                shutil.rmtree(aside)
            else:
                aside.rename(path)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        sync_folder(path.parent)


def lock(folder: Path) -> IO[bytes] | None:
    """Make ``folder``, hold it for this process, and return the open lock; None where another process holds it.

    Closing the lock lets go of the folder, and so does the end of the process, however it ends.
    """
    with storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        file = os.fdopen(os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600), "wb")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException as error:
            file.close()
            if isinstance(error, BlockingIOError):
                return None
            raise
    return file


def discard(folder: Path) -> None:
    """Remove a folder so that a reader sees all of it or nothing; what a kill leaves of it is swept."""
    aside = folder.with_name(f"{ASIDE}{uuid.uuid4().hex}")
    with storing(folder):
        folder.rename(aside)
        shutil.rmtree(aside)


def sweep(folder: Path) -> None:
    """Remove what an interrupted writer left aside."""
    for left in sorted(folder.rglob(f"{ASIDE}*")):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make a rename in ``folder`` survive a loss of power."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
