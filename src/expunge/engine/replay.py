"""Replay: from the last state before a forgotten record was first met, on what remains, to the same end.

Source: the idea of replaying from a write-ahead log, "Unlearning at Scale" (arXiv 2508.12220); the filter rules and
the forecast are derived (``docs/guides/networks.md``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from expunge.core.errors import Obstacle, Refused, UsageError
from expunge.core.problem import Problem
from expunge.core.records import Records
from expunge.engine.batches import fingerprints
from expunge.engine.fingerprint import differences, fingerprint, pinned
from expunge.engine.ledger import Entry, Ledger, value_digest, words_digest
from expunge.engine.recorded import Recorded, Trained
from expunge.engine.recorder import Timetable

UNPROVEN = "it was not shown that a replay of this loop equals a run from scratch"


@dataclass(frozen=True)
class Forecast:
    """What a replay will do.

    Attributes:
        first: the first step that a forgotten record met.
        start: the step from which is replayed: the last checkpoint before ``first``.
        total: the steps of the run.
        visits: record visits of the replay.
        whole: record visits of a run from scratch on what remains.
        derived: whether a value that was computed from the records changes without the forgotten ones: then all of it
            is done anew.
    """

    first: int
    start: int
    total: int
    visits: int
    whole: int
    derived: bool

    @property
    def share(self) -> float:
        """The steps of the replay as a share of all."""
        return (self.total - self.start) / self.total

    def words(self) -> list[str]:
        """Return what it says to people, and what would make the next deletion cheaper."""
        said = [
            f"first met at step {self.first} of {self.total}, replayed from step {self.start}: {self.share:.0%} of all"
            " steps"
        ]
        if self.derived:
            said.append("a value that was computed from the records changes without them, so that nothing can be kept")
        elif self.share > 0.5:
            said.append(
                "cheaper next time: let records that are likely to go enter late (enters=), train in one pass, or shard"
            )
        if self.first - self.start > 0.05 * self.total:
            said.append(f"more checkpoints would save up to {(self.first - self.start) / self.total:.0%} of the steps")
        return said


@dataclass(frozen=True)
class Replayed:
    """What a replay gave: the model, its new ledger, what was forecast, and how many steps proved equal before."""

    trained: Trained
    ledger: Ledger
    forecast: Forecast
    stretch: int

    @property
    def model(self) -> nn.Module:
        """The model."""
        return self.trained.model


def timetable_of(ledger: Ledger, entries: Sequence[Entry]) -> Timetable:
    """Return which of these records met which step of a recorded run."""
    head = ledger.head
    slots = None
    if head.rule == "mask":
        slots = (np.array([entry.slot for entry in entries], dtype=np.int64), head.slots)
    return Timetable(
        head.rule,
        head.seed,
        head.steps,
        fingerprints(tuple(entry.id for entry in entries)),
        np.array([entry.enters for entry in entries], dtype=np.float64),
        slots,
    )


def forecast(ledger: Ledger, forget: Sequence[str], *, derived: bool = False) -> Forecast:
    """Return what a replay without these records will do; reads no record.

    Args:
        ledger: of the run.
        forget: ids; those that the run never saw count for nothing.
        derived: whether a derived value changes without them.
    """
    entries, gone = ledger.entries, set(forget)
    table, total = timetable_of(ledger, entries), ledger.head.total
    epochs = ledger.head.stages[-1]
    out = np.array([i for i, entry in enumerate(entries) if entry.id in gone], dtype=np.int64)
    first = 0 if derived else table.first_use(out, epochs)
    # Strictly before: the stretch from there to the first use must come out as recorded, which shows state that no
    # checkpoint holds.
    start = 0 if derived else max((step for step in ledger.checkpoints if step < first), default=0)
    start = total if first == total else start  # never met: there is nothing to do
    enters = np.array([entry.enters for entry in entries if entry.id not in gone])
    whole = int(np.maximum(0, epochs - np.floor(enters)).sum())
    before = 0
    for epoch in range(start // ledger.head.steps + 1):
        if epoch < epochs:
            stop = ledger.head.steps if epoch < start // ledger.head.steps else start % ledger.head.steps
            before += sum(int((step >= 0).sum()) for step in table.epoch(epoch)[:stop])
    # No forgotten record was met before the start, so these visits are all of records that remain.
    return Forecast(first, start, total, whole - before, whole, derived)


def ledger_of(problem: Problem) -> Ledger:
    """Return the ledger of the training of ``problem``, which has one.

    Raises:
        UsageError: it is of another kind, that of an ensemble.
    """
    assert problem.ledger is not None
    return Ledger(problem.ledger)


def obstacles_of(
    problem: Problem, more: Callable[[Ledger, nn.Module], Sequence[Obstacle]] = lambda ledger, model: ()
) -> list[Obstacle]:
    """Return everything that keeps the recorded run of ``problem`` from being made anew on what remains.

    Reads ledger and retained records; then the model, and ``more`` that a method asks of both.
    """
    try:
        ledger = ledger_of(problem)
    except UsageError as error:
        return list(error.obstacles)
    found = obstacles(ledger, problem.trainer, problem.retain_view, problem.forget_ids)
    if found:
        return found
    model = problem.source.open()
    return [*other_end(ledger, model), *more(ledger, model)]


def obstacles(ledger: Ledger, trainer: object, records: Records, forget: Sequence[str]) -> list[Obstacle]:
    """Return every reason why a replay would not give the bits of a run from scratch; reads the retained records."""
    if not isinstance(trainer, Recorded):
        return [
            Obstacle(
                what="replay needs the recorded trainer that wrote the ledger",
                found=type(trainer).__name__,
                fix="pass trainer=expunge.recorded(...) or expunge.Recorded(...) to the Problem",
            )
        ]
    head, found = ledger.head, []
    for what, said, now in (
        ("the code or the settings of the training differ from those of the ledger", head.program, trainer.program),
        ("another filter rule than that of the ledger", head.rule, trainer.rule),
        ("another number of steps per epoch than in the ledger", head.steps, trainer.steps),
        ("another number of epochs than in the ledger", head.stages[-1], trainer.epochs),
        ("another number of threads than in the ledger", head.threads, trainer.threads),
    ):
        if said != now:
            found.append(
                Obstacle(
                    what=what,
                    where="ledger",
                    found=str(now)[:16],
                    expected=str(said)[:16],
                    fix="replay with the trainer, and the version of expunge, with which the run was recorded",
                )
            )
    if not head.finished:
        found.append(
            Obstacle(
                what="the recorded run is not finished",
                where="ledger",
                found=f"{ledger.length} steps",
                expected=f"{head.total} steps",
                fix="finish it with the call that began it",
            )
        )
    with pinned(head.threads):
        other = differences(head.environment, fingerprint())
    if other:
        found.append(
            Obstacle(
                what="the environment is not that of the recorded run",
                where="ledger",
                found="; ".join(other),
                expected="the same versions, instructions and kernels",
                fix="replay where the run was recorded, or retrain",
            )
        )
    found += _strangers(ledger, records, forget)
    forged = _forged(ledger)
    if forged is not None:
        found.append(
            Obstacle(
                what="the list of records is not that of the recorded run",
                where=f"records.jsonl, step {forged}",
                found="other records than those that met the step",
                expected="the list as it was written",
                fix="restore the ledger from a copy",
            )
        )
    if not trainer.ours and not head.proven:
        found.append(
            Obstacle(
                what=UNPROVEN,
                where="ledger",
                found="a loop of your own, not compared yet",
                expected="one comparison, without a record, in this environment",
                fix="run `expunge ledger prove job.toml` once, or expunge.engine.replay.prove in Python",
            )
        )
    return found


def other_end(ledger: Ledger, model: nn.Module) -> list[Obstacle]:
    """Return that ``model`` is not the one that the recorded run ended with; nothing where it is."""
    if ledger.ends_with(model):
        return []
    return [
        Obstacle(
            what="the model is not the one that the recorded run ended with",
            where="ledger",
            found="other weights or buffers",
            expected="the last state of the ledger",
            fix="pass the ledger of this model's own training",
        )
    ]


def replay(
    trainer: Recorded,
    ledger: Ledger,
    records: Records,
    forget: Sequence[str],
    into: Path,
    *,
    trusted: bool = False,
    advance: Callable[[], None] = lambda: None,
) -> Replayed:
    """Return the model of the recorded run without the records in ``forget``, and write its ledger.

    Args:
        trainer: as it was when the run was recorded.
        ledger: of the run.
        records: what remains, in any order; forgotten records are not needed.
        forget: ids of those that must go.
        into: an empty folder for the new ledger; killed, the same call goes on in it.
        trusted: also for a loop of one's own of which nothing was shown yet; :func:`prove` shows it with that.
        advance: called after every step.

    Raises:
        Refused: something stands in the way (:func:`obstacles`).
        Diverged: the stretch before the first forgotten record does not come out as recorded.
    """
    found = obstacles(ledger, trainer, records, forget)
    _refuse([wrong for wrong in found if not (trusted and wrong.what == UNPROVEN)])
    head, gone = ledger.head, set(forget)
    kept = [entry for entry in ledger.entries if entry.id not in gone]
    with pinned(head.threads):
        values = trainer.derived(records)
    changed = value_digest(values) != head.derived
    seen = forecast(ledger, forget, derived=changed)
    if (into / "head.json").exists():
        made = Ledger(into)
    else:
        made = ledger.copy(into, length=seen.start, entries=kept, derived=value_digest(values), proven=head.proven)
    expected = [*ledger.lines()][: seen.first]
    trained = _recorded(trainer, ledger).run(
        records,
        seed=head.seed,
        ledger=made,
        **_places(ledger, kept),
        expected=expected,
        derived=values,
        advance=advance,
    )
    return Replayed(trained, Ledger(into), seen, seen.first - seen.start)


def prove(trainer: Recorded, records: Records, ledger: Ledger, into: Path, *, tries: int = 3) -> bool:
    """Compare replays without one record each with runs from scratch; note in the ledger that they are equal.

    What a user's own loop needs once before a replay of it may be called bitwise: state that it keeps beside model,
    optimiser and schedule, or randomness of its own, shows here. Costs about two trainings a try.

    Args:
        trainer: as it was when the run was recorded.
        records: all records of the run.
        ledger: of the run.
        into: an empty folder to work in.
        tries: how many records are left out, one after the other: the one that is met last, and some by chance.

    Raises:
        Refused: no replay would start from a checkpoint, so that none would show anything.
    """
    entries, epochs = ledger.entries, ledger.head.stages[-1]
    table = timetable_of(ledger, entries)
    first = table.first_uses(epochs)
    usable = np.flatnonzero(first > min((step for step in ledger.checkpoints if step), default=ledger.head.total))
    if not len(usable):
        raise Refused(
            "every replay of this run would start from nothing, and show nothing",
            where="ledger",
            found=f"{len(ledger.checkpoints)} checkpoints",
            expected="one before some record is first met",
            fix="record with more checkpoints",
        )
    chance = np.random.default_rng(ledger.head.seed).choice(usable, min(tries - 1, len(usable)), replace=False)
    equal = True
    for number, index in enumerate(dict.fromkeys([int(usable[first[usable].argmax()]), *map(int, chance)])):
        name = entries[index].id
        rest = records.without([name])
        kept = [entry for entry in entries if entry.id != name]
        replayed = replay(trainer, ledger, rest, [name], into / str(number), trusted=True)
        scratch = _recorded(trainer, ledger).run(rest, seed=ledger.head.seed, **_places(ledger, kept))
        equal = equal and (scratch.state, scratch.weights) == (replayed.trained.state, replayed.trained.weights)
    ledger.amend(proven=equal)
    return equal


def reproduce(
    trainer: Recorded,
    ledger: Ledger,
    records: Records,
    into: Path,
    *,
    start: int,
    stop: int,
    advance: Callable[[], None] = lambda: None,
) -> tuple[int, int]:
    """Run recorded steps again and compare every loss, rate, order and state; return (first, one past the last).

    Args:
        trainer: as it was when the run was recorded.
        ledger: of the run.
        records: all records of the run.
        into: an empty folder to work in.
        start: a step; the stretch begins with the last checkpoint not after it.
        stop: one past the last step.
        advance: called after every step.

    Raises:
        Refused: something stands in the way (:func:`obstacles`).
        Diverged: a step came out otherwise than it is written.
    """
    _refuse([wrong for wrong in obstacles(ledger, trainer, records, ()) if wrong.what != UNPROVEN])
    first = max((step for step in ledger.checkpoints if step <= start), default=0)
    last = min(max(stop, first + 1), ledger.length)
    made = ledger.copy(into, length=first, entries=ledger.entries)
    _recorded(trainer, ledger).run(
        records,
        seed=ledger.head.seed,
        ledger=made,
        **_places(ledger, ledger.entries),
        expected=list(ledger.lines()),
        until=last,
        advance=advance,
    )
    return first, last


def _recorded(trainer: Recorded, ledger: Ledger) -> Recorded:
    """Return the trainer with the stages of the recorded run: schedules start anew with each."""
    return replace(trainer, stages=ledger.head.stages)


def _places(ledger: Ledger, entries: Sequence[Entry]) -> dict[str, Any]:
    """Return when records enter, and their slots, as the ledger has them."""
    head = ledger.head
    return {
        "enters": {entry.id: entry.enters for entry in entries},
        "slots": None if head.rule == "drop" else ({entry.id: entry.slot for entry in entries}, head.slots),
    }


def _forged(ledger: Ledger) -> int | None:
    """Return the first step that other records met than the list of records says; None where all agree."""
    table, steps = timetable_of(ledger, ledger.entries), ledger.head.steps
    epoch, found = -1, []
    for line in ledger.lines():
        if line.number // steps != epoch:
            epoch = line.number // steps
            found = table.epoch(epoch)
        held = found[line.number % steps]
        held = held[held >= 0]
        if line.count != len(held) or line.words != words_digest(table.words[held].tobytes()):
            return line.number
    return None


def _refuse(wrong: Sequence[Obstacle]) -> None:
    if wrong:
        raise Refused(
            "this run cannot be replayed: " + "; ".join(each.what for each in wrong),
            where="ledger",
            found=wrong[0].found,
            expected=wrong[0].expected,
            fix=wrong[0].fix,
        )


def _strangers(ledger: Ledger, records: Records, forget: Sequence[str]) -> list[Obstacle]:
    gone, said = set(forget), {entry.id: entry.content for entry in ledger.entries}
    now = {name: content for name, content in records.manifest.entries if name not in gone}
    lost = sum(name not in now for name in said if name not in gone)
    new = sum(name not in said for name in now)
    other = sum(said.get(name, content) != content for name, content in now.items())
    counts = (
        (lost, "of the recorded run are not at hand"),
        (new, "were not in the recorded run"),
        (other, "have changed"),
    )
    return [
        Obstacle(
            what=f"the data do not match the ledger: records {words}",
            where="training records",
            found=str(count),
            expected="the records of the recorded run, as they were",
            fix="restore them, or name them in the request, too",
        )
        for count, words in counts
        if count
    ]
