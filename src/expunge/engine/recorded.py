"""Recorded training: a trainer whose model is a function of (seed, set of records), and which writes a ledger."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer

from expunge.core import registry
from expunge.core.digest import keyed_int
from expunge.core.errors import ForeignRun, UsageError
from expunge.core.records import Records
from expunge.engine import adapters
from expunge.engine.adapters import Adapters
from expunge.engine.fingerprint import differences, fingerprint, pinned, unfilled
from expunge.engine.ledger import Entry, Head, Ledger, StepLine, settle, value_digest
from expunge.engine.loop import LoopConfig, train_mode
from expunge.engine.recorder import Recorder, Step, timetable
from expunge.engine.runtime import seed_everything


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """A trainer (``trainer(records, *, seed) -> model``) that can write a ledger, and be replayed from it.

    Attributes:
        loop: ``loop(recorder) -> model``: makes model and optimiser, tracks them, makes every step
            (:class:`expunge.Recorder`); a module-level function, or expunge's own (:func:`expunge.recorded`).
        epochs: passes over the records.
        steps: steps per epoch; fixed, since a number computed from the records would change without one of them.
        rule: ``drop``, or ``mask``: see ``engine/recorder``.
        threads: torch's threads; another number gives other bits.
        checkpoints: states to keep, evenly over the run: more of them make a replay shorter and the ledger larger.
        disk_mib: room for states in MiB, in the place of their number: those stay that make the expected replay for
            one record shortest, and the newest, from which a killed run goes on. 0: by number.
        derive: ``derive(records) -> mapping`` of JSON-ready values: whatever is computed from the data (means, class
            weights, a vocabulary); they are computed anew on what remains.
        augment: ``augment(batch, keys) -> batch``: a pure function; ``keys`` [B] are all it may draw from.
        enters: ``enters(id) -> epochs`` after which a record is first met, 0 for all by default: records that are
            likely to go should come late, so that their replay is short.
        stages: epochs after which training stood still and went on (:func:`expunge.train` with a ledger and more
            epochs); the last is ``epochs``.
        settings: JSON-ready settings of the loop, part of what makes a program this program.
    """

    loop: Callable[[Recorder], nn.Module]
    epochs: int
    steps: int
    rule: str = "drop"
    threads: int = 1
    checkpoints: int = 10
    disk_mib: float = 0.0
    derive: Callable[[Records], Mapping[str, Any]] | None = None
    augment: Callable[[Any, np.ndarray], Any] | None = None
    enters: Callable[[str], float] | None = None
    stages: tuple[int, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a run that means nothing."""
        for name, least in (("epochs", 1), ("steps", 1), ("threads", 1), ("checkpoints", 0), ("disk_mib", 0)):
            if getattr(self, name) < least:
                raise UsageError(
                    "a recorded run without work",
                    where=name,
                    found=str(getattr(self, name)),
                    expected=f"{least} or more",
                )
        if self.rule not in ("drop", "mask"):
            raise UsageError("unknown rule", where="rule", found=repr(self.rule), expected="'drop' or 'mask'")
        if self.rule == "mask" and isinstance(self.loop, Standard) and not by_record(self.loop.task):
            raise UsageError(
                "an empty slot stands for a record, and the records of this task are many units each",
                where="rule",
                found=f"'mask', and task '{self.loop.task}'",
                expected="'drop' where every scored token is a unit",
                fix="record with rule='drop'",
            )
        if self.stages and (self.stages[-1] != self.epochs or list(self.stages) != sorted(set(self.stages))):
            raise UsageError(
                "stages do not end with the run",
                where="stages",
                found=str(self.stages),
                expected=f"rising numbers, the last {self.epochs}",
            )

    @property
    def passes(self) -> int:
        """How many times a record is read."""
        return self.epochs

    @property
    def ours(self) -> bool:
        """Whether the loop is expunge's own: others must show once that a replay equals a run from scratch."""
        return isinstance(self.loop, Standard)

    @property
    def program(self) -> str:
        """A digest of the code and the settings that make a run, its length apart."""
        parts = {name: _source(getattr(self, name)) for name in ("loop", "derive", "augment")}
        return value_digest({**parts, "settings": dict(self.settings)})

    def describe(self) -> str:
        """Return a text that is equal for equal trainers."""
        enters = _source(self.enters)
        what = value_digest([self.program, self.epochs, self.steps, self.rule, self.threads, list(self.stages), enters])
        return f"recorded trainer of {_name(self.loop)}, program {what[:16]}"

    def __call__(self, records: Records, *, seed: int) -> nn.Module:
        """Return a new model trained on ``records``: a function of seed and set of records, not of their order."""
        return self.run(records, seed=seed).model

    def run(
        self,
        records: Records,
        *,
        seed: int,
        ledger: Ledger | None = None,
        enters: Mapping[str, float] | None = None,
        slots: tuple[Mapping[str, int], int] | None = None,
        expected: Sequence[StepLine] = (),
        derived: Mapping[str, Any] | None = None,
        until: int | None = None,
        advance: Callable[[], None] = lambda: None,
    ) -> Trained:
        """Train, and say what came of it.

        Args:
            records: what to train on.
            seed: of all random choices.
            ledger: written to; a run that it holds the beginning of goes on from its last checkpoint.
            enters: by id, in the place of what :attr:`enters` says.
            slots: of rule ``mask``: the slot of every id and the size of the table; dealt out anew by default.
            expected: lines that the first steps must reproduce.
            derived: what :attr:`derive` gives, where it was computed already.
            until: one past the last step to make; all by default.
            advance: called after every step.
        """
        when = [enters[name] for name in records.ids] if enters is not None else self.entering(records.ids)
        table = slots if slots is not None else self.slotted(records.ids, seed=seed)
        places = None if table is None else ([table[0][name] for name in records.ids], table[1])
        with pinned(self.threads):
            values = self.derived(records) if derived is None else derived
            recorder = Recorder(
                records,
                timetable(records, rule=self.rule, seed=seed, steps=self.steps, enters=when, slots=places),
                stages=self.stages or (self.epochs,),
                derived=values,
                augment=self.augment,
                ledger=ledger,
                checkpoints=self.checkpoints,
                disk=self.disk_mib * 2**20,
                expected=expected,
                until=until,
                advance=advance,
            )
            seed_everything(keyed_int(b"expunge start", seed) % 2**31)
            try:
                model = self.loop(recorder)
                state, weights = recorder.finish(model)
            finally:
                if ledger is not None:
                    ledger.close()
            model.eval()
        return Trained(model, state, weights, recorder)

    def derived(self, records: Records) -> Mapping[str, Any]:
        """Return the values that are computed from the records before the first step."""
        return {} if self.derive is None else dict(self.derive(records))

    def entering(self, ids: Sequence[str]) -> list[float]:
        """Return after how many epochs each record is first met."""
        return [0.0 if self.enters is None else float(self.enters(name)) for name in ids]

    def slotted(self, ids: Sequence[str], *, seed: int) -> tuple[dict[str, int], int] | None:
        """Return the place of every record in the table of rule ``mask``, which hangs on ids and seed alone."""
        if self.rule == "drop":
            return None
        order = sorted(ids, key=lambda name: keyed_int(b"expunge slot", seed, name))
        return {name: slot for slot, name in enumerate(order)}, len(order)

    def head(self, seed: int, values: Mapping[str, Any], slots: int) -> Head:
        """Return what a ledger of this run begins with; call it within :func:`pinned`."""
        return Head(
            program=self.program,
            rule=self.rule,
            seed=seed,
            stages=self.stages or (self.epochs,),
            steps=self.steps,
            slots=slots,
            threads=self.threads,
            environment=fingerprint(),
            derived=value_digest(values),
        )


