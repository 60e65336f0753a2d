"""The problem: a spec that serialises, and live handles that never do."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from expunge.core import _beside, _requested, registry
from expunge.core._classes import outside
from expunge.core._search import Search
from expunge.core.canaries import Planted
from expunge.core.digest import combine, keyed, sha256
from expunge.core.errors import ExpungeError, InvalidProblem, NotFound, Obstacle, UsageError
from expunge.core.model import ModelSource
from expunge.core.records import Records, View
from expunge.core.request import Request
from expunge.core.serial import canonical, plain
from expunge.core.task import Task
from expunge.core.trigger import Triggered

T = TypeVar("T")
Trainer = Callable[..., Any]
"""``trainer(records, *, seed) -> new model``; reads its records only through the view it is given."""


@dataclass(frozen=True)
class ProblemSpec:
    """What a problem is, without content: enough to tell whether two problems are the same."""

    task: str
    model: str
    train: str
    train_count: int
    forget: str
    forget_count: int
    holdout: str | None
    holdout_count: int
    trainer: str | None
    request: str
    canaries: str | None = None
    calibration: str | None = None
    groups: str | None = None
    counterexamples: str | None = None
    triggered: str | None = None
    variants: str | None = None

    @property
    def digest(self) -> str:
        """Return the identity of the problem."""
        return sha256(canonical(self))

    def committed(self, secret: bytes) -> ProblemSpec:
        """Return the spec that may be published: digests of records and request keyed, so that none can be guessed.

        A plain digest of a single record's id could be found by trying ids; with the secret its holder can
        still show what a commitment stands for.
        """
        names = (
            *("train", "forget", "holdout", "request", "calibration", "groups", "counterexamples", "triggered"),
            "variants",
        )
        plain = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        hidden: dict[str, Any] = {name: keyed(secret, name, digest).hex() for name, digest in plain.items()}
        return replace(self, **hidden)


@dataclass(frozen=True)
class Origin:
    """Where a problem was made, so that another process can make it again: ``module:function``.

    ``request`` and ``also`` are what it is given beside its arguments: what must be forgotten, and what was found to be
    like that (:meth:`Problem.widened`).
    """

    target: str
    folder: str
    arguments: tuple[tuple[str, Any], ...] = ()
    request: Request | None = None
    also: tuple[str, ...] = ()

    def make(self) -> Problem:
        """Import the function and call it.

        Raises:
            UsageError: not importable, or it does not return a Problem.
        """
        module, _, function = self.target.partition(":")
        if self.folder and self.folder not in sys.path:
            sys.path.insert(0, self.folder)
        try:
            factory = getattr(importlib.import_module(module), function)
        except Exception as error:  # the user's module may raise anything while it is imported
            known = isinstance(error, (ImportError, AttributeError))  # the text of another error could hold data
            raise UsageError(
                f"cannot import {self.target!r}",
                where=_place(error, self.folder),
                found=f"{type(error).__name__}: {error}" if known else type(error).__name__,
                expected="module:function, importable from the folder of the job file",
                fix="check the spelling, and run the command in the environment that has your project",
            ) from error
        if not callable(factory):
            raise UsageError(
                f"cannot call {self.target!r}",
                where="problem",
                found=type(factory).__name__,
                expected="a function that returns an expunge.Problem",
                fix="name the function itself",
            )
        problem = factory(**dict(self.arguments))
        if not isinstance(problem, Problem):
            raise UsageError(
                f"{self.target} did not return a Problem",
                where="problem",
                found=type(problem).__name__,
                expected="an expunge.Problem",
                fix="return expunge.Problem(...)",
            )
        return problem.made_by(self)


@dataclass(eq=False, kw_only=True)
class Problem:
    """What must be forgotten, from which model, with what at hand.

    Attributes:
        model: the original: a ``torch.nn.Module`` (copied, never changed) or a model source.
        train: all training records, the forget set included: :class:`Records`, a dataset, or arrays.
        forget: ids of the records to forget; or give ``request``.
        task: name of the task, e.g. ``classification``.
        holdout: records of the same distribution that were never trained on.
        calibration: where the retained records are gone: a few records of the same kind that stand for them, real or
            synthetic. ``train`` then holds what must be forgotten and nothing else, and there is no trainer.
        trainer: ``trainer(records, *, seed) -> new model``; makes references and exact retraining possible.
        request: the request, where more than ids is known.
        groups: the group of records, by id: of holdout records, so that gaps between groups are judged (one without a
            group counts for none), and of all retained records where a method is to balance them.
        counterexamples: records to learn from beside the retained ones: what the forgotten ones crowded out, real or
            synthetic.
        ledger: folder in which the training of the model was recorded (``expunge.train``); makes replay possible.
        canaries: what was planted in the training records (``expunge.data.canaries``): those of them that were trained
            on are forgotten with the request, the others are what a model that never saw them is known by.
        triggered: where a backdoor is to go: held-out records with its trigger on them, and the class that it leads to.
        variants: of a language model's records, by name (:data:`VARIANTS`): records whose ids are ``RECORD#NUMBER``,
            with the id of the record that they are a variant of. None of them may have been trained on.
        origin: set by :class:`Origin`; a problem without it cannot be resumed by another process.
    """

    model: Any
    train: Any
    forget: Sequence[str] = ()
    task: str = "classification"
    holdout: Any = None
    calibration: Any = None
    trainer: Trainer | None = None
    request: Request = Request()
    canaries: Planted | None = None
    triggered: Triggered | None = None
    groups: Mapping[str, str] = field(default_factory=dict)
    counterexamples: Any = None
    ledger: str | Path | None = None
    variants: Mapping[str, Any] = field(default_factory=dict)
    origin: Origin | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Refuse one id in the place of a list of ids, and the record of the canaries in that of what was planted."""
        if isinstance(self.forget, str):
            raise _one_text("forget")
        if self.canaries is not None and not isinstance(self.canaries, Planted):
            raise UsageError(
                "canaries are not what was planted",
                where="canaries",
                found=type(self.canaries).__name__,
                expected="the Planted that `plant` or `replant` returns",
                fix="canaries=replant(records, Canaries.load(path)), with all records, without canaries",
            )

    def made_by(self, origin: Origin) -> Problem:
        """Return the problem with its origin; the origin's request, where it has one, replaces none or its own."""
        request = origin.request
        if request is not None and (self.forget or _names(self.request)):
            raise UsageError(
                "the request is given twice",
                where="job file and problem function",
                found="both say what must be forgotten",
                expected="one of them",
                fix="name what must be forgotten in one place only",
            )
        made = replace(self, origin=replace(origin, also=()), request=request or self.request)
        return made.widened(origin.also)

    def widened(self, ids: Sequence[str]) -> Problem:
        """Return the problem with further records to forget, which were found to be like those of the request.

        Raises:
            UsageError: one id in the place of a list of ids.
        """
        if isinstance(ids, str):
            raise _one_text("ids")
        origin = None if self.origin is None else replace(self.origin, also=(*self.origin.also, *ids))
        return replace(self, origin=origin, request=replace(self.request, also=(*self.request.also, *ids)))

    def __reduce__(self) -> tuple[Any, ...]:
        """Cross a process boundary by the origin where there is one, else by the handles."""
        if self.origin is not None:
            return (Origin.make, (self.origin,))
        return (
            _rebuild,
            (
                self.source,
                self.records,
                tuple(self.forget),
                self.task,
                self.held_out,
                self.trainer,
                self.request,
                self.canaries,
                self.ledger,
                self.calibration if self.calibration is None else self.retain_view,
                dict(self.groups),
                self.more_records,
                None if self.triggered is None else replace(self.triggered, records=self.triggered_records),
                self.variant_records,
            ),
        )

    @cached_property
    def source(self) -> ModelSource:
        """The model source."""
        source: ModelSource = registry.adopt("models", self.model)
        return source

    @cached_property
    def records(self) -> Records:
        """All training records."""
        records: Records = registry.adopt("data", self.train)
        return records

    @cached_property
    def held_out(self) -> Records | None:
        """The holdout records, if any."""
        return None if self.holdout is None else registry.adopt("data", self.holdout)

    @cached_property
    def triggered_records(self) -> Records | None:
        """The records with the trigger on them, if any."""
        return None if self.triggered is None else registry.adopt("data", self.triggered.records)

    @cached_property
    def more_records(self) -> Records | None:
        """The counter-examples, if any."""
        return None if self.counterexamples is None else registry.adopt("data", self.counterexamples)

    @cached_property
    def variant_records(self) -> dict[str, Records]:
        """The variants of records, by name."""
        return {name: registry.adopt("data", records) for name, records in self.variants.items()}

    @cached_property
    def meaning(self) -> Task:
        """The task that says how a model meets a batch."""
        task: Task = registry.load("tasks", self.task)()
        return task

    @cached_property
    def planted_ids(self) -> frozenset[str]:
        """Ids of the canaries that are forgotten with the request."""
        return frozenset(self.canaries.included) if self.canaries is not None else frozenset()

    @property
    def made_from(self) -> Mapping[str, str]:
        """Ids of canaries by those of the records that they were made from."""
        return self.canaries.made_from if self.canaries is not None else {}

    @cached_property
    def search(self) -> Search:
        """The records, searched for what the request names beside ids."""
        return Search(self.records, self.request)

    @cached_property
    def forget_ids(self) -> tuple[str, ...]:
        """Ids to forget, in the order of the training records; unknown ids are :meth:`validate`'s business."""
        wanted = {*self.forget, *self.request.ids, *self.request.also, *self.planted_ids}
        wanted |= {canary for source, canary in self.made_from.items() if source in wanted}
        wanted |= {name for pair in self.request.associations for name in self.search.telling(pair, all)}
        wanted |= {name for holders in self.search.texts_held for name in holders}
        subjects = set(self.request.subjects)
        pairs = zip(self.records.ids, self.records.subjects, strict=True)
        return tuple(name for name, subject in pairs if name in wanted or subject in subjects)

    @cached_property
    def truth(self) -> dict[str, int]:
        """The number of the true class of each record that the request corrects; of what is no class nothing."""
        read = {name: self.records.class_number(label) for name, label in self.request.corrections.items()}
        return {name: number for name, number in read.items() if number is not None}

    @cached_property
    def associated(self) -> tuple[str, ...]:
        """Ids of retained records that tell of one subject of an association, which is to stay known."""
        gone = set(self.forget_ids)
        told = {name for pair in self.request.associations for name in self.search.telling(pair, any)}
        return tuple(name for name in self.records.ids if name in told - gone)

    @cached_property
    def forget_view(self) -> View:
        """The forget set."""
        return self.records.select(self.forget_ids)

    @cached_property
    def retain_view(self) -> View:
        """The retain set, or the calibration records that stand for it."""
        if self.calibration is not None:
            calibration: Records = registry.adopt("data", self.calibration)
            return calibration.select(calibration.ids)
        return self.records.without(self.forget_ids)

    @cached_property
    def spec(self) -> ProblemSpec:
        """The spec; reads every record once."""
        holdout = self.held_out
        return ProblemSpec(
            task=self.task,
            model=self.source.digest(),
            train=self.records.manifest.digest,
            train_count=len(self.records),
            forget=combine([sha256(name.encode()) for name in self.forget_ids]),
            forget_count=len(self.forget_ids),
            holdout=None if holdout is None else holdout.manifest.digest,
            holdout_count=0 if holdout is None else len(holdout),
            trainer=None if self.trainer is None else name_of(self.trainer),
            request=sha256(canonical(_asked(self.request))),
            canaries=None if self.canaries is None else self.canaries.commitment,
            calibration=None if self.calibration is None else self.retain_view.manifest.digest,
            groups=sha256(canonical(dict(self.groups))) if self.groups else None,
            counterexamples=None if self.more_records is None else self.more_records.manifest.digest,
            triggered=None
            if self.triggered is None or self.triggered_records is None
            else sha256(canonical([self.triggered_records.manifest.digest, self.triggered.target])),
            variants=sha256(canonical({name: part.manifest.digest for name, part in self.variant_records.items()}))
            if self.variants
            else None,
        )

    def validate(self) -> list[Obstacle]:
        """Return everything that is wrong, at once; reads every record twice and runs the model once."""
        found: list[Obstacle] = []
        source = _attempt(lambda: self.source, found)
        records = _attempt(lambda: self.records, found)
        holdout = _attempt(lambda: self.held_out, found)
        task = _attempt(lambda: self.meaning, found)
        if source is not None:
            found += source.examine()
        more = _attempt(lambda: self.more_records, found)
        stand_ins = _attempt(lambda: self.retain_view if self.calibration is not None else None, found)
        for part in (records, holdout, more, stand_ins):
            found += part.examine() if part is not None else []
        if records is not None:
            found += _requested.obstacles(self, records) + _beside.obstacles(self, records, holdout)
        found += _beside.groups(self)
        model = _attempt(source.open, found) if source is not None and task is not None else None
        if task is not None:
            marked = _attempt(lambda: self.triggered_records, found)
            found += _beside.triggered(self, records, marked)
            variants = _attempt(lambda: self.variant_records, found) or {}
            found += _beside.variants(records, holdout, variants)
            named = [("training records", records), ("holdout", holdout), ("triggered records", marked)]
            named += [("counter-examples", more), ("calibration records", stand_ins)]
            for where, part in (*named, *variants.items()):
                found += task.examine(model, part, where=where) if part is not None and len(part) else []
            if records is not None:
                found += outside(task, model, records, corrections=self.truth, triggered=self.triggered)
        return found

    def check(self) -> list[Obstacle]:
        """Raise if anything fatal is wrong; return what is merely worth knowing.

        Raises:
            NotFound: nothing else is wrong than that nothing of what the request names was found.
            InvalidProblem: lists all obstacles.
        """
        found = self.validate()
        fatal = [obstacle for obstacle in found if obstacle.fatal]
        missing = _attempt(lambda: [] if self.forget_ids else _requested.not_found(self, self.records), []) or []
        if fatal and set(fatal) <= set(missing):
            raise NotFound(fatal)
        if fatal:
            raise InvalidProblem(fatal)
        return found


