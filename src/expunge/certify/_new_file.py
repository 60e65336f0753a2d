"""Write a file that must not exist yet: all of it, or nothing."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from expunge.core.errors import StorageFailed, UsageError


def write_new(path: Path, data: bytes, *, mode: int) -> None:
    """Write ``data`` aside, flush it to the disk, then give it its name; parents are made.

    Raises:
        UsageError: the name is taken.
        StorageFailed: it cannot be written; nothing is left behind.
    """
    aside = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, aside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(aside, mode)
        _name(aside, path)
    except OSError as error:
        raise StorageFailed(
            "cannot write",
            where=str(path),
            found=error.strerror or type(error).__name__,
            fix="choose a folder that you can write to",
        ) from error
    finally:
        if aside is not None:
            os.unlink(aside)


def _name(aside: str, path: Path) -> None:
    """Give the file its name by a hard link, which unlike a rename fails where the name is taken."""
    try:
        os.link(aside, path)
    except FileExistsError:
        raise UsageError("a file is never overwritten", where=str(path), fix="choose another name") from None
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
