"""Manifests beside models: which records a model was trained on, so that a reference made elsewhere can be judged.

A manifest is a JSON file in the folder of the model:

    {"format": "expunge-manifest-1", "contents": ["<SHA-256>", ...], "ids": ["r17", ...]}

``contents`` are the content digests of the records, one for each, in any order; ``ids``, in the same order, may be left
out. Digests are over the records as expunge reads them (type and shape included).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from expunge.core.errors import Refused, UsageError
from expunge.core.records import Records
from expunge.core.serial import canonical
from expunge.core.storage import write_file

NAME = "expunge-manifest.json"
"""The file, beside the model."""
FORMAT = "expunge-manifest-1"
_DIGEST = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class TrainedOn:
    """What a manifest says: content digests, and ids in the same order, None where it names none."""

    contents: tuple[str, ...]
    ids: tuple[str, ...] | None


def write(folder: str | Path, records: Records, *, ids: bool = True) -> Path:
    """Say beside a model which records it was trained on; return the file. Reads every record once.

    Args:
        folder: the folder of the model.
        records: exactly those it was trained on.
        ids: name them, too; without, the file holds digests only.

    Raises:
        StorageFailed: the folder cannot be written.
    """
    entries = records.manifest.entries
    said: dict[str, object] = {"format": FORMAT, "contents": [content for _, content in entries]}
    if ids:
        said["ids"] = [name for name, _ in entries]
    path = Path(folder) / NAME
    write_file(path, canonical(said) + b"\n")
    return path


def read(folder: Path) -> TrainedOn:
    """Return what the manifest in ``folder`` says.

    Raises:
        Refused: there is none.
        UsageError: it is not one.
    """
    path = folder / NAME
    if not path.is_file():
        raise Refused(
            "nothing says which records a reference was trained on",
            where=folder.name,
            found=f"no {NAME}",
            expected="a manifest beside the model: a reference that saw a forgotten record would make any verdict "
            "worthless",
            fix="where it was trained: expunge.engine.manifests.write(folder, records)",
        )
    try:
        said = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise _no_manifest(folder, type(error).__name__) from error
    if not isinstance(said, dict) or said.get("format") != FORMAT:
        raise _no_manifest(folder, "another format")
    contents, ids = said.get("contents"), said.get("ids")
    if not isinstance(contents, list) or not all(isinstance(c, str) and _DIGEST.fullmatch(c) for c in contents):
        raise _no_manifest(folder, "contents that are no list of SHA-256 digests")
    if ids is not None and not (isinstance(ids, list) and all(isinstance(name, str) for name in ids)):
        raise _no_manifest(folder, "ids that are no list of strings")
    if ids is not None and len(ids) != len(contents):
        raise _no_manifest(folder, f"{len(ids)} ids for {len(contents)} contents")
    return TrainedOn(tuple(contents), None if ids is None else tuple(ids))


def _no_manifest(folder: Path, found: str) -> UsageError:
    return UsageError(
        "cannot read the manifest of a reference",
        where=f"{folder.name}/{NAME}",
        found=found,
        expected=f'{{"format": "{FORMAT}", "contents": [one SHA-256 per record], "ids": [...]}}',
        fix="write it with expunge.engine.manifests.write(folder, records)",
    )