@dataclass(frozen=True)
class Trained:
    """A model, digests of the whole state in which its training ended and of its own tensors, and the recorder."""

    model: nn.Module
    state: str
    weights: str
    recorder: Recorder


@dataclass(frozen=True, kw_only=True)
class Standard:
    """Expunge's own loop: the mean loss of a step's units; with ``micro_batch`` in parts of at most so many records.

    ``merge``: adapters go into the weights at the end; else they stay beside them, in a model that holds both.
    ``stacked``: adapters are trained in so many parts of the layers one after the other, each for as many epochs, those
    nearest the output first (S3T, Chowdhury et al. 2024, arXiv 2406.16257); 0: all at once.
    """

    build: Callable[..., nn.Module]
    task: str
    config: LoopConfig
    micro_batch: int = 0
    lora: int = 0
    lora_alpha: float = 16.0
    lora_layers: tuple[str, ...] = ()
    merge: bool = True
    stacked: int = 0

    def __call__(self, recorder: Recorder) -> nn.Module:
        """Make every step; return the model."""
        model = self.build(recorder.derived) if recorder.derived else self.build()
        beside = self._adapters(model, recorder.seed) if self.lora else None
        parts = beside.parts(self.stacked) if beside is not None and self.stacked else []
        task: Any = registry.load("tasks", self.task)()
        optimiser = self.config.optimise(model)
        recorder.track(model, optimiser)
        train_mode(model)
        with unfilled():  # from here on: a weight that `build` left empty is NaN, and told
            for step in recorder:
                now = step.epoch * self.stacked // recorder.epochs
                still = [p for number, part in enumerate(parts) for p in part.values() if number != now]
                self._make(step, recorder, model, optimiser, task, still)
        if beside is not None and self.merge:
            beside.merge()
        return model

    def up_to(self, trained: nn.Module, part: int, *, seed: int) -> nn.Module:
        """Return a new model as it was when the training of a ``part`` of the layers began.

        Of a run of :attr:`stacked` parts, with the ``seed`` of that run, and adapters beside the weights: what was
        trained by then is read off ``trained``, with which the run ended, since nothing later moved it.
        """
        seed_everything(keyed_int(b"expunge start", seed) % 2**31)
        model = self.build()
        done = self._adapters(model, seed).parts(self.stacked)[:part]
        ended = dict(trained.named_parameters(remove_duplicate=False))
        with torch.no_grad():
            for name, p in ((name, p) for each in done for name, p in each.items()):
                p.copy_(ended[name])
        return model.eval()

    def _adapters(self, model: nn.Module, seed: int) -> Adapters:
        return adapters.drawn(model, rank=self.lora, alpha=self.lora_alpha, names=self.lora_layers, seed=seed)

    def _make(
        self,
        step: Step,
        recorder: Recorder,
        model: nn.Module,
        optimiser: Optimizer,
        task: Any,
        still: Sequence[nn.Parameter],
    ) -> None:
        first, last = recorder.stage_of(step.epoch)
        place, whole = step.number - first * recorder.steps, (last - first) * recorder.steps
        for group in optimiser.param_groups:
            group["lr"] = self.config.rate(place, whole, epoch=step.epoch - first + 1)
        model.zero_grad(set_to_none=True)
        total, units, one_each = 0.0, 0, by_record(self.task)
        for part, weight in self._parts(step, recorder):
            losses = task.units(model, part).loss
            before, units = units, units + len(losses)
            by = len(step.indices) if one_each else max(1, units)
            if before and not one_each:  # how many a step has is known once all were read: the mean over those so far
                total *= before / by
                for p in model.parameters():
                    if p.grad is not None:
                        p.grad *= before / by
            loss = (losses if weight is None else losses * weight).sum() / by
            loss.backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        for p in still:
            p.grad = None  # and so the optimiser passes it over, its momentum and decay too
        self.config.cut(model)
        optimiser.step()
        step.done(total)

    def _parts(self, step: Any, recorder: Recorder) -> list[tuple[Any, Any]]:
        size, count = self.micro_batch, len(step.indices)
        weight = step.weight if recorder.rule == "mask" else None  # no slot is empty: nothing to weigh
        if not size or size >= count:
            return [(step.batch, weight)]
        starts = range(0, count, size)
        return [(_cut(step.batch, i, i + size), None if weight is None else weight[i : i + size]) for i in starts]


