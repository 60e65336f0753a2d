"""The files of a model folder, by name and digest: the subjects of a certificate.

Files are hashed, never opened otherwise.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from expunge.core.digest import file_digest
from expunge.core.errors import UsageError


@dataclass(frozen=True)
class Files:
    """SHA-256 of every file by POSIX path below the folder, and the paths that are neither file nor folder.

    A link to a file counts as the file (download caches are made of such links); a link to a folder, a
    dangling link, a socket and the like cannot be hashed, and are named so that nothing hides behind them.
    """

    digests: Mapping[str, str]
    odd: tuple[str, ...]


def read_folder(folder: Path) -> Files:
    """Return the files below ``folder``, sorted by name; every one is read once, in chunks.

    Raises:
        UsageError: not a folder, or something in it cannot be read.
    """
    if not folder.is_dir():
        raise UsageError(
            "no such model folder",
            where=str(folder),
            found="a file" if folder.exists() else "nothing",
            expected="the folder that holds the model's files",
        )
    digests, odd = {}, []
    try:
        for path in _walk(folder):
            name = path.relative_to(folder).as_posix()
            if path.is_file():
                digests[name] = file_digest(path)
            else:
                odd.append(name)
    except OSError as error:
        raise UsageError(
            "cannot read the model folder",
            where=str(error.filename or folder),
            found=error.strerror or type(error).__name__,
            fix="make all of its files readable",
        ) from None
    return Files(dict(sorted(digests.items())), tuple(sorted(odd)))


def _walk(folder: Path) -> list[Path]:
    """Return everything below ``folder`` but real folders; raises where a folder cannot be listed."""

    def stop(error: OSError) -> None:
        raise error

    found = []
    for parent, folders, files in os.walk(folder, onerror=stop):
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        found += [Path(parent, name) for name in (*files, *links)]
    return found
