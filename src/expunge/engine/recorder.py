"""Which records meet which step of a training run, so that leaving one out moves no other; and the record of it.

Rule ``drop``: a record's step in an epoch is ``floor(u * steps)``, with ``u`` a keyed hash of (seed, epoch, id) and
``steps`` fixed beforehand; the order inside a step is that of ``u``. Without a record its step is one shorter, and
equals that of a run which never had it. Rule ``mask``: a table of fixed batches is dealt out once; a record that is
left out leaves an empty slot, of weight 0 and content zero, so that shapes and the noise of dropout stay.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from expunge.core.digest import keyed_int
from expunge.core.errors import Diverged, ForeignRun, UsageError
from expunge.core.records import Records
from expunge.core.storage import discard, write_folder
from expunge.engine.anatomy import MIXERS
from expunge.engine.batches import fingerprints, places
from expunge.engine.checkpoint import Moving, fill, read_state, state_files
from expunge.engine.ledger import Ledger, StepLine, state_digest, weights_digest, words_digest
from expunge.engine.runtime import seed_everything

CANDIDATES = 200
"""States written in a run with a disk budget, at the most; a record's replay is at most 1/200 of the run longer."""


@dataclass(frozen=True)
class Timetable:
    """Which records meet which step.

    Attributes:
        rule: ``drop`` or ``mask``.
        seed: of every choice.
        steps: steps per epoch.
        words: 64 bits of a hash of every id, [n].
        enters: epochs after which each record enters, [n].
        slots: of rule ``mask``: the place of each record in the table, [n], and the size of the table.
    """

    rule: str
    seed: int
    steps: int
    words: np.ndarray
    enters: np.ndarray
    slots: tuple[np.ndarray, int] | None = None

    def epoch(self, epoch: int) -> list[np.ndarray]:
        """Return the indices of the records of every step of one epoch; -1 stands for an empty slot."""
        if self.slots is not None:
            return self._masked(epoch)
        drawn = self.drawn(epoch)
        found = self._when(epoch, drawn)
        here = np.flatnonzero(found < 1)
        if (self.enters <= epoch).all():  # then the later is the one with the larger number: one sort, not two
            order = here[np.argsort(drawn[here], kind="stable")]
        else:
            order = here[np.lexsort((drawn[here], found[here]))]
        edges = np.searchsorted(found[order], np.arange(1, self.steps) / self.steps)
        return np.split(order, edges)

    def first_uses(self, epochs: int) -> np.ndarray:
        """Return the first step that each record meets, [n]; the number of all steps for one that meets none."""
        found = np.full(len(self.words), epochs * self.steps, dtype=np.int64)
        for epoch in range(epochs):
            for index, step in enumerate(self.epoch(epoch)):
                here = step[step >= 0]
                found[here] = np.minimum(found[here], epoch * self.steps + index)
            if (found < (epoch + 1) * self.steps).all():
                break
        return found

    def first_use(self, indices: np.ndarray, epochs: int) -> int:
        """Return the first step that any of these records meets, the number of all steps where none does."""
        for epoch in range(epochs):
            if self.slots is not None:
                table = self._masked(epoch)
                hit = next((i for i, step in enumerate(table) if np.isin(step, indices).any()), None)
                if hit is not None:
                    return epoch * self.steps + hit
            else:
                when = self._when(epoch, self.drawn(epoch))[indices].min(initial=np.inf)
                if when < 1:
                    return epoch * self.steps + int(
                        np.searchsorted(np.arange(1, self.steps) / self.steps, when, "right")
                    )
        return epochs * self.steps

    def drawn(self, epoch: int) -> np.ndarray:
        """Return a number for every record, [n] uint64, anew for every epoch: all that is random about it."""
        return places(self.words, seeds=[self.seed], epoch=epoch)[0]

    def _when(self, epoch: int, drawn: np.ndarray) -> np.ndarray:
        """Return the part of the epoch at which each record is met, [n] in [0, 1); infinite where it is not in yet."""
        u = (drawn >> np.uint64(11)) * 2.0**-53
        late = self.enters - epoch
        # Who enters within the epoch is met in what is left of it.
        when = np.where(late > 0, late + (1 - late) * u, u)
        return np.where(late >= 1, np.inf, when)

    def _masked(self, epoch: int) -> list[np.ndarray]:
        slot_of, size = self.slots or (self.words, 0)
        held = np.full(size, -1, dtype=np.int64)
        held[slot_of] = np.arange(len(slot_of))
        held[slot_of[self.enters > epoch]] = -1
        key = np.arange(size, dtype=np.uint64) + np.uint64(1)
        deal = np.argsort(places(key * np.uint64(0x9E3779B97F4A7C15), seeds=[self.seed], epoch=epoch)[0], kind="stable")
        return np.array_split(held[deal], self.steps)