def recorded(
    build: Callable[..., nn.Module],
    *,
    config: LoopConfig,
    steps: int,
    task: str = "classification",
    micro_batch: int = 0,
    lora: int = 0,
    lora_alpha: float = 16.0,
    lora_layers: Sequence[str] = (),
    **more: Any,
) -> Recorded:
    """Return a recorded trainer with expunge's own loop.

    Args:
        build: ``build()`` makes a new, randomly initialised model, or ``build(derived)`` where values are derived from
            the records (``derive=``); a module-level function.
        config: optimiser, learning rate and its schedule, and epochs; ``batch_size`` is not used.
        steps: steps per epoch; records / steps is the mean number of records in a step.
        task: name of the task.
        micro_batch: gradients are accumulated over parts of at most so many records; 0 takes a step at once.
        lora: rank of the adapters (LoRA) that are trained in the place of the weights and merged into them at the end,
            by peft; 0: the weights themselves are trained.
        lora_alpha: adapters are added so many times, divided by their rank.
        lora_layers: linear layers with adapters, by name or its last part; none named: all but the head.
        more: further fields of :class:`Recorded`.
    """
    beside = {"lora": lora, "lora_alpha": float(lora_alpha), "lora_layers": tuple(lora_layers)} if lora else {}
    loop = Standard(build=build, task=task, config=config, micro_batch=micro_batch, **beside)
    return Recorded(loop=loop, epochs=config.epochs, steps=steps, **more)