def _asked(request: Request) -> dict[str, Any]:
    """Return a request as plain data, without what it leaves open: runs that were begun before there was it go on."""
    said: dict[str, Any] = plain(request)
    return {name: value for name, value in said.items() if value or name not in ("also", "texts")}


def _names(request: Request) -> bool:
    """Return whether a request says what must be forgotten."""
    return any((request.ids, request.also, request.subjects, request.associations, request.texts))


def _one_text(where: str) -> UsageError:
    return UsageError(
        "one text in the place of a list of ids",
        where=where,
        found="str",
        expected="a list of ids",
        fix=f"{where}=[...], with brackets around a single id, too",
    )


def _attempt(make: Callable[[], T], found: list[Obstacle]) -> T | None:
    try:
        return make()
    except ExpungeError as error:
        found.extend(error.obstacles)
        return None


def _place(error: Exception, folder: str) -> str:
    """Return the line of the user's own project where an import failed; only files in ``folder`` are his."""
    if isinstance(error, SyntaxError) and error.filename:  # what cannot be read has no frame
        return f"problem, {Path(error.filename).name}, line {error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if folder and Path(frame.filename).parent == Path(folder)]
    return f"problem, {Path(own[-1].filename).name}, line {own[-1].lineno}" if own else "problem"


def name_of(trainer: Trainer) -> str:
    """Return what a trainer is known by: what it says of itself, or where it stands."""
    describe = getattr(trainer, "describe", None)
    if callable(describe):
        return str(describe())
    return f"{getattr(trainer, '__module__', '?')}:{getattr(trainer, '__qualname__', type(trainer).__qualname__)}"


def _rebuild(
    source: Any,
    records: Any,
    forget: Any,
    task: str,
    holdout: Any,
    trainer: Any,
    request: Request,
    canaries: Planted | None,
    ledger: str | Path | None,
    calibration: Any,
    groups: Mapping[str, str],
    counterexamples: Any,
    triggered: Triggered | None,
    variants: Mapping[str, Any],
) -> Problem:
    return Problem(
        model=source,
        train=records,
        forget=forget,
        task=task,
        holdout=holdout,
        trainer=trainer,
        request=request,
        canaries=canaries,
        ledger=ledger,
        calibration=calibration,
        groups=groups,
        counterexamples=counterexamples,
        triggered=triggered,
        variants=variants,
    )
