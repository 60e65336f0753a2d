"""The run directory: stages that are done once, a chained log of events, artefacts with digests.

    run.json          whose run this is
    events.jsonl      every start and finish, and what it used up, each line chained to the one before
    stages/*.json     the result of each finished stage
    artefacts/*/      saved models
    private/          secrets and per-record rows; never part of a report

Killed at any moment, the directory holds whole files only, and the same command goes on from the last
finished stage.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from expunge.core.digest import sha256, tree_digests
from expunge.core.errors import ForeignRun, StorageFailed, Tampered, UsageError
from expunge.core.serial import build, canonical, plain
from expunge.core.storage import lock, storing, sweep, write_file, write_folder
from expunge.engine.energy import Meter

T = TypeVar("T")
_KEPT = ("finished", "attempt")
"""Events after which a run directory holds work."""


@dataclass(frozen=True)
class Artefact:
    """A saved model: where it lies in the run directory, its model digest, the digest of each file."""

    path: str
    model: str
    files: Mapping[str, str]


class RunDirectory:
    """One job's directory; held by one process at a time.

    Args:
        folder: created if absent.
        identity: what makes this run this run; plain data.
        meter: what counts time and energy; the log then says what went into each finished stage.

    Raises:
        ForeignRun: the directory belongs to another job, holds other files, or is in use.
        Tampered: its log or a stage was changed.
        StorageFailed: it cannot be written.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any], *, meter: Meter | None = None) -> None:
        self.folder = folder
        self.meter = meter
        self.events: list[dict[str, Any]] = []
        self.identity = sha256(canonical(identity))
        self._refuse_foreign(identity)
        self._there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        self._made = [each for each in (folder, *folder.parents) if not each.exists()]
        self._lock = lock(folder)
        if self._lock is None:
            raise ForeignRun(
                "the output directory is in use",
                where=folder.name,
                found="another process holds it",
                expected="one process at a time",
                fix="wait for it, or choose another --out",
            )
        try:
            self._begin(identity)
        except BaseException:
            self.close()  # whoever holds the error holds this object, and would keep the directory locked
            raise

    def _begin(self, identity: Mapping[str, Any]) -> None:
        sweep(self.folder)
        # First of all: without it, a directory with anything in it is another's.
        if not (self.folder / "run.json").exists():
            write_file(
                self.folder / "run.json",
                canonical({"identity": plain(identity), "run": self.identity}) + b"\n",
                mode=0o600,
            )
        with storing(self.folder):
            (self.folder / "private").mkdir(mode=0o700, exist_ok=True)
        self.events = self._read_events()
        self.event("opened")

    def close(self) -> None:
        """Say in the log that this command ended, if only by an error, and let go of the directory."""
        if self._lock is None:
            return
        if self.events:
            with suppress(StorageFailed):  # the disk may be full; what went wrong before is the error to show
                self.event("closed", **self._used())
        self._lock.close()
        self._lock = None

    def withdraw(self) -> None:
        """Remove what this command made, where the directory is its own and no stage of it is finished; then close.

        For bad input that is only found at work: whoever mends it starts where nothing is in the way. What was there
        before stays, and so does a directory that an earlier command began.
        """
        if self._lock is None or "run.json" in self._there or any(e["event"] in _KEPT for e in self.events):
            return
        with suppress(OSError):  # the bad input is the error to show; and what another made beside it stays
            # The marker goes last: without it, a directory with anything in it is another's.
            for path in sorted(self.folder.iterdir(), key=lambda path: path.name == "run.json"):
                if path.name not in self._there:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            for folder in self._made:
                folder.rmdir()
        self._lock.close()
        self._lock = None

    def stage(self, name: str, make: Callable[[], T], kind: type[T]) -> T:
        """Return the result of a stage: made now, or read if an earlier command finished it.

        Raises:
            Tampered: the stored result is not the one that was written.
        """
        path = self.folder / "stages" / f"{name}.json"
        if path.exists():
            data = path.read_bytes()
            known = self._finished(name)
            if known is not None and known != sha256(data):
                raise _tampered(f"stages/{path.name}")
            if known is None and not self.count("started", name):  # the log was cut short: it is written first
                raise _tampered("events.jsonl")
            if known is None:  # killed between the result and its event
                self.event("finished", stage=name, digest=sha256(data))
            return build(kind, _parse(data, f"stages/{path.name}"), where=name)
        self.event("started", stage=name)
        result = make()
        data = canonical(result)
        write_file(path, data)
        self.event("finished", stage=name, digest=sha256(data), **self._used())
        return result

    def done(self, name: str) -> bool:
        """Return whether a stage is finished."""
        return (self.folder / "stages" / f"{name}.json").exists()

    def save(self, name: str, digest: str, fill: Callable[[Path], None]) -> Artefact:
        """Write a model folder under ``artefacts/`` and return its record; ``digest`` is its model digest."""
        path = self.folder / "artefacts" / name
        write_folder(path, fill)
        return self.record(path, digest)

    def record(self, path: Path, digest: str) -> Artefact:
        """Return the record of a folder inside the run directory."""
        return Artefact(path.relative_to(self.folder).as_posix(), digest, tree_digests(path))

    def open_artefact(self, artefact: Artefact) -> Path:
        """Return the folder of an artefact after comparing every file with its record.

        Raises:
            Tampered: a file is missing or changed.
        """
        folder = self.folder / artefact.path
        found = tree_digests(folder) if folder.is_dir() else {}
        changed = sorted(n for n in {*found, *artefact.files} if found.get(n) != artefact.files.get(n))
        if changed:
            raise Tampered(
                "a saved model is not what was written",
                where=f"{artefact.path}/{changed[0]}",
                found="missing" if changed[0] not in found else "other bytes",
                expected="the bytes of which its stage keeps the digest",
                fix="delete the output directory and run again, or restore the file",
            )
        return folder

    def secret(self, name: str) -> bytes:
        """Return 32 random bytes, drawn once and kept in ``private/`` with mode 0600."""
        path = self.folder / "private" / name
        if not path.exists():
            write_file(path, os.urandom(32).hex().encode(), mode=0o600)
        return read_secret(self.folder, name)

    def destroy(self, *names: str) -> list[str]:
        """Unlink files and folders that held forgotten data; return those that existed."""
        gone = []
        for name in names:
            path = self.folder / name
            if path.is_dir():
                shutil.rmtree(path)
            elif path.exists():
                path.unlink()
            else:
                continue
            gone.append(name)
            self.event("destroyed", what=name)
        return gone

    def event(self, kind: str, **facts: object) -> None:
        """Append one line to the log and sync it."""
        previous = self.events[-1]["digest_of_line"] if self.events else ""
        line = {"at": now(), "event": kind, "n": len(self.events), "previous": previous, **facts}
        data = canonical(line)
        path = self.folder / "events.jsonl"
        with storing(path), path.open("ab") as file:
            file.write(data + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self.events.append({**line, "digest_of_line": sha256(data)})

    def count(self, kind: str, stage: str) -> int:
        """Return how often an event of this kind was logged for a stage."""
        return sum(1 for e in self.events if e["event"] == kind and e.get("stage") == stage)

    def _used(self) -> dict[str, Any]:
        """Return what was used since the line of the log that said so last."""
        if self.meter is None:
            return {}
        used = self.meter.take()
        joules = {name: round(joules, 3) for name, joules in used.joules.items()}
        return {"seconds": round(used.seconds, 3), "joules": joules}

    def _finished(self, name: str) -> str | None:
        digests = [e["digest"] for e in self.events if e["event"] == "finished" and e["stage"] == name]
        return str(digests[-1]) if digests else None

    def _refuse_foreign(self, identity: Mapping[str, Any]) -> None:
        marker = self.folder / "run.json"
        dangling = self.folder.is_symlink() and not self.folder.exists()
        if dangling or (self.folder.exists() and not self.folder.is_dir()):
            raise UsageError(
                "the output is not a directory",
                where=self.folder.name,
                found="a link to nothing" if dangling else "a file",
                expected="an empty directory, one of this job, or none yet",
                fix="choose another --out",
            )
        if marker.exists():
            other = _parse(marker.read_bytes(), "run.json")
            if other.get("run") != sha256(canonical(other.get("identity"))):
                raise _tampered("run.json")
            if other.get("run") != self.identity:
                mine, theirs = plain(identity), other.get("identity", {})
                differ = sorted(k for k in {*mine, *theirs} if mine.get(k) != theirs.get(k))
                raise ForeignRun(
                    "the output directory holds another job",
                    where=self.folder.name,
                    found=f"a run that differs in {', '.join(differ)}",
                    expected="an empty directory, or one of this job",
                    fix="choose another --out",
                )
        elif self.folder.is_dir() and any(not p.name.startswith(".") for p in self.folder.iterdir()):
            raise ForeignRun(
                "the output directory holds other files",
                where=self.folder.name,
                found="files, and no run.json",
                expected="an empty directory, or one of this job",
                fix="choose another --out",
            )

    def _read_events(self) -> list[dict[str, Any]]:
        path = self.folder / "events.jsonl"
        if not path.exists():
            return []
        whole, _, torn = path.read_bytes().rpartition(b"\n")
        if torn:  # a line that a kill cut short was never acted upon
            write_file(path, whole + b"\n" if whole else b"")
        events: list[dict[str, Any]] = []
        for line in whole.splitlines():
            event = _parse(line, "events.jsonl")
            if event.get("previous") != (events[-1]["digest_of_line"] if events else ""):
                raise _tampered("events.jsonl")
            events.append({**event, "digest_of_line": sha256(line)})
        return events


def read_secret(folder: Path, name: str) -> bytes:
    """Return a secret that :meth:`RunDirectory.secret` drew in ``folder``."""
    return bytes.fromhex((folder / "private" / name).read_text())


def now() -> str:
    """Return the time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _parse(data: bytes, where: str) -> Any:
    try:
        parsed = json.loads(data)
    except ValueError:
        raise _tampered(where) from None
    if not isinstance(parsed, dict):
        raise _tampered(where)
    return parsed


def _tampered(where: str) -> Tampered:
    return Tampered(
        "the run directory was changed or truncated",
        where=where,
        found="other bytes",
        expected="the bytes that were written",
        fix="delete the output directory and run again: what it says can no longer be trusted",
    )