def train(
    trainer: Any,
    records: Any,
    *,
    seed: int,
    ledger: str | Path,
    advance: Callable[[], None] = lambda: None,
) -> nn.Module:
    """Train on ``records`` and write a ledger; return the model.

    ``trainer`` is a :class:`Recorded`, or an :class:`expunge.ShardedTrainer`, which writes one ledger per member.
    Killed at any moment, the same call goes on from the last checkpoint. With the ledger of a finished run, more
    epochs and more records, it goes on from its end: what is new enters there, so that taking it out again is short.

    Raises:
        ForeignRun: the ledger is that of another run: other code, seed, rule, records or environment.
        Tampered: the ledger is broken.
    """
    if hasattr(trainer, "record"):
        return trainer.record(records, seed=seed, ledger=ledger)
    adopted: Records = registry.adopt("data", records)
    folder = Path(ledger)
    settle(folder)
    with pinned(trainer.threads):
        values = trainer.derived(adopted)
        if not (folder / "head.json").exists():
            made = _begin(trainer, adopted, seed, values, folder)
        else:
            made = Ledger(folder)
            trainer = _go_on(trainer, adopted, seed, values, made)
    entries = {entry.id: entry for entry in made.entries}
    slots = None if trainer.rule == "drop" else ({name: e.slot for name, e in entries.items()}, made.head.slots)
    return trainer.run(
        adopted,
        seed=seed,
        ledger=made,
        enters={name: entry.enters for name, entry in entries.items()},
        slots=slots,
        expected=list(made.lines()),
        derived=values,
        advance=advance,
    ).model


def _begin(trainer: Recorded, records: Records, seed: int, values: Mapping[str, Any], folder: Path) -> Ledger:
    table = trainer.slotted(records.ids, seed=seed)
    slots = table or ({}, 0)
    when = dict(zip(records.ids, trainer.entering(records.ids), strict=True))
    entries = [Entry(name, content, when[name], slots[0].get(name, -1)) for name, content in records.manifest.entries]
    return Ledger.begin(folder, trainer.head(seed, values, slots[1]), entries)


