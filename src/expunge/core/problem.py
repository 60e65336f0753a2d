"""The problem: a spec that serialises, and live handles that never do."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from expunge.core import registry
from expunge.core._classes import outside
from expunge.core.canaries import Planted
from expunge.core.digest import combine, keyed, sha256
from expunge.core.errors import ExpungeError, InvalidProblem, NotFound, Obstacle, UsageError
from expunge.core.model import ModelSource
from expunge.core.phrases import Phrases, parts_of, words_of
from expunge.core.records import Records, View
from expunge.core.request import Request
from expunge.core.serial import canonical, plain
from expunge.core.task import Task
from expunge.core.trigger import Triggered

T = TypeVar("T")
Trainer = Callable[..., Any]
"""``trainer(records, *, seed) -> new model``; reads its records only through the view it is given."""
VARIANTS = {
    "paraphrased_question": "the question in other words, with an answer",
    "paraphrased_answer": "the question with the right answer in other words",
    "wrong_answer": "the question with a wrong answer, worded as the paraphrased one",
    "alternative": "the question with an answer to give in the place of the right one",
}
"""What variants of a text there may be, by name."""


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
        groups: the group of records, by id: of all holdout records, so that gaps between groups are judged, and of
            those training records that a method is to balance.
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
    def _made_from(self) -> Mapping[str, str]:
        return self.canaries.made_from if self.canaries is not None else {}

    @cached_property
    def forget_ids(self) -> tuple[str, ...]:
        """Ids to forget, in the order of the training records; unknown ids are :meth:`validate`'s business."""
        wanted = {*self.forget, *self.request.ids, *self.request.also, *self.planted_ids}
        wanted |= {canary for source, canary in self._made_from.items() if source in wanted}
        wanted |= {name for pair in self.request.associations for name in self._telling(pair, all)}
        wanted |= {name for holders in self._texts_held for name in holders}
        subjects = set(self.request.subjects)
        pairs = zip(self.records.ids, self.records.subjects, strict=True)
        return tuple(name for name, subject in pairs if name in wanted or subject in subjects)

    @cached_property
    def associated(self) -> tuple[str, ...]:
        """Ids of retained records that tell of one subject of an association, which is to stay known."""
        gone = set(self.forget_ids)
        told = {name for pair in self.request.associations for name in self._telling(pair, any)}
        return tuple(name for name in self.records.ids if name in told - gone)

    def _telling(self, pair: Sequence[str], which: Callable[..., bool]) -> list[str]:
        """Return ids of records that tell of ``which`` (all, any) of these subjects: are theirs, or name them."""
        pairs, named = zip(self.records.ids, self.records.subjects, strict=True), self._named
        return [name for name, subject in pairs if which(subject == each or name in named[each] for each in pair)]

    @cached_property
    def _named(self) -> dict[str, set[str]]:
        """Ids of the records whose texts name a subject, of each that stands in an association."""
        subjects = list(dict.fromkeys(each for pair in self.request.associations for each in pair))
        return {each: set(held) for each, held in zip(subjects, self._holding(subjects), strict=True)}

    @cached_property
    def _of_texts(self) -> bool:
        """Whether the records are texts: these can be searched for words."""
        return len(self.records) > 0 and self.records.words(0) is not None

    @cached_property
    def _texts_held(self) -> list[list[str]]:
        return self._holding(self.request.texts)

    def _holding(self, phrases: Sequence[str]) -> list[list[str]]:
        """Return for each phrase the ids of the records whose texts hold it, word for word; reads every text once."""
        holders: list[list[str]] = [[] for _ in phrases]
        if not holders or not self._of_texts:
            return holders
        sought = Phrases(phrases)
        for i, name in enumerate(self.records.ids):
            for place in sought.within(self.records.words(i) or ""):
                holders[place].append(name)
        return holders

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
            found += self._request_obstacles(records) + self._copies(records) + self._overlap(records, holdout)
            found += self._strays(records)
            found += self._counter_obstacles(holdout)
        found += self._group_obstacles()
        model = _attempt(source.open, found) if source is not None and task is not None else None
        if task is not None:
            marked = _attempt(lambda: self.triggered_records, found)
            found += self._trigger_obstacles(records, marked)
            variants = _attempt(lambda: self.variant_records, found) or {}
            found += self._variant_obstacles(records, holdout, variants)
            named = [("training records", records), ("holdout", holdout), ("triggered records", marked)]
            named += [("counter-examples", more), ("calibration records", stand_ins)]
            for where, part in (*named, *variants.items()):
                found += task.examine(model, part, where=where) if part is not None and len(part) else []
            if records is not None:
                corrections, triggered = self.request.corrections, self.triggered
                found += outside(task, model, records, corrections=corrections, triggered=triggered)
        return found

    def check(self) -> list[Obstacle]:
        """Raise if anything fatal is wrong; return what is merely worth knowing.

        Raises:
            NotFound: nothing else is wrong than that nothing of what the request names was found.
            InvalidProblem: lists all obstacles.
        """
        found = self.validate()
        fatal = [obstacle for obstacle in found if obstacle.fatal]
        missing = _attempt(lambda: [] if self.forget_ids else self._not_found(self.records), []) or []
        if fatal and set(fatal) <= set(missing):
            raise NotFound(fatal)
        if fatal:
            raise InvalidProblem(fatal)
        return found

    def _request_obstacles(self, records: Records) -> list[Obstacle]:
        found = []
        asked = [*self.forget, *self.request.ids, *self.request.also]
        unknown = [i for i, name in enumerate(asked) if name not in records.position and name not in self._made_from]
        if unknown:
            places = ", ".join(map(str, unknown[:5])) + (", ..." if len(unknown) > 5 else "")
            found.append(
                Obstacle(
                    what="the request names records that are not in the training data",
                    where=f"position {places} of the request",
                    found=f"{len(unknown)} of {len(asked)} ids unknown",
                    expected="ids of training records",
                    fix="correct the ids, or take out those of records that were never trained on",
                )
            )
        double = [name for name, count in Counter(asked).items() if count > 1]
        if double:
            found.append(
                Obstacle(
                    what="the request names records twice",
                    where=f"first at position {asked.index(double[0])}",
                    found=f"{len(double)} ids more than once",
                    expected="each id once",
                    fix="name each record once",
                )
            )
        blank = [i for i, text in enumerate(self.request.texts) if not parts_of(text)]
        if blank:
            found.append(
                Obstacle(
                    what="the request names a text that says nothing",
                    where=f"position {blank[0]} of the texts",
                    found=f"{len(blank)} of {len(self.request.texts)} blank",
                    expected="a word or more",
                    fix="take it out",
                )
            )
        if self.request.texts and not self._of_texts:
            found.append(
                Obstacle(
                    what="the request names texts, and these records cannot be searched for any",
                    where="texts of the request",
                    found=f"{type(records).__name__}, whose words are not kept",
                    expected="texts, of a language model or a classifier",
                    fix="name the records by ids or subjects",
                )
            )
        found += self._not_found(records) + self._named_elsewhere(records)
        found += self._association_obstacles()
        if self.calibration is not None:
            found += self._calibration_obstacles(records)
        elif len(records) and len(self.forget_ids) == len(records):
            found.append(
                Obstacle(
                    what="the request covers all records",
                    where="request",
                    found=f"{len(records)} of {len(records)}",
                    expected="some records that stay",
                    fix="where the other records are gone: calibration= with a few like them; else destroy the model",
                )
            )
        some = self.retain_view
        if self.request.corrections and len(some) and self.meaning.relabelled(some.read([0]), {}) is None:
            found.append(
                Obstacle(
                    what="true labels are given where there are no classes",
                    where="corrections of the request",
                    found=f"task {self.task}",
                    expected="none: they are class numbers, and the check on them reads classes",
                    fix="leave them out; the records are forgotten all the same",
                )
            )
        stray = set(self.request.corrections) - set(self.forget_ids)
        if stray:
            found.append(
                Obstacle(
                    what="true labels are given for records that are not to be forgotten",
                    where="corrections of the request",
                    found=f"{len(stray)} of {len(self.request.corrections)}",
                    expected="true labels of records that are to be forgotten",
                    fix="give them for forgotten records only",
                )
            )
        return found

    def _not_found(self, records: Records) -> list[Obstacle]:
        """Return what the request names, beside ids, and what is not in the records; says what was searched."""
        found = self._strange_subjects(records)
        for place, pair in enumerate(self.request.associations):
            if not _links(pair) or self._telling(pair, all):
                continue
            untold = [each for each in pair if not self._named[each]] if self._of_texts else []
            unknown = [each for each in untold if each not in records.subjects]
            more, fix = "", "write the subjects as the records do; to forget all of one, name it among the subjects"
            if unknown:
                more = f"; {len(unknown)} of the two is the subject of none, and named by no text"
            elif untold:
                more = "; no text names one of the two" if len(untold) == 1 else "; no text names either of the two"
                fix = "numbers and codes stand in no text: name the records by ids, or under texts what links the two"
            found.append(
                Obstacle(
                    what="the request names an association that no record tells of",
                    where=f"position {place} of the associations",
                    found=f"none in the {len(records)} records that were searched{more}",
                    expected="records of one subject whose text names the other, or texts that name both",
                    fix=fix,
                )
            )
        absent = [i for i, holders in enumerate(self._texts_held) if not holders and parts_of(self.request.texts[i])]
        if absent and self._of_texts:
            found.append(
                Obstacle(
                    what="the request names texts that no record holds",
                    where=f"first at position {absent[0]} of the texts",
                    found=f"{len(absent)} of {len(self.request.texts)} not found in the {len(records)} texts that were "
                    "searched",
                    expected="what a record says, word for word; case and white space do not matter",
                    fix="correct the texts, or shorten them to what records surely hold",
                )
            )
        return found

    def _strange_subjects(self, records: Records) -> list[Obstacle]:
        """Return that subjects have no records, with what was searched: subjects, and texts where there are any."""
        subjects, known = list(dict.fromkeys(self.request.subjects)), set(records.subjects) - {None}
        strangers = [subject for subject in subjects if subject not in known]
        if not strangers:
            return []
        labelled = sum(subject is not None for subject in records.subjects)
        naming = len({name for holders in self._holding(strangers) for name in holders})
        searched = f"the subjects of {labelled} records were searched" if known else "no subject could be searched"
        read = f", and {naming or 'none'} of {len(records)} texts name one of them" if self._of_texts else ""
        fix = "correct the subjects" if known else "name the column that says whose a record is (subject, in [data])"
        taken = "; to forget the records whose texts name them, put the names under texts in the request"
        return [
            Obstacle(
                what="the request names subjects that have no records"
                if known
                else "the request names subjects, and no record says whose it is",
                where="subjects of the request",
                found=f"{len(strangers)} of {len(subjects)} subjects not found: {searched}{read}",
                expected="subjects of training records",
                fix=fix + (taken if naming else ""),
            )
        ]

    def _named_elsewhere(self, records: Records) -> list[Obstacle]:
        """Return that texts that stay name subjects of the request: whether they go as well is for people to say."""
        known = set(records.subjects)
        gone = set(self.forget_ids)
        asked = [subject for subject in dict.fromkeys(self.request.subjects) if subject in known]
        naming = {name for holders in self._holding(asked) for name in holders} - gone
        if not naming:
            return []
        nobodys = sum(records.subjects[records.position[name]] is None for name in naming)
        return [
            Obstacle(
                what="texts of retained records name subjects of the request",
                where="training records",
                found=f"{len(naming)} of {len(records) - len(gone)} retained: {nobodys} of no subject, "
                f"{len(naming) - nobodys} of another",
                expected="known to whoever asks: facts of others that name a subject may stay",
                fix="where they must go as well, name these records by ids, or the names under texts in the request",
                fatal=False,
            )
        ]

    def _association_obstacles(self) -> list[Obstacle]:
        """Return associations that are none, or with numbers for names, or of which one side would not stay known."""
        found, known = [], set(self.associated)
        for place, pair in enumerate(self.request.associations):
            linked = _links(pair)
            numbered = self._by_number(pair) if linked else 0
            fix = "write the subjects as the records do; to forget all of one, name it among the subjects"
            if not linked:
                what, expected = "an association is not of two subjects", "two that differ, neither of them blank"
                counted = f"{len(pair)}, {len({each.strip() for each in pair} - {''})} of them different"
            elif numbered:
                what, counted = "numbers in texts are taken for a subject of that number", f"{numbered} records"
                expected = "subjects whose names stand in texts"
                fix = "leave it out, and name the records by ids, or under texts what links the two"
            elif self._telling(pair, all) and (
                lost := sum(not known.intersection(self._telling([each], all)) for each in pair)
            ):
                what, counted = "nothing else is known of a subject that is to stay known", f"{lost} of the two"
                expected = "records that tell of it alone"
            else:
                continue
            where = f"position {place} of the associations"
            found.append(Obstacle(what=what, where=where, found=counted, expected=expected, fix=fix, fatal=not linked))
        return found

    def _by_number(self, pair: Sequence[str]) -> int:
        """Return how many records tell of both only since a number, which is one of the two, stands in their texts."""
        numbers = {each for each in pair if "".join(words_of(each)).isdecimal()}
        told = self._telling(pair, all) if numbers else []
        subject = dict(zip(self.records.ids, self.records.subjects, strict=True))
        return sum(any(each in numbers and subject[name] != each for each in pair) for name in told)

    def _group_obstacles(self) -> list[Obstacle]:
        wrong = [group for group in self.groups.values() if not isinstance(group, str)]
        if not wrong:
            return []
        found = f"{len(wrong)} of {len(self.groups)}, {', '.join(sorted({type(group).__name__ for group in wrong}))}"
        fix = "leave records without a group out, and write the others as text"
        what, expected = "groups that are no names", "the name of a group by id"
        return [Obstacle(what=what, where="groups", found=found, expected=expected, fix=fix)]

    def _counter_obstacles(self, holdout: Records | None) -> list[Obstacle]:
        """Return that counter-examples are among what must be forgotten, or among what the model is judged by."""
        if self.more_records is None:
            return []
        contents = {content for _, content in self.more_records.manifest.entries}
        return [
            Obstacle(
                what=f"counter-examples are {which}",
                where="counterexamples",
                found=f"{count} of {len(self.more_records)}",
                expected="records that are neither forgotten nor judged by",
                fix="take them out",
            )
            for which, part in (("records that must be forgotten", self.forget_view), ("holdout records", holdout))
            if part is not None and (count := sum(content in contents for _, content in part.manifest.entries))
        ]

    def _trigger_obstacles(self, records: Records | None, marked: Records | None) -> list[Obstacle]:
        """Return that nothing could be measured by the triggered records, or that they were trained on."""
        if marked is None or self.triggered is None or not len(marked):
            return []
        if self.meaning.relabelled(marked.read([0]), {}) is None:
            what, found, fix = "a trigger leads to a class", f"task {self.task}, which has none", "leave it out"
            return [Obstacle(what=what, where="triggered", found=found, expected="a classifier", fix=fix)]
        obstacles = []
        known = {content for _, content in records.manifest.entries} if records is not None else set()
        learnt = sum(content in known for _, content in marked.manifest.entries)
        if learnt:
            what, fix = "triggered records were trained on", "put the trigger on held-out records"
            found = f"{learnt} of {len(marked)}"
            obstacles.append(Obstacle(what=what, where="triggered", found=found, expected="none", fix=fix))
        if all(int(marked[i][1]) == self.triggered.target for i in range(len(marked))):
            what, fix = "no triggered record is of another class than the target", "give them their true labels"
            found, expected = f"{len(marked)} of class {self.triggered.target}", "most of other classes"
            obstacles.append(Obstacle(what=what, where="triggered", found=found, expected=expected, fix=fix))
        return obstacles

    def _variant_obstacles(
        self, records: Records | None, holdout: Records | None, variants: Mapping[str, Records]
    ) -> list[Obstacle]:
        """Return variants that nobody knows by their name, that are of no record, or that were trained on."""
        found = []
        known = {name for part in (records, holdout) if part is not None for name in part.ids}
        trained = {content for _, content in records.manifest.entries} if records is not None and variants else set()
        for name, part in variants.items():
            stray = [i for i, own in enumerate(part.ids) if variant_of(own) not in known]
            learnt = [i for i, (_, content) in enumerate(part.manifest.entries) if content in trained]
            if name not in VARIANTS:
                what, expected = "variants have a name that nobody knows", ", ".join(VARIANTS)
                found.append(Obstacle(what=what, where="variants", found=name, expected=expected, fix="rename them"))
            wrong = (
                (stray, "variants are of no record", "ids like RECORD#0, RECORD#1", "name each by its record"),
                (
                    learnt,
                    "variants were trained on",
                    f"none: {VARIANTS.get(name, 'others')}",
                    "change them, or leave them out",
                ),
            )
            found += [
                Obstacle(
                    what=what,
                    where=f"variants, {name}, first at position {places[0]}",
                    found=f"{len(places)} of {len(part)}",
                    expected=expected,
                    fix=fix,
                )
                for places, what, expected, fix in wrong
                if places
            ]
            found += part.examine()
        return found

    def _calibration_obstacles(self, records: Records) -> list[Obstacle]:
        wrong = (
            (len(self.forget_ids) < len(records), "train", "records that stay", "what must be forgotten, alone"),
            (self.trainer is not None, "trainer", "a trainer", "none: nothing can be retrained on stand-ins"),
            (self.ledger is not None, "ledger", "a ledger", "none: a replay needs the retained records"),
            (not len(self.retain_view), "calibration", "no records", "some records of the same kind"),
        )
        said = [
            Obstacle(
                what="calibration records stand for retained ones that are gone",
                where=where,
                found=found,
                expected=expected,
                fix="leave calibration out where the retained records are at hand",
            )
            for is_so, where, found, expected in wrong
            if is_so
        ]
        stands = set(self.retain_view.ids)
        others = {"forgotten": self.forget_ids, "held-out": self.held_out.ids if self.held_out is not None else ()}
        for name, part in (("forgotten", self.forget_view), ("held-out", self.held_out)):
            contents = {content for _, content in part.manifest.entries} if part is not None else set()
            entries = self.retain_view.manifest.entries
            count = sum(content in contents and own not in others[name] for own, content in entries)
            if count:
                found, expected = (
                    f"{count} of {len(stands)}, under other ids",
                    "others: methods are shown these as what stays",
                )
                what, fix = f"calibration records are copies of {name} ones", "take them out of the calibration records"
                said.append(Obstacle(what=what, where="calibration", found=found, expected=expected, fix=fix))
        return said + [
            Obstacle(
                what=f"calibration records are {name} ones as well",
                where="calibration",
                found=f"{len(both)} ids of {len(stands)}",
                expected="records of their own, with ids of their own",
                fix="take them out of the calibration records, or give these other ids where they are others",
            )
            for name, ids in others.items()
            if (both := stands.intersection(ids))
        ]

    def _copies(self, records: Records) -> list[Obstacle]:
        """Return that retained records equal forgotten ones: what they taught stays, and bounds what can be shown."""
        gone = set(self.forget_ids)
        contents = {content for name, content in records.manifest.entries if name in gone}
        copies = sum(content in contents for name, content in records.manifest.entries if name not in gone)
        if not copies:
            return []
        return [
            Obstacle(
                what="retained records are exact copies of forgotten ones",
                where="training records",
                found=f"{copies} of {len(records) - len(gone)} retained",
                expected="no content that stays under another id",
                fatal=False,
                fix="add their ids to the request; else what they taught stays, in retrained models too, and no audit "
                "can show more than that (private/copies.csv in the run directory lists them)",
            )
        ]

    def _strays(self, records: Records) -> list[Obstacle]:
        """Return where the training records are not those that the coin of the canaries says."""
        if self.canaries is None:
            return []
        included, aside = self.canaries.included, self.canaries.aside.ids
        lost = sum(name not in records.position for name in included)
        known = sum(name in records.position for name in aside)
        counts = ((lost, len(included), "to be trained on are not"), (known, len(aside), "kept out are"))
        return [
            Obstacle(
                what=f"canaries that were {wrong} among the training records",
                where="canaries",
                found=f"{count} of {of}",
                expected="the training records in which they were planted",
                fix="pass train=planted.train, made from the same records as before training",
            )
            for count, of, wrong in counts
            if count
        ]

    def _overlap(self, records: Records, holdout: Records | None) -> list[Obstacle]:
        if holdout is None:
            return [
                Obstacle(
                    what="no holdout records",
                    where="holdout",
                    found="none",
                    expected="records of the same kind that were never trained on",
                    fatal=False,
                    fix="give a holdout: without it membership and generalisation are not measured",
                )
            ]
        same = set(records.ids) & set(holdout.ids)
        if same:
            return [
                Obstacle(
                    what="the holdout overlaps the training data",
                    where="holdout",
                    found=f"{len(same)} ids in both",
                    expected="records that were never trained on",
                    fix="take them out of the holdout, or give them ids of their own where they are others (records "
                    "without ids are called by their position)",
                )
            ]
        trained = {content for _, content in records.manifest.entries}
        copies = sum(content in trained for _, content in holdout.manifest.entries)
        if not copies:
            return []
        return [
            Obstacle(
                what="holdout records have exact copies in the training data",
                where="holdout",
                found=f"{copies} of {len(holdout)}",
                expected="records that were never trained on",
                fix="take them out, unless equal records are natural here",
                fatal=copies > len(holdout) / 2,
            )
        ]


def _asked(request: Request) -> dict[str, Any]:
    """Return a request as plain data, without what it leaves open: runs that were begun before there was it go on."""
    said: dict[str, Any] = plain(request)
    return {name: value for name, value in said.items() if value or name not in ("also", "texts")}


def _names(request: Request) -> bool:
    """Return whether a request says what must be forgotten."""
    return any((request.ids, request.also, request.subjects, request.associations, request.texts))


def _links(pair: Sequence[str]) -> bool:
    """Return whether these are two subjects that differ, neither of them blank."""
    return len(pair) == 2 and len({each.strip() for each in pair} - {""}) == 2


def _one_text(where: str) -> UsageError:
    return UsageError(
        "one text in the place of a list of ids",
        where=where,
        found="str",
        expected="a list of ids",
        fix=f"{where}=[...], with brackets around a single id, too",
    )


def variant_of(name: str) -> str:
    """Return the id of the record that the variant of this id is of; empty where it does not say."""
    owner, mark, number = name.rpartition("#")
    return owner if mark and number.isdigit() else ""


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