@dataclass
class Step:
    """One step: its records, and where it stands.

    Attributes:
        number: counted over all epochs, from 0.
        epoch: from 0.
        index: within the epoch, from 0.
        indices: places of the records in the training data; -1 stands for an empty slot (rule ``mask``).
        keys: one number per record, a function of (seed, epoch, id): what augmentation may depend on, [B] uint64.
    """

    number: int
    epoch: int
    index: int
    indices: np.ndarray
    keys: np.ndarray
    _recorder: Recorder = field(repr=False)
    _loss: float | None = None

    @cached_property
    def batch(self) -> Any:
        """The records as one batch, augmented; an empty slot has the shape of a record and zeros for content."""
        batch = self._recorder._read(self.indices)
        augment = self._recorder.augment
        return batch if augment is None else augment(batch, self.keys)

    @cached_property
    def weight(self) -> Tensor:
        """1 for a record, 0 for an empty slot, [B]."""
        return torch.from_numpy((self.indices >= 0).astype(np.float32))

    def mean(self, losses: Tensor) -> Tensor:
        """Return the mean of losses [B]; under rule ``mask`` over all slots, an empty one counting as 0."""
        return (losses * self.weight).sum() / len(self.indices) if self._recorder.rule == "mask" else losses.mean()

    def done(self, loss: Tensor | float) -> None:
        """Say that the optimiser made this step."""
        self._loss = float(loss.detach() if isinstance(loss, Tensor) else loss)


