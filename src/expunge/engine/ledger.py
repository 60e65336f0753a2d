"""The ledger: the written record of a training run, from which it can be replayed without some of its records.

    head.json         the program: rule, epochs, steps, seed, settings, environment, values derived from the data
    records.jsonl     every record that was trained on: [id, content digest, epochs after which it enters, slot]
    steps.bin         104 bytes a step, each chained to the one before
    checkpoints/N/    parameters that are not frozen, buffers, optimiser and schedule before step N

The folder is private: it holds ids, the seed, and states that saw every record. Killed at any moment it holds a
usable prefix of the run: steps are synced at most once a second, checkpoints are written aside, synced and renamed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn

from expunge.core.digest import combine, sha256, tensor_digest
from expunge.core.errors import Refused, Tampered, UsageError
from expunge.core.serial import build, canonical, parse
from expunge.core.storage import ASIDE, discard, storing, sweep, sync_folder, write_file, write_folder
from expunge.engine.checkpoint import fill, model_of

_STEP = struct.Struct("<IIdd16s32s")
_SIZE = _STEP.size + 32
_SYNC_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Head:
    """What a run is.

    Attributes:
        program: digest of the code and settings that made the run.
        rule: ``drop`` or ``mask``: what becomes of a step when a record is left out.
        seed: of every random choice; whoever knows it can tell which record met which step.
        stages: epochs after which the run stood still and went on with more records; the last is the whole length.
        steps: steps per epoch, fixed before any record was counted.
        slots: of rule ``mask``: how many places the table of batches has.
        threads: torch's threads.
        environment: what the bits depend on (``engine/fingerprint``).
        derived: digest of the values that were computed from the records before the first step.
        finished: digest of the state after the last step; empty while the run goes on.
        model: digest of the tensors of the model that the run gave; empty while it goes on.
        proven: whether a run from scratch without a record was found equal to a replay, for a loop of the user's own.
    """

    program: str
    rule: str
    seed: int
    stages: tuple[int, ...]
    steps: int
    slots: int = 0
    threads: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)
    derived: str = ""
    finished: str = ""
    model: str = ""
    proven: bool = False

    @property
    def total(self) -> int:
        """The number of steps of the whole run."""
        return self.stages[-1] * self.steps


@dataclass(frozen=True)
class Entry:
    """One record that was trained on: ``enters`` counts epochs, ``slot`` is its place in the table of rule ``mask``."""

    id: str
    content: str
    enters: float = 0.0
    slot: int = -1


@dataclass(frozen=True)
class StepLine:
    """One step as it was written: ``state`` is the digest of the checkpoint before it, empty where there is none."""

    number: int
    count: int
    loss: float
    rate: float
    words: bytes
    state: str

    def packed(self) -> bytes:
        """Return the line without its chain."""
        state = bytes.fromhex(self.state) if self.state else bytes(32)
        return _STEP.pack(self.number, self.count, self.loss, self.rate, self.words, state)


class Ledger:
    """A ledger in ``folder``; :meth:`begin` makes one, the constructor opens one.

    Raises:
        UsageError: there is no ledger.
        Tampered: a line, the head or the records are not what was written.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        settle(self.folder)
        sweep(self.folder)
        try:
            self.head: Head = build(Head, _read(self.folder / "head.json"), where="head.json")
        except FileNotFoundError:
            raise UsageError(
                "no ledger",
                where=self.folder.name,
                found="no head.json",
                expected="the folder in which a training run was recorded",
                fix="record the run: expunge.train(..., ledger=folder)",
            ) from None
        self._file: BinaryIO | None = None
        self._synced = time.monotonic()
        self._chain, self.length = self._verify()

    @classmethod
    def begin(cls, folder: str | Path, head: Head, entries: Sequence[Entry]) -> Ledger:
        """Make an empty ledger; the folder must not hold one.

        Raises:
            Refused: the folder holds something already.
        """
        folder = Path(folder)
        if folder.exists() and any(folder.iterdir()):
            raise Refused(
                "the folder of the ledger is not empty",
                where=folder.name,
                found="files",
                expected="an empty folder, or the ledger of this very run",
                fix="choose another folder, or delete what is there",
            )
        with storing(folder):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        cls._write_records(folder, entries)
        write_file(folder / "head.json", canonical(head) + b"\n", mode=0o600)
        return cls(folder)

    # --- what is in it ---

    @property
    def entries(self) -> list[Entry]:
        """All records that were trained on."""
        lines = (self.folder / "records.jsonl").read_bytes().splitlines()
        try:
            # One array a line, and no generic reader: there are as many as there are records.
            return [Entry(*_entry(*json.loads(line))) for line in lines]
        except (ValueError, TypeError) as error:
            raise Tampered(
                "the ledger is broken", where="records.jsonl", found="no entry", expected="what was written"
            ) from error

    @property
    def checkpoints(self) -> dict[int, Path]:
        """The folders of all checkpoints by the step before which they were taken, in order."""
        found = (self.folder / "checkpoints").glob("[0-9]*")
        return {int(path.name): path for path in sorted(found)}

    def lines(self) -> Iterator[StepLine]:
        """Yield the steps in order."""
        data = (self.folder / "steps.bin").read_bytes() if self.length else b""
        for start in range(0, self.length * _SIZE, _SIZE):
            number, count, loss, rate, words, state = _STEP.unpack_from(data, start)
            yield StepLine(number, count, loss, rate, words, state.hex() if any(state) else "")

    def checkpoint(self, step: int) -> Path:
        """Return the folder of the checkpoint before ``step`` after comparing it with what the ledger says of it.

        Raises:
            Tampered: it is not the state that was written.
        """
        folder = self.checkpoints[step]
        said = next((line.state for line in self.lines() if line.number == step), "")
        if step == self.head.total and self.head.finished:
            said = self.head.finished
        # A state that was written just before a kill has no line yet: the next command makes the step, and writes it.
        if (said or step < self.length) and state_digest(read_files(folder)) != said:
            raise Tampered(
                "a checkpoint is not what was written",
                where=f"checkpoints/{folder.name}",
                found="other bytes",
                expected="the state of which the ledger keeps the digest",
                fix="restore it; or delete this folder: the run is then taken up from the state before it",
            )
        return folder

    def states(self) -> Iterator[tuple[StepLine, dict[str, Tensor]]]:
        """Yield every step with the tensors of the model before it, and a last line without a step for the end.

        Raises:
            Tampered: a state is missing, or not what was written.
        """
        folders = self.checkpoints
        end = StepLine(self.head.total, 0, 0.0, 0.0, b"", self.head.finished)
        for line in (*self.lines(), end):
            files = read_files(folders[line.number]) if line.number in folders else {}
            if not files or state_digest(files) != line.state:
                raise Tampered(
                    "a state of the recorded run is not what was written",
                    where=f"checkpoints, before step {line.number}",
                    found="other bytes" if files else "nothing",
                    expected="the state of which the ledger keeps the digest",
                    fix="restore it from a copy, or choose a method that needs no states between",
                )
            yield line, model_of(files)

    def ends_with(self, model: nn.Module) -> bool:
        """Return whether the parameters and buffers of ``model`` are those of the model that the run gave."""
        if not self.checkpoints:
            return False
        self.checkpoint(max(self.checkpoints))  # a last state that is damaged is told
        return weights_digest(model.state_dict()) == self.head.model

    @property
    def chain(self) -> str:
        """The digest that stands for all steps so far."""
        return self._chain.hex()

    @property
    def bytes(self) -> int:
        """The size of the folder."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())

    # --- writing ---

    def append(self, line: StepLine) -> None:
        """Write one step; synced at most once a second, and by :meth:`sync`."""
        packed = line.packed()
        self._chain = hashlib.sha256(self._chain + packed).digest()
        if self._file is None:
            self._file = (self.folder / "steps.bin").open("ab", buffering=1 << 20)
        self._file.write(packed + self._chain)  # into memory: what a disk can refuse is the sync
        self.length += 1
        if time.monotonic() - self._synced > _SYNC_S:
            self.sync()

    def sync(self) -> None:
        """Make all steps written so far survive a loss of power."""
        if self._file is not None:
            with storing(self.folder / "steps.bin"):
                self._file.flush()
                os.fsync(self._file.fileno())
        self._synced = time.monotonic()

    def close(self) -> None:
        """Sync, and let go of the file."""
        if self._file is not None:
            self.sync()
            self._file.close()
            self._file = None

    def amend(self, **changes: Any) -> None:
        """Write the head anew with some fields changed."""
        self.head = replace(self.head, **changes)
        write_file(self.folder / "head.json", canonical(self.head) + b"\n", mode=0o600)

    def rewrite(self, entries: Sequence[Entry]) -> None:
        """Write the list of records anew."""
        self._write_records(self.folder, entries)

    def cut(self, length: int) -> None:
        """Take out all steps from ``length`` on, and the checkpoints of states after them."""
        self.close()
        path = self.folder / "steps.bin"
        data = path.read_bytes()[: length * _SIZE] if path.exists() else b""
        write_file(path, data, mode=0o600)
        for step, folder in self.checkpoints.items():
            if step > length:
                discard(folder)
        self._chain, self.length = self._verify()

    def copy(self, folder: Path, *, length: int, entries: Sequence[Entry], **changes: Any) -> Ledger:
        """Return a new ledger in ``folder`` with the first ``length`` steps and the checkpoints among them."""
        head = replace(self.head, finished="", model="", **changes)
        made = Ledger.begin(folder, head, entries)
        data = (self.folder / "steps.bin").read_bytes()[: length * _SIZE] if length else b""
        write_file(folder / "steps.bin", data, mode=0o600)
        # Even the state before the first step may hang on what was derived from the records.
        same = head.derived == self.head.derived
        for step in self.checkpoints if same else ():
            if step <= length:
                source = self.checkpoint(step)
                write_folder(folder / "checkpoints" / source.name, partial(fill, files=read_files(source)))
        return Ledger(made.folder)

    @staticmethod
    def _write_records(folder: Path, entries: Sequence[Entry]) -> None:
        write_file(folder / "records.jsonl", _lines(entries), mode=0o600)

    def _verify(self) -> tuple[bytes, int]:
        """Return the last link of the chain and the number of steps; a line that a kill cut short is left out."""
        # What may be amended later is left out; the rest of the head is the first link.
        first = replace(self.head, stages=(), finished="", model="", proven=False)
        chain = hashlib.sha256(canonical(first)).digest()
        path = self.folder / "steps.bin"
        if not path.exists():
            return chain, 0
        data = path.read_bytes()
        whole = len(data) // _SIZE
        for index in range(whole):
            start = index * _SIZE
            packed, said = data[start : start + _STEP.size], data[start + _STEP.size : start + _SIZE]
            chain = hashlib.sha256(chain + packed).digest()
            if chain != said or _STEP.unpack(packed)[0] != index:
                raise Tampered(
                    "the ledger is broken",
                    where=f"{self.folder.name}/steps.bin, step {index}",
                    found="a line that does not follow from the one before",
                    expected="the lines as they were written",
                    fix="restore the ledger from a copy; a broken one can be replayed from nowhere",
                )
        if len(data) != whole * _SIZE:
            write_file(path, data[: whole * _SIZE], mode=0o600)
        return chain, whole


def beside(place: Path) -> tuple[Path, Path]:
    """Return where a ledger lies that takes the place of the one in ``place``, and that one while it does."""
    new, old = (place.with_name(f"{ASIDE}{place.name}-{word}") for word in ("new", "old"))
    return new, old


def settle(place: Path) -> None:
    """Complete an exchange of the ledger in ``place`` that was killed: the new one stands, the old one is destroyed.

    The old one is put aside only once the new one is whole; before that there is nothing to complete.
    """
    new, old = beside(place)
    if not old.is_dir():
        return
    with storing(place):
        if not place.exists():
            (new if new.is_dir() else old).rename(place)
            sync_folder(place.parent)
        shutil.rmtree(old, ignore_errors=True)


def _lines(entries: Sequence[Entry]) -> bytes:
    rows = ([entry.id, entry.content, entry.enters, entry.slot] for entry in entries)
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


def _entry(name: Any, content: Any, enters: Any, slot: Any) -> tuple[str, str, float, int]:
    if not (type(name) is str and type(content) is str and type(enters) is float and type(slot) is int):
        raise TypeError
    return name, content, enters, slot


def read_files(folder: Path) -> dict[str, bytes]:
    """Return the files of a checkpoint by name."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def state_digest(files: Mapping[str, bytes]) -> str:
    """Return the digest of a state, over its files."""
    return combine([_named_digest(name, data) for name, data in files.items()])


def _named_digest(name: str, data: bytes) -> str:
    found = hashlib.sha256(name.encode() + b"\n")
    found.update(data)  # not joined first: a state is large
    return found.hexdigest()


def weights_digest(state: Mapping[str, Tensor]) -> str:
    """Return the digest of tensors, over name, kind, shape and bytes of each."""
    found = []
    for name, tensor in state.items():
        data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        found.append(tensor_digest(name, str(tensor.dtype), tensor.shape, data.data))
    return combine(found)


def words_digest(words: bytes) -> bytes:
    """Return 16 bytes that stand for the ordered fingerprints of a step's records."""
    return hashlib.blake2b(words, digest_size=16).digest()


def value_digest(value: Any) -> str:
    """Return a digest of JSON-ready values."""
    return sha256(canonical(value))


def _read(path: Path) -> Any:
    return _json(path.read_bytes(), path.name)


def _json(data: bytes, where: str) -> Any:
    try:
        return parse(data)
    except (ValueError, json.JSONDecodeError) as error:
        raise Tampered("the ledger is broken", where=where, found="no JSON", expected="what was written") from error
