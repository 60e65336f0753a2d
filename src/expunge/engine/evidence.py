"""Evidence: what the models under comparison said about the judging part. Arrays only; no model stays open.

Keys name models by their digest. Shapes: n records of a part, C classes, K references.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load, save

from expunge.core.chart import Chart, Role, Series
from expunge.core.check import Check, EvidenceKind, Measurement, NotMeasured, Yardstick
from expunge.core.digest import keyed, sha256
from expunge.core.errors import Diverged, Tampered
from expunge.core.method import Cost
from expunge.core.problem import Problem
from expunge.core.records import Records, View
from expunge.core.serial import canonical
from expunge.core.storage import write_file
from expunge.core.task import Task
from expunge.core.variants import variant_of
from expunge.engine import around, benchmarks, inside, members, prompting, treatments, written
from expunge.engine.answers import Answers, Outputs, Spoken, output_of, seen_of, typical_error
from expunge.engine.batches import in_order
from expunge.engine.benchmarks import Bench, Benchmarks
from expunge.engine.groups import Groups
from expunge.engine.loop import ready
from expunge.engine.peers import peers
from expunge.engine.relearning import RelearningConfig, relearn
from expunge.engine.split import Part
from expunge.numerics import curves, equivalence, known

Array = NDArray[np.float64]
SAMPLE = 2000
"""Retained records that are measured; a paired mean over 2,000 has an error far below any margin in use."""
NEIGHBOURS = 3
"""Nearest retained records per forgotten one."""
REPRESENTED = ("forget", "retain")
"""Parts whose features are kept, where a check asks for them."""
EXACT = "models answer half of the records that they never saw without any error: nothing to measure answers by"
_SAMPLED = ("retain", "holdout", "triggered")
"""Parts that are a sample; forgotten records and their neighbours are all there is. Retained ones may be, too."""
ENOUGH = 45
"""Holdout records of a class, two thirds of them judged: with 30 one record weighs 3 points of its accuracy."""
_FORM = 3
"""Of what is cached: 3 keeps what is said word for word. A cache of another form is not read but made anew."""


@dataclass(frozen=True)
class Parts:
    """The records that are judged, by name; None where the problem has none.

    ``forget`` is what was asked for, ``planted`` are the canaries that were trained on, ``aside`` those that never
    were, ``triggered`` what carries the trigger of a backdoor. ``beside`` is how the inputs of forgotten records
    are moved (``engine/around``), None where nobody asks or they cannot be moved; ``represented``, whether features
    are kept; ``held``, which member of a sharded ensemble held each forgotten record, None where nobody asks or there
    is none; ``treatments``, what is done to a language model before it is asked again (``engine/treatments``);
    ``variants``, other questions and answers of forgotten records, by name; ``prompts`` and ``asked``, what a language
    model is asked to write (``engine/prompting``, ``engine/written``); ``inner``, whether its inner blocks are
    read; ``benchmarks``, the tasks of lm-eval that it is asked; ``drawn_of``, how many records there are of which a
    part is a sample, where that is known.
    """

    forget: View
    retain: View
    neighbours: View
    holdout: View | None
    planted: View | None = None
    aside: Records | None = None
    triggered: Records | None = None
    beside: around.Noise | around.Exchange | None = None
    represented: bool = False
    held: members.Held | None = None
    treatments: treatments.Treatments = treatments.Treatments()
    variants: Mapping[str, Records] = field(default_factory=dict)
    prompts: prompting.Prompting = prompting.Prompting()
    asked: written.Writing = written.Writing()
    inner: bool = False
    benchmarks: Bench | None = None
    drawn_of: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        problem: Problem,
        judging: Part,
        seed: int,
        *,
        near: bool = True,
        asked: Collection[EvidenceKind] = (),
        tasks: Benchmarks | None = None,
    ) -> Parts:
        """Return the judging records of a problem: forget and holdout as split, a sample of the retain set, canaries.

        To find the neighbours all retained records are read; without ``near`` there are none. What costs more than
        the outputs is gathered where it is among the ``asked`` evidence; ``tasks`` are those of lm-eval.
        """
        key = keyed(b"expunge sample", seed)
        retain = problem.retain_view
        ranked = sorted(retain.ids, key=lambda name: keyed(key, name))[:SAMPLE]
        canaries, sample = problem.canaries, retain.select(ranked)
        near_by = neighbours(problem, judging.forget) if near else retain.select([])
        answering = {"forget": judging.forget, "retain": sample, "neighbours": near_by}
        answering |= {} if judging.holdout is None else {"holdout": judging.holdout}
        writing = written.Writing.of(problem, answering, seed) if EvidenceKind.WRITTEN in asked else written.Writing()
        return cls(
            judging.forget,
            sample,
            near_by,
            judging.holdout,
            None if canaries is None else problem.records.select(canaries.included),
            None if canaries is None else canaries.aside,
            problem.triggered_records,
            around.beside(problem, sample) if EvidenceKind.AROUND in asked else None,
            EvidenceKind.FEATURES in asked,
            members.holders(problem, judging.forget)
            if EvidenceKind.SHARDS in asked and members.dealt_out(problem)
            else None,
            treatments.Treatments.of(problem, judging.forget, seed, asked, near_by),
            {
                name: part
                for kind, names in VARIANTS.items()
                if kind in asked
                for name, part in variants(problem, judging.forget, names).items()
            }
            | _wrong_of_others(problem, writing),
            prompting.Prompting.of(problem, judging.forget, seed, asked),
            writing,
            EvidenceKind.INNER in asked,
            Bench.of(problem, tasks) if tasks and tasks.tasks and EvidenceKind.BENCHMARKS in asked else None,
            {"retain": len(retain)},
        )

    def items(self) -> list[tuple[str, Records]]:
        """Return (name, records) of the parts that have records."""
        named = {
            "forget": self.forget,
            "retain": self.retain,
            "neighbours": self.neighbours,
            "holdout": self.holdout,
            "planted": self.planted,
            "aside": self.aside,
            "triggered": self.triggered,
            **self.variants,
        }
        return [(name, view) for name, view in named.items() if view is not None and len(view)]

    @property
    def owners(self) -> dict[str, NDArray[np.int64]]:
        """The index of the record that each variant is of, [m], by name: a forget record, or one of the part named."""
        of = {"forget": self.forget, "retain": self.retain, "neighbours": self.neighbours, "holdout": self.holdout}
        return {
            name: np.array([of[_owner(name)].position[variant_of(own)] for own in part.ids], dtype=np.int64)
            for name, part in self.variants.items()
        }


VARIANTS = {
    EvidenceKind.PARAPHRASES: ("paraphrased_question",),
    EvidenceKind.WRONG_ANSWERS: ("paraphrased_answer", "wrong_answer"),
}
"""Variants of forgotten records that evidence is made of."""


def _owner(name: str) -> str:
    """Return which part variants are of: ``NAME of PART``, of the forget records where no part is named."""
    return name.partition(" of ")[2] or "forget"


def _wrong_of_others(problem: Problem, writing: written.Writing) -> dict[str, Records]:
    """Return the right and wrong answers of those retained and held-out records that are asked, ``NAME of PART``."""
    names = VARIANTS[EvidenceKind.WRONG_ANSWERS]
    return {
        f"{name} of {part}": own
        for part, asked in writing.parts.items()
        if part != "forget"
        for name, own in variants(problem, asked.records.select(asked.ids), names).items()
    }


def variants(problem: Problem, forget: Records, names: Sequence[str]) -> dict[str, Records]:
    """Return the variants of these records by name; nothing unless there are some of every name."""
    found: dict[str, Records] = {}
    for name in names:
        part = problem.variant_records.get(name)
        own = [each for each in part.ids if variant_of(each) in forget.position] if part is not None else []
        if part is None or not own:
            return {}
        found[name] = part.select(own)
    return found


def neighbours(problem: Problem, forget: Records) -> View:
    """Return the retained records nearest to the forgotten ones, by Euclidean distance of the inputs.

    Where an association is forgotten, also those that tell of one of its subjects.
    """
    retain, task = problem.retain_view, problem.meaning
    if not len(forget):
        return retain.select([])
    rows = torch.cat([task.inputs(batch) for batch in in_order(forget)])
    best = torch.empty(len(rows), 0, dtype=torch.float64)
    index = torch.empty(len(rows), 0, dtype=torch.long)
    start = 0
    for batch in in_order(retain):
        distance = torch.cdist(rows, task.inputs(batch))
        here = torch.arange(start, start + distance.shape[1]).expand_as(distance)
        best, index = torch.cat([best, distance], dim=1), torch.cat([index, here], dim=1)
        keep = best.topk(min(NEIGHBOURS, best.shape[1]), largest=False).indices
        best, index = best.gather(1, keep), index.gather(1, keep)
        start += distance.shape[1]
    near = {retain.ids[i] for i in index.flatten().tolist()} | set(problem.associated)
    return retain.select([name for name in retain.ids if name in near])


def collect(
    problem: Problem,
    open_model: Callable[[], Any],
    parts: Parts,
    config: RelearningConfig | None,
    *,
    digest: str,
    seed: int,
    cache: Path,
) -> tuple[dict[str, Array], Cost]:
    """Return what one model says about the parts, and the work it took; read from ``cache`` if done before.

    Without a ``config`` nothing is relearned.
    """
    asked = [[name, list(view.ids)] for name, view in parts.items()]
    beside = None if parts.beside is None else parts.beside.key
    kept = [parts.represented, parts.held is not None, parts.treatments.key, parts.prompts.key, parts.asked.key]
    kept += [parts.inner, *([] if parts.benchmarks is None else [parts.benchmarks.config.key])]
    key = sha256(canonical([_FORM, digest, config, seed, asked, beside, *kept]))
    # The file's name ends in its own digest: outputs that were changed afterwards would change a verdict.
    for path in sorted(cache.glob(f"{key}-*.safetensors")):
        data = path.read_bytes()
        if path.stem != f"{key}-{sha256(data)}":
            raise Tampered(
                "the kept outputs of a model are not what was written",
                where=f"{cache.name}/{path.name}",
                found="other bytes",
                expected="the bytes whose digest the name holds",
                fix="delete this file: the outputs are computed again",
            )
        return dict(load(data)), Cost()
    model = open_model()
    arrays = _outputs(problem, model, parts)
    read = sum(len(view) for _, view in parts.items())
    trained = 0
    if parts.beside is not None and len(parts.forget):
        arrays[parts.beside.name] = around.confidences(problem, model, parts.forget, parts.beside, seed=seed)
        read += parts.beside.copies * len(parts.forget)
    if parts.held is not None and len(parts.forget):
        said = members.confidences(problem, model, parts.forget)
        if said is not None:
            arrays["members"] = said
            read += len(parts.forget)
    cost = Cost(read=read)
    for more, work in _asked(problem, model, parts, seed):
        arrays, cost = arrays | more, cost + work
    if config is not None and len(parts.forget):
        arrays["relearned"] = _relearned(problem, model, parts.forget, config, seed)
        trained = config.epochs * len(parts.forget)
    cost += Cost(trained=trained, read=trained)
    if len(parts.forget):
        more, work = treatments.treated(problem, open_model, parts.forget, parts.treatments, config, seed=seed)
        arrays, cost = arrays | more, cost + work
    data = save(arrays)
    write_file(cache / f"{key}-{sha256(data)}.safetensors", data, mode=0o600)
    return arrays, cost


def _asked(problem: Problem, model: Any, parts: Parts, seed: int) -> Iterator[tuple[dict[str, Array], Cost]]:
    """Yield what a language model writes, and what its inner blocks know, with the work of each."""
    yield parts.asked.written(model)
    yield parts.prompts.answered(model, seed=seed)
    if parts.benchmarks is not None:
        yield parts.benchmarks.answered(model)
    if parts.inner and len(parts.forget):
        yield inside.read(problem, model, parts.forget, parts.retain)


def _relearned(problem: Problem, model: Any, forget: Records, config: RelearningConfig, seed: int) -> Array:
    try:
        return relearn(problem, model, forget, config, seed=seed)
    except Diverged:
        return np.full((config.epochs, len(forget)), np.nan)  # measured as: not measured


def _outputs(problem: Problem, model: Any, parts: Parts) -> dict[str, Array]:
    """Return outputs by part, and features [n, D] by ``features PART`` where the task knows some of this model."""
    found, features = dict[str, Array](), dict[str, Array | None]()
    for name, view in parts.items():
        if parts.represented and name in REPRESENTED:
            found[name], features[f"features {name}"] = seen_of(problem, model, view)
        else:
            found[name] = output_of(problem, model, view)
    known = {name: rows for name, rows in features.items() if rows is not None}
    return found | known if len(known) == len(features) else found


def available(problem: Problem) -> frozenset[EvidenceKind]:
    """Return which evidence there is on a problem, apart from references: known before any work.

    Reads the labels of held-out and forgotten records, and, where these could be alike (``engine/peers``), all of both.
    """
    there = {
        EvidenceKind.FORGET: True,
        EvidenceKind.RETAIN: True,
        EvidenceKind.HOLDOUT: problem.held_out is not None,
        EvidenceKind.CORRECTIONS: bool(problem.request.corrections) and _has_classes(problem),
        EvidenceKind.CANARIES: problem.canaries is not None,
        EvidenceKind.TRIGGER: problem.triggered is not None and _has_classes(problem),
        EvidenceKind.TOKENS: _has_tokens(problem),
        EvidenceKind.ROUNDED: _has_tokens(problem) and problem.source.gradients,
        EvidenceKind.NEIGHBOURING: _has_tokens(problem) and problem.source.gradients,
        EvidenceKind.UNRELATED: _has_tokens(problem) and problem.source.gradients and bool(problem.held_out),
        EvidenceKind.RELATED: _has_tokens(problem) and problem.source.gradients and _several(problem),
        **{
            kind: _has_tokens(problem) and bool(variants(problem, problem.forget_view, names))
            for kind, names in VARIANTS.items()
        },
        EvidenceKind.SHOTS: _has_tokens(problem) and treatments.shots(problem, 0) is not None,
        EvidenceKind.WRITTEN: _has_tokens(problem) and bool(_written(problem).parts),
        EvidenceKind.INNER: _has_tokens(problem) and inside.readable(problem),
        EvidenceKind.AROUND: around.possible(problem),
        EvidenceKind.FEATURES: _has_features(problem),
        EvidenceKind.GRADIENTS: problem.source.gradients,
        EvidenceKind.CLASSES: _has_classes(problem) and _smallest_class(problem.held_out) >= ENOUGH,
        EvidenceKind.PEERS: not peers(problem).because,
        EvidenceKind.SHARDS: not members.lacks(problem),
        EvidenceKind.GROUPS: (groups := Groups.of(problem)).smallest >= Groups.ENOUGH,
        EvidenceKind.CELLS: groups.rarest >= Groups.ENOUGH,
    }
    prompts = prompting.Prompting.of(problem, problem.forget_view, 0, prompting.KINDS)
    return frozenset(kind for kind, here in there.items() if here) | prompts.questions.keys()


def _written(problem: Problem) -> written.Writing:
    return written.Writing.of(problem, {"forget": problem.forget_view}, 0)


def _has_features(problem: Problem) -> bool:
    """Return whether the task finds features in the original."""
    task, records = problem.meaning, problem.retain_view
    if type(task).features is Task.features or not len(records):
        return False
    return task.features(ready(problem.source.open()), records.read([0])) is not None


def _has_tokens(problem: Problem) -> bool:
    """Return whether labels are scored tokens at their places; reads one retained record."""
    records = problem.retain_view
    if not len(records):
        return False
    labels = np.asarray(records.read([0])[1])
    return labels.ndim == 2 and labels.dtype.kind == "i"


def _several(problem: Problem) -> bool:
    """Return whether forgotten texts are of several kinds; reads them."""
    return len(problem.forget_view) > 1 and len(np.unique(treatments.groups(problem.forget_view))) > 1


def _has_classes(problem: Problem) -> bool:
    """Return whether the task has class labels; reads one retained record."""
    records = problem.retain_view
    return len(records) > 0 and problem.meaning.relabelled(records.read([0]), {}) is not None


def _smallest_class(holdout: Records | None) -> int:
    """Return how many records the rarest class of the holdout has."""
    if holdout is None or not len(holdout):
        return 0
    labels = torch.as_tensor(holdout.read(range(len(holdout)))[1])
    return int(labels.unique(return_counts=True)[1].min())


class Evidence:
    """What checks may ask for.

    Args:
        arrays: per model digest what :func:`collect` returned.
        targets: labels per part; of a regressor, whose outputs are one number per record, numbers; of a language model
            the scored tokens at their places, [n, T], negative elsewhere.
        candidate / original / references: model digests.
        alpha: one-sided error of the interval for passing.
        corrections: true labels of the judged forget records, -1 where not given; None where none is.
        subjects: whose the records of a part are, [n], None where unknown; a part that is not named has none.
        groups: the group of each judged holdout record, [n], empty where it has none; None where none has any.
        held: which member of a sharded ensemble held each judged forget record; None where there is none.
        target: the class that the trigger of a backdoor leads to; None where there is none.
        texts: what was to be predicted of each record of a part, as text; a part that is not named has none.
        owners: which judged forget record each variant of a part is of, [m]; a part that is not named has no variants.
        asked: which records of a part a language model was asked to answer in its own words, [m], ascending.
        drawn_of: how many records a part was drawn from; one that is not named stands for any number.
    """

    def __init__(
        self,
        arrays: Mapping[str, Mapping[str, Array]],
        targets: Mapping[str, NDArray[Any]],
        *,
        candidate: str,
        original: str,
        references: tuple[str, ...],
        alpha: float,
        corrections: NDArray[np.int64] | None,
        subjects: Mapping[str, Sequence[str | None]] | None = None,
        held: members.Held | None = None,
        groups: NDArray[Any] | None = None,
        target: int | None = None,
        texts: Mapping[str, Sequence[str]] | None = None,
        owners: Mapping[str, NDArray[np.int64]] | None = None,
        asked: Mapping[str, NDArray[np.int64]] | None = None,
        drawn_of: Mapping[str, int] | None = None,
    ) -> None:
        self.asked, self._drawn_of = asked or {}, drawn_of or {}
        self.groups, self.target, self.texts, self._owners = groups, target, texts or {}, owners or {}
        self._arrays, self._targets, self._subjects = arrays, targets, subjects or {}
        self.candidate, self.original, self.references = candidate, original, references
        self.alpha, self.corrections, self.held = alpha, corrections, held
        self._outputs: dict[tuple[str, str], Outputs | Spoken | Answers] = {}

    @property
    def models(self) -> tuple[str, ...]:
        """Candidate, original and references, each once."""
        return tuple(dict.fromkeys([self.candidate, self.original, *self.references]))

    def lacks(self, *parts: str, tokens: bool = False) -> str:
        """Return why a comparison over these parts cannot be made; empty when it can. ``tokens``: of texts alone."""
        missing = [part for part in parts if part not in self._targets]
        if missing:
            return f"there are no {missing[0]} records"
        if tokens and any(self._targets[part].ndim < 2 for part in parts):
            return "records are no texts: the model predicts no tokens"
        broken = sum(not all(np.isfinite(self._arrays[model][part]).all() for part in parts) for model in self.models)
        if broken:
            return f"the outputs of {broken} of {len(self.models)} models are NaN or infinite"
        return EXACT if self.scale is not None and math.isnan(self.scale) else ""

    def called(self, group: str) -> str:
        """Return the name of a group of holdout records for a report; who one person's group names stays unsaid."""
        mine = None if self.groups is None else self.groups == group
        whose = None if mine is None else self.clusters("holdout", mine)
        alone = whose is not None and len(whose) > 1 and whose.max() == 0
        return "the records of one subject" if alone else group

    def has(self, name: str) -> bool:
        """Return whether every model has this array of :func:`collect`."""
        return all(name in self._arrays[model] for model in self.models)

    def lacks_array(self, name: str, because: str) -> str:
        """Return why an array of :func:`collect` cannot be used, ``because`` where it is missing; empty when it can."""
        if not self.has(name):
            return because
        broken = sum(not np.isfinite(self._arrays[model][name]).all() for model in self.models)
        return f"the outputs of {broken} of {len(self.models)} models are NaN or infinite" if broken else ""

    def twins(self, *parts: str) -> str:
        """Return a reason where a reference says exactly what another model says of these records; else empty.

        A model that is attacked with its own copy is told by its own noise.
        """
        said = {model: b"".join(self._arrays[model][part].tobytes() for part in parts) for model in self.models}
        others = {said[model] for model in (self.candidate, self.original) if model not in self.references}
        answers = {said[model] for model in self.references}
        apart = len(answers) == len(self.references) and not answers & others
        return "" if apart else "a reference says of every record exactly what another model says: they are one"

    @cached_property
    def scale(self) -> float | None:
        """The typical error of the references on records they never saw, or of the original; None of classes.

        Never of the model under audit, which is measured by it.
        """
        part = next((part for part in ("holdout", "aside", "forget") if part in self._targets), None)
        if part is None or self._arrays[self.candidate][part].shape[1] > 1:
            return None
        return typical_error(
            [self._arrays[model][part][:, 0] for model in self.references or (self.original,)], self._targets[part]
        )

    def around(self, model: str) -> Array:
        """Return the confidence of the label beside the judged forget records, [n].

        Of copies moved by noise the mean; of copies with one value exchanged the largest: what is remembered shows
        where the value that is missing mattered least.
        """
        said = self._arrays[model][self.beside]
        copies = said if self.scale is None else np.stack([self._answers(row, "forget").confidence for row in said])
        return np.asarray(copies.max(axis=0) if self.beside == around.Exchange.name else copies.mean(axis=0))

    @property
    def beside(self) -> str:
        """The name of the array of what was said beside the forgotten records (``engine/around``)."""
        return around.Exchange.name if self.has(around.Exchange.name) else around.Noise.name

    def by_member(self, model: str) -> Array:
        """Return the confidence of the label of the judged forget records by each member of an ensemble, [S, n]."""
        return self._arrays[model]["members"]

    def treated(self, model: str, treatment: str) -> Spoken:
        """Return what a model said of the judged forget records after a treatment (``engine/treatments``)."""
        return Spoken(self._arrays[model][treatment], self._targets["forget"])

    def by_owner(self, part: str, values: Array) -> Array:
        """Return the mean of ``values`` [m] over the variants of each record that has some, [n]; NaN of one without."""
        owner, n = self._owners[part], len(self._targets[_owner(part)])
        total: Array = np.full(n, np.nan)
        count = np.bincount(owner, minlength=n)
        np.divide(np.bincount(owner, values, n), count, out=total, where=count > 0)
        return total

    def recalled(self, model: str, array: str) -> Array:
        """Return how much of m forgotten answers a model wrote, one of the arrays of ``engine/prompting``."""
        return self._arrays[model][array]

    def verbatim(self, model: str) -> dict[str, Array]:
        """Return how m begun answers go on word for word, [m] by the names of ``engine/prompting.VERBATIM``."""
        return dict(zip(prompting.VERBATIM, self._arrays[model]["verbatim"].T, strict=True))

    @property
    def asks_some(self) -> bool:
        """Whether more forgotten records are judged than are asked at most: those that are stand for the others."""
        return len(self.outputs(self.candidate, "forget").loss) > prompting.MOST

    def composed(self, model: str, part: str) -> written.Composed:
        """Return what a model wrote of the records :attr:`asked` of a part, numbers [m]."""
        return written.Composed.of(self._arrays[model][f"written {part}"])

    def inner(self, model: str, reading: str) -> Array:
        """Return the mean probability of a forgotten token by each inner block, [n, B]; ``lens`` or ``probe``."""
        said = self.outputs(model, "forget")
        return np.stack([said.by_record(np.exp(column)) for column in self._arrays[model][reading].T], axis=1)

    def benchmarks(self, model: str) -> dict[str, Array]:
        """Return what each document of a task of lm-eval comes to, [m], by the name of the array."""
        return {name: row for name, row in sorted(self._arrays[model].items()) if name.startswith(benchmarks.PREFIX)}

    def related(self, model: str) -> Array:
        """Return the extraction strength of some forget records after each pass of training on others, [passes, m]."""
        return self._arrays[model]["related"]

    def after(self, model: str, training: str) -> Array:
        """Return the extraction strength of the forget records after each pass of a training, [passes, n].

        ``training`` is ``treatments.NEIGHBOURS`` or ``treatments.OTHERS``: on texts that were not forgotten.
        """
        return self._arrays[model][training]

    def features(self, model: str, part: str) -> Array:
        """Return what the last layer of a model was given, [n, D]; ``part`` is one of :data:`REPRESENTED`."""
        return self._arrays[model][f"features {part}"]

    def outputs(self, model: str, part: str) -> Any:
        """Return what a model said about a part: :class:`Outputs` of classes, and with the same names others.

        Of tokens :class:`Spoken`, of numbers :class:`Answers`. ``log_probs`` and ``logits`` are of classes alone.
        """
        key = (model, part)
        if key not in self._outputs:
            said = self._arrays[model][part]
            target = self._targets[part]
            if target.ndim == 2:
                self._outputs[key] = Spoken(said, target)
            elif self.scale is not None:
                self._outputs[key] = self._answers(said[:, 0], part)
            else:
                self._outputs[key] = Outputs(said, target)
        return self._outputs[key]

    def _answers(self, said: Array, part: str) -> Answers:
        return Answers(said, np.asarray(self._targets[part], dtype=np.float64), self.scale or math.nan)

    def relearned(self, model: str) -> Array:
        """Return which judged forget records are right after each relearning pass, [passes, n], in [0, 1]."""
        said = self._arrays[model]["relearned"]
        return said if self.scale is None else np.stack([self._answers(row, "forget").correct for row in said])

    def series(self, x: Array, rows: Mapping[str, Array]) -> tuple[Series, ...]:
        """Return the lines of a chart from one row of ``y`` per model: candidate, original, the band of references.

        A candidate that is the original or a reference is drawn once, as the model under audit.
        """
        places = curves.short(x)
        lines = [Series(role=Role.SUBJECT, x=places, y=curves.short(rows[self.candidate]))]
        if self.original != self.candidate:
            lines.append(Series(role=Role.ORIGINAL, x=places, y=curves.short(rows[self.original])))
        band = np.stack([rows[model] for model in self.references if model != self.candidate])
        mean, low, high = (curves.short(side) for side in (band.mean(axis=0), band.min(axis=0), band.max(axis=0)))
        lines.append(Series(role=Role.REFERENCES, x=places, y=mean, low=low, high=high))
        return tuple(lines)

    def clusters(self, part: str, where: NDArray[np.bool_] | None = None) -> equivalence.Clusters | None:
        """Return which records of a part go together when errors are reckoned, [n]; None: each stands for itself.

        Records of one subject go together in the holdout alone: it stands for a distribution of subjects. Retained
        records are drawn one by one from so many as there are, forgotten records and neighbours are all there is; what
        those of one subject share moves no mean of theirs (Abadie, Athey, Imbens and Wooldridge 2023, QJE 138(1):
        errors are clustered where the sampling is). ``where`` selects some of the records.
        """
        if part != "holdout" or not any(subject is not None for subject in self._subjects.get(part, ())):
            return None
        return self.units(part, where)

    def units(self, part: str, where: NDArray[np.bool_] | None = None) -> equivalence.Clusters:
        """Return which records of a part are of one subject, [n]; one whose subject is not known stands for itself.

        ``where`` selects some of the records.
        """
        subjects = self._subjects.get(part) or [None] * len(self._targets[part])
        own = [f"subject {name}" if name is not None else f"record {i}" for i, name in enumerate(subjects)]
        kept = own if where is None else [name for name, keep in zip(own, where, strict=True) if keep]
        return np.unique(kept, return_inverse=True)[1].astype(np.int64)

    def record_errors(
        self,
        part: str,
        rows: Mapping[str, Array],
        where: NDArray[np.bool_] | None = None,
        *,
        unseen: int = equivalence.UNSEEN,
        sample: bool = False,
    ) -> dict[str, float]:
        """Return per judged model the error over records of its mean less that of the other references.

        As far as seeds do not explain it (:func:`~expunge.numerics.equivalence.beyond_seeds`), and no less than so few
        records could not have shown. ``rows`` are a per-record statistic by model, [n], of all records of the part or
        of those in ``where``; for ``unseen`` see :func:`~expunge.numerics.equivalence.unseen_units`. ``sample``
        says that they stand for others, as those of a sampled part do: forgotten records of which some were looked at.
        """
        sampled, n = sample or part in _SAMPLED, len(rows[self.candidate])
        clusters = self.clusters(part, where) if sampled else None
        if clusters is not None and len(clusters) != n:
            raise ValueError(f"{n} values for {len(clusters)} {part} records: `where` says which they are of")
        plain = {m: equivalence.clustered_error(self.differences(rows, m), clusters) for m in self.judged}
        errors = equivalence.beyond_seeds(plain, self.references)
        if sampled:
            least = equivalence.unseen_units(n if clusters is None else int(clusters.max()) + 1, unseen)
            left = 1.0 if sample else equivalence.left_over(len(self._targets[part]), self._drawn_of.get(part))
            errors = {model: left * math.hypot(error, least) for model, error in errors.items()}
        for model in errors:
            others = [float(np.mean(rows[other])) for other in self.references if other != model]
            rounding = 1e-12 * max(1.0, *np.abs(others))
            if len(others) > 1 and np.ptp(others) <= rounding:
                errors[model] = max(errors[model], equivalence.unseen_error(n, len(self.references)))
        return errors

    def compare_means(
        self,
        check: Check,
        parts: tuple[str, ...],
        statistic: Callable[[str], Array],
        *,
        where: NDArray[np.bool_] | None = None,
        sample: bool = False,
        **more: Any,
    ) -> Measurement | NotMeasured:
        """Measure the mean over records of a per-record statistic ``model -> [n]``, paired on the same records.

        ``where`` says which records of the part it is of, where not of all; for ``sample`` see :meth:`record_errors`.
        """
        because = self.lacks(*parts)
        if because:
            return NotMeasured(check=check.name, because=because)
        rows = {model: statistic(model) for model in self.models}
        if not len(rows[self.candidate]):
            return NotMeasured(check=check.name, because="no record of the judging part qualifies")
        values = {model: float(row.mean()) for model, row in rows.items()}
        if not all(np.isfinite(value) for value in values.values()):
            return NotMeasured(check=check.name, because="a value is not a finite number")
        part = next((part for part in parts if part in _SAMPLED), parts[0])
        errors = self.record_errors(part, rows, where, sample=sample)
        return self.compare(check, values, n=len(rows[self.candidate]), errors=errors, **more)

    @property
    def judged(self) -> tuple[str, ...]:
        """Candidate and references: what is compared with the (other) references."""
        return tuple(dict.fromkeys([self.candidate, *self.references]))

    def differences(self, rows: Mapping[str, Array], model: str) -> Array:
        """Return the model's row minus the mean row of the references, itself left out, [n]."""
        others = [rows[reference] for reference in self.references if reference != model]
        return rows[model] - np.asarray(np.mean(others, axis=0))

    def compare(
        self,
        check: Check,
        values: Mapping[str, float],
        *,
        n: int,
        errors: Mapping[str, float],
        seed_scale: float = 1.0,
        details: Mapping[str, str] | None = None,
        charts: Callable[[], tuple[Chart, ...]] = tuple,
    ) -> Measurement:
        """Return the measurement of a quantity given on every model; ``errors`` over records on :attr:`judged`.

        ``charts`` is asked only where there is a measurement to draw beside.
        """
        record_error = errors[self.candidate]
        references = tuple(values[model] for model in self.references)
        interval = equivalence.difference(
            values[self.candidate], references, record_error=record_error, alpha=self.alpha, scale=seed_scale
        )
        return Measurement(
            check=check.name,
            value=values[self.candidate],
            references=references,
            original=values[self.original],
            interval=interval,
            n=n,
            record_error=record_error,
            null_errors=tuple(errors[model] for model in self.references),
            seed_scale=seed_scale,
            better=check.better,
            unit=check.unit,
            details=self._measured_by | dict(details or {}),
            cannot_see=check.cannot_see,
            charts=charts(),
        )

    @property
    def _measured_by(self) -> dict[str, str]:
        """Return what a nat, a bit and a right answer mean where answers are numbers."""
        if self.scale is None:
            return {}
        return {"typical error of an answer": f"{self.scale:.4g}: answers within it are right, losses are in it"}

    def against(
        self,
        check: Check,
        values: Mapping[str, float],
        yardstick: Yardstick,
        *,
        n: int,
        error: float,
        details: Mapping[str, str] | None = None,
        charts: Callable[[], tuple[Chart, ...]] = tuple,
    ) -> Measurement:
        """Return the measurement of a quantity that has a yardstick without references.

        ``values`` on the candidate and the original; ``error`` is the standard error of the candidate's difference.
        """
        value = values[self.candidate]
        return Measurement(
            check=check.name,
            value=value,
            references=(),
            original=values[self.original],
            interval=known.difference(value, yardstick.value, error=error, alpha=self.alpha),
            n=n,
            record_error=error,
            null_errors=(),
            better=check.better,
            unit=check.unit,
            details=self._measured_by | dict(details or {}),
            cannot_see=check.cannot_see,
            charts=charts(),
            yardstick=yardstick,
        )