class Recorder:
    """Yields the steps of a run and writes down what they were; made by :class:`expunge.Recorded`.

    In a loop of one's own::

        recorder.track(model, optimiser, schedule)
        for step in recorder:
            x, y = step.batch
            loss = step.mean(criterion(model(x), y))     # criterion with reduction="none"
            optimiser.zero_grad(); loss.backward(); optimiser.step()
            step.done(loss)

    Python's, NumPy's and torch's generators are seeded before every step; the schedule is advanced after every
    step, one without records included: such a step is not yielded.

    Attributes:
        records: what is trained on.
        derived: what was computed from the records before the first step.
        history: mean loss of every finished epoch.
        augment: ``augment(batch, keys) -> batch``, a pure function.
    """

    def __init__(
        self,
        records: Records,
        table: Timetable,
        *,
        stages: Sequence[int],
        derived: Mapping[str, Any],
        augment: Callable[[Any, np.ndarray], Any] | None,
        ledger: Ledger | None,
        checkpoints: int,
        disk: float = 0,
        expected: Sequence[StepLine] = (),
        until: int | None = None,
        advance: Callable[[], None] = lambda: None,
    ) -> None:
        self.records, self.derived, self.augment, self.rule = records, derived, augment, table.rule
        self.history: list[float] = []
        self.visits = 0
        self.stopped = ""
        self._table, self._stages, self._ledger = table, tuple(stages), ledger
        self._total = stages[-1] * table.steps
        self._disk = disk if ledger is not None else 0
        self._every = max(1, -(-self._total // checkpoints)) if checkpoints and not self._disk else 0
        self._expected, self._until, self._advance = expected, until, advance
        self._model: Moving | None = None
        self._optimiser: torch.optim.Optimizer | None = None
        self._schedule: LRScheduler | None = None
        self._start, self._sums, self._ended = 0, [0.0, 0.0], ""

    @property
    def epochs(self) -> int:
        """The number of epochs."""
        return self._stages[-1]

    @property
    def steps(self) -> int:
        """The number of steps of an epoch."""
        return self._table.steps

    @property
    def seed(self) -> int:
        """The seed of the run."""
        return self._table.seed

    def stage_of(self, epoch: int) -> tuple[int, int]:
        """Return (first epoch, one past the last) of the stage in which an epoch lies: schedules start anew with it."""
        last = next(stop for stop in self._stages if epoch < stop)
        return max((stop for stop in self._stages if stop <= epoch), default=0), last

    def track(
        self, model: nn.Module, optimiser: torch.optim.Optimizer, schedule: LRScheduler | None = None
    ) -> nn.Module:
        """Name what training changes; it is brought to the state from which the run goes on.

        Parameters that are frozen now must stay so: checkpoints hold their digest alone.

        Raises:
            UsageError: rule ``mask`` with a module that mixes the records of a batch.
            ForeignRun: the frozen parameters are not those of the recorded run.
        """
        self._model, self._optimiser, self._schedule = Moving(model), optimiser, schedule
        frozen = self._model.frozen()
        self._frozen = weights_digest(frozen) if frozen else ""
        mixing = [name for name, module in model.named_modules() if isinstance(module, MIXERS)]
        if self.rule == "mask" and mixing:
            raise UsageError(
                "an empty slot would still count: a module mixes the records of a batch",
                where=f"module {mixing[0]}",
                found=type(model.get_submodule(mixing[0])).__name__,
                expected="modules that treat each record alone",
                fix="record with rule='drop', or normalise over features (LayerNorm, GroupNorm)",
            )
        # Batch normalisation cannot train on a single record: such a step is passed over, as one without any.
        self._least = 2 if mixing else 1
        if self._ledger is not None and self._ledger.checkpoints:
            place = read_state(self._ledger.checkpoint(max(self._ledger.checkpoints)), self._model, optimiser)
            if place["frozen"] != self._frozen:
                raise ForeignRun(
                    "the frozen weights are not those of the recorded run",
                    where="track()",
                    found="another base",
                    expected="the model that the recorded run trained adapters or layers of",
                    fix="build the model from the same base",
                )
            self._start, self.history, self._sums = place["step"], place["history"], place["sums"]
            if schedule is not None:
                schedule.load_state_dict(place["schedule"])
        return model

    def stop(self, reason: str) -> None:
        """End the run after the step that is under way, by a rule that looks at :attr:`history` or at held-out data."""
        self.stopped = reason

    def __iter__(self) -> Iterator[Step]:
        """Yield the steps that are still to be made."""
        assert self._optimiser is not None, "track(model, optimiser) first"
        steps = self._table.steps
        for epoch in range(self._start // steps, self.epochs):
            keys, table = self._table.drawn(epoch), self._table.epoch(epoch)
            for index in range(self._start % steps if epoch == self._start // steps else 0, steps):
                number, indices = epoch * steps + index, table[index]
                if self._disk and number == self._start + 1:  # from here on the optimiser has its state
                    self._every = self._interval(number)
                # Where training stood still a checkpoint lies, whatever the interval: its digest goes into the chain.
                due = (self._every and number % self._every == 0) or (not index and epoch in self._stages)
                state = self._checkpoint(number) if due else ""
                seed_everything(keyed_int(b"expunge step", self._table.seed, number) % 2**31)
                step = Step(number, epoch, index, indices, keys[indices], self)
                count = len(indices) if self.rule == "drop" else int((indices >= 0).sum())
                if count >= self._least:
                    yield step
                    self.visits += count
                    if step._loss is None:
                        raise UsageError(
                            "a step was not ended",
                            where=f"step {number}",
                            found="the next one is asked for",
                            expected="step.done(loss) after optimiser.step()",
                            fix="call it in every step",
                        )
                # Read now: the loop may set the rate itself.
                self._write(step, count, float(self._optimiser.param_groups[0]["lr"]), state)
                if self.stopped or number + 1 == self._until:
                    self._end()
                    return
            self._end_epoch(epoch)
        self._end()

    def finish(self, model: nn.Module) -> tuple[str, str]:
        """Return the digest of the last state, over all that was tracked, and that of the ``model`` made from it.

        Raises:
            UsageError: the loop was left before its end.
        """
        if not self._ended:
            raise UsageError(
                "the loop ended before the run did",
                where="recorded loop",
                found="track() was not called" if self._model is None else "steps that were not made",
                expected="track(), and every step that the recorder yields",
                fix="to end early call recorder.stop(reason) and let the loop go on; do not break out of it",
            )
        made = weights_digest(model.state_dict())
        if self._ledger is not None:
            self._ledger.close()
            self._ledger.amend(finished=self._ended, model=made)
        return self._ended, made

    def _write(self, step: Step, count: int, rate: float, state: str) -> None:
        loss = step._loss if step._loss is not None else 0.0
        if not math.isfinite(loss):
            raise Diverged(
                "training diverged: the loss is NaN or infinite",
                where=f"step {step.number}",
                fix="lower the learning rate",
            )
        self._sums = [self._sums[0] + loss * count, self._sums[1] + count]
        if self._schedule is not None:
            self._schedule.step()
        self._advance()
        if self._ledger is None:
            return
        held = step.indices if self.rule == "drop" else step.indices[step.indices >= 0]
        words = words_digest(self._table.words[held].tobytes())
        line = StepLine(step.number, count, loss, rate, words, state)
        if step.number < len(self._expected) and not _agree(line, self._expected[step.number]):
            raise Diverged(
                "the replay leaves the recorded run before a forgotten record was met",
                where=f"step {step.number}",
                found="another loss, rate, state or order of records",
                expected="what the ledger says",
                fix="replay in the environment in which the run was recorded, with the same code",
            )
        if step.number == self._ledger.length:  # else it is one that was written before the run was killed
            self._ledger.append(line)

    def _end(self) -> None:
        """Write the last state, before the loop makes anything else of the model (merges adapters into it, say)."""
        assert self._model is not None
        assert self._optimiser is not None
        if self._frozen and weights_digest(self._model.frozen()) != self._frozen:
            raise UsageError(
                "weights that were frozen when training began have changed",
                where="recorded loop",
                found="parameters that no checkpoint holds",
                expected="what is trained to need gradients from track() on",
                fix="call requires_grad_(True) before track()",
            )
        self._optimiser.zero_grad(set_to_none=True)
        self._ended = state_digest(self._files(self._total))
        if self._ledger is not None and self._total not in self._ledger.checkpoints:
            self._save(self._total)

    def _end_epoch(self, epoch: int) -> None:
        self.history.append(self._sums[0] / max(1.0, self._sums[1]))
        self._sums = [0.0, 0.0]

    def _checkpoint(self, number: int) -> str:
        """Write the state before a step and return its digest; a state that is there already only tells its digest."""
        return self._save(number) if self._ledger is not None else ""

    def _save(self, number: int) -> str:
        assert self._ledger is not None
        files = self._files(number)
        folder = self._ledger.folder / "checkpoints" / f"{number:09d}"
        if not folder.exists():
            self._ledger.sync()  # a checkpoint stands on the steps before it
            write_folder(folder, partial(fill, files=files))
            if self._disk:
                self._thin()
        return state_digest(files)

    def _interval(self, number: int) -> int:
        """Return after how many steps to write a state that may be kept: twice as many as there is room for.

        Raises:
            UsageError: there is no room for one.
        """
        size = sum(map(len, self._files(number).values()))
        if size > self._disk:
            raise UsageError(
                "the disk budget holds no state",
                where="disk_mib",
                found=f"{self._disk / 2**20:.3g} MiB",
                expected=f"{size / 2**20:.3g} MiB or more, several times that for several states",
                fix="raise the budget",
            )
        return -(-self._total // min(CANDIDATES, 2 * int(self._disk // size)))

    def _thin(self) -> None:
        """Discard states until the others fit the budget, the newest never: each time the one that is missed least."""
        assert self._ledger is not None
        kept = self._ledger.checkpoints
        sizes = {step: sum(file.stat().st_size for file in folder.iterdir()) for step, folder in kept.items()}
        while len(sizes) > 1 and sum(sizes.values()) > self._disk:
            step = least_missed(sorted(sizes), self._first_uses)
            discard(kept[step])
            del sizes[step]

    @cached_property
    def _first_uses(self) -> np.ndarray:
        return self._table.first_uses(self.epochs)

    def _files(self, number: int) -> dict[str, bytes]:
        assert self._model is not None
        assert self._optimiser is not None
        schedule = None if self._schedule is None else _plain(self._schedule.state_dict())
        place = {
            "step": number,
            "history": self.history,
            "sums": self._sums,
            "schedule": schedule,
            "frozen": self._frozen,
        }
        return state_files(self._model, self._optimiser, place)

    def _read(self, indices: np.ndarray) -> Any:
        if self.rule == "drop" or (indices >= 0).all():
            return self.records.read(indices.tolist())
        # Any record lends its shape to an empty slot; nothing of its content stays.
        batch = self.records.read(np.where(indices < 0, int(indices.max()), indices).tolist())
        return _zeroed(batch, torch.from_numpy(indices < 0))


def least_missed(states: Sequence[int], first_uses: np.ndarray) -> int:
    """Return which state, the last apart, makes requests for one record least dearer when it is discarded.

    Args:
        states: steps before which states lie, rising.
        first_uses: the first step that each record meets, [n]; each is equally likely to be asked for.
    """
    # A replay starts strictly before the first use. Without a state it starts from the one before, or from nothing.
    between = np.histogram(first_uses, [*(step + 1 for step in states), np.inf])[0]
    further = between * np.diff([0, *states])
    return states[int(np.argmin(further[:-1]))]


def timetable(
    records: Records,
    *,
    rule: str,
    seed: int,
    steps: int,
    enters: Sequence[float],
    slots: tuple[Sequence[int], int] | None,
) -> Timetable:
    """Return the timetable of ``records``."""
    words = fingerprints(tuple(records.ids))
    places_ = None if slots is None else (np.asarray(slots[0], dtype=np.int64), slots[1])
    return Timetable(rule, seed, steps, words, np.asarray(enters, dtype=np.float64), places_)


def _zeroed(value: Any, empty: Tensor) -> Any:
    if isinstance(value, Tensor):
        value = value.clone()
        value[empty] = 0
        return value
    if isinstance(value, Mapping):
        return {name: _zeroed(each, empty) for name, each in value.items()}
    return type(value)(_zeroed(each, empty) for each in value)


def _agree(line: StepLine, said: StepLine) -> bool:
    """Return whether two lines are of one step; a state that only one of them took the digest of is not compared."""
    states = {line.state, said.state} - {""}
    return replace(line, state="") == replace(said, state="") and len(states) < 2


def _plain(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state of a schedule, of which all but functions and the optimiser is plain data."""
    return {k: v for k, v in state.items() if isinstance(v, (int, float, str, list, dict, type(None)))}