def _go_on(trainer: Recorded, records: Records, seed: int, values: Mapping[str, Any], ledger: Ledger) -> Recorded:
    """Return the trainer that goes on with a ledger; refuse one that is another run's."""
    held = {entry.id: entry for entry in ledger.entries}
    head, wrong = ledger.head, []
    given = dict(records.manifest.entries)
    changed = sum(given.get(name) != entry.content for name, entry in held.items())
    new = [name for name in records.ids if name not in held]
    longer = trainer.epochs > head.stages[-1]
    for what, differs in (
        ("program", head.program != trainer.program),
        ("seed", head.seed != seed),
        ("rule", head.rule != trainer.rule),
        ("steps", head.steps != trainer.steps),
        ("epochs", trainer.epochs < head.stages[-1]),
        (f"{changed} records that are gone or changed", changed),
        (f"{len(new)} new records, and no epochs for them", new and not longer),
        ("more epochs, before the run was finished", longer and not head.finished),
        ("new records under rule mask, whose table is fixed", new and trainer.rule == "mask"),
        ("values derived from the records", head.derived != value_digest(values)),
    ):
        wrong += [what] if differs else []
    wrong += differences(head.environment, fingerprint())
    if wrong:
        raise ForeignRun(
            "the ledger is that of another run",
            where=ledger.folder.name,
            found="; ".join(wrong[:5]),
            expected="the same code, settings, seed, records and environment; more records only with more epochs",
            fix="choose another folder; to leave records out, replay (expunge erase)",
        )
    stages = tuple(dict.fromkeys((*head.stages, trainer.epochs)))
    if longer:
        ledger.checkpoint(head.total)  # compared now: what is amended below is what it is compared with
        start = float(head.stages[-1])
        ledger.rewrite([*held.values(), *(Entry(name, given[name], start) for name in new)])
        ledger.amend(stages=stages, finished="", model="", proven=False)
    return replace(trainer, stages=stages)


@functools.cache
def by_record(task: str) -> bool:
    """Return whether each record of a task is one unit; of texts every scored token is one."""
    meaning: Any = registry.load("tasks", task)()
    return bool(meaning.labelled or not meaning.scored)


def _cut(value: Any, start: int, stop: int) -> Any:
    if isinstance(value, Mapping):
        return {name: _cut(each, start, stop) for name, each in value.items()}
    return value[start:stop] if hasattr(value, "shape") else type(value)(_cut(each, start, stop) for each in value)


def _name(function: Any) -> str:
    inner = function.build if isinstance(function, Standard) else function
    return f"{getattr(inner, '__module__', '?')}:{getattr(inner, '__qualname__', type(inner).__qualname__)}"


def _source(function: Any) -> Any:
    """Return what stands for a function in a digest: its name and its text; of our own loop its settings, too."""
    if function is None:
        return None
    if isinstance(function, Standard):
        length_apart = replace(function.config, epochs=0)
        beside = [function.lora, function.lora_alpha, list(function.lora_layers)] if function.lora else []
        # When a part begins hangs on the length of the run: a longer one is no continuation.
        beside += [f"in {function.stacked} parts of {function.config.epochs} epochs"] if function.stacked else []
        # Without it the ledger of a training whose steps were sums over tokens, divided by records, would pass for one.
        beside += [] if by_record(function.task) else ["a mean over units"]
        return ["expunge's loop", function.task, length_apart, function.micro_batch, *beside, _source(function.build)]
    if isinstance(function, functools.partial):
        return ["partial", _source(function.func), repr(function.args), repr(sorted(function.keywords.items()))]
    plain = inspect.isroutine(function) or inspect.isclass(function)
    try:
        text = inspect.getsource(function if plain else type(function))
    except (OSError, TypeError) as error:
        raise UsageError(
            "the text of a function cannot be found, so another one could not be told from it",
            where=_name(function),
            found="no source",
            expected="a function or class in a file or a notebook",
            fix="write it into a module",
        ) from error
    return [_name(function), text, [] if plain else repr(sorted(vars(function).items()))]
