"""What is said of the forgotten texts after a treatment that may bring them back, the same for every model.

Each starts from the model as it came: its weights are rounded as runtimes with little memory hold them, it is trained
further on other texts, forgotten ones or not, or it is shown other texts before the question.

Sources: rounding: Zhang et al. 2025, arXiv 2410.16454; training on other forgotten records and asking for the rest:
Deeb and Roger 2024, arXiv 2410.08827; on related texts: Hu et al. 2024, arXiv 2406.13356; on a few unrelated ones:
Łucki et al. 2024, arXiv 2409.18025; examples before the question: Doshi and Stickland 2024, arXiv 2411.12103.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from expunge.core.check import EvidenceKind
from expunge.core.digest import keyed
from expunge.core.errors import Diverged
from expunge.core.method import Cost
from expunge.core.problem import Problem
from expunge.core.records import Records, View
from expunge.engine.adapters import merged
from expunge.engine.answers import output_of
from expunge.engine.batches import in_order
from expunge.engine.relearning import RelearningConfig, relearn
from expunge.numerics.extraction import extraction_strength
from expunge.numerics.quantised import quantise
from expunge.tasks.causal_lm import limits

Array = NDArray[np.float64]
BITS = (8, 4)
"""Widths that weights are rounded to, in common use both."""
TRAINED = 40
"""Texts that were not forgotten and are trained on: as many as are judged, and no more than this."""
NEIGHBOURS, OTHERS = "after neighbours", "after others"
"""Arrays of what is said after a training on retained texts near the forgotten ones, and on held-out ones."""
SHOTS = 3
"""Examples before a question, at most."""
COMMON = 1 / 3
"""A token that so many of the forgotten records hold, or more, tells of none of them."""
SHARED = 0.5
"""Of the telling tokens of the shorter of two answers: with as many in both they tell of one thing."""


@dataclass(frozen=True)
class Apart:
    """Forgotten records that have no answer in common: ``trained``, which the attacker has, and ``measured``."""

    trained: View
    measured: View


@dataclass(frozen=True)
class Treatments:
    """Which treatments are asked for.

    Attributes:
        bits: widths that weights are rounded to.
        apart: what is trained on and what is measured; None where nobody asks or one cannot be had without the other.
        shots: retained records to show before a question; None where nobody asks or there is no room.
        others: texts to train on that were not forgotten, by the name of the array of what is said afterwards.
    """

    bits: tuple[int, ...] = ()
    apart: Apart | None = None
    shots: View | None = None
    others: Mapping[str, View] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        problem: Problem,
        forget: Records,
        seed: int,
        asked: Collection[EvidenceKind],
        near: Records | None = None,
    ) -> Treatments:
        """Return those that are among the ``asked`` evidence; ``forget`` are the judged forget records.

        ``near`` are the retained records near them.
        """
        sources = {
            NEIGHBOURS: near if EvidenceKind.NEIGHBOURING in asked else None,
            OTHERS: problem.held_out if EvidenceKind.UNRELATED in asked else None,
        }
        found = {
            name: elsewhere(problem, part, min(TRAINED, len(forget)), seed)
            for name, part in sources.items()
            if part is not None
        }
        return cls(
            BITS if EvidenceKind.ROUNDED in asked else (),
            apart(problem, forget, seed) if EvidenceKind.RELATED in asked else None,
            shots(problem, seed) if EvidenceKind.SHOTS in asked else None,
            {name: part for name, part in found.items() if len(part)},
        )

    @property
    def key(self) -> list[Any]:
        """Return what tells these treatments from others, ready for JSON."""
        parts = [] if self.apart is None else [list(self.apart.trained.ids), list(self.apart.measured.ids)]
        others = [[name, list(part.ids)] for name, part in self.others.items()]
        return [list(self.bits), parts, [] if self.shots is None else list(self.shots.ids), others]


def treated(
    problem: Problem,
    open_model: Callable[[], Any],
    forget: Records,
    treatments: Treatments,
    config: RelearningConfig | None,
    *,
    seed: int,
) -> tuple[dict[str, Array], Cost]:
    """Return what a model says of the judged forget records after each treatment, and the work of it.

    ``N bits`` and ``shots`` are of their scored tokens, [N, 4]; ``related`` is the extraction strength of the measured
    ones after every pass of training on others, [passes, m], :data:`NEIGHBOURS` and :data:`OTHERS` that of all of them
    after training on texts that were not forgotten, [passes, n]. Where there is nothing to round, or a weight is not
    finite, there is no such array.
    """
    arrays: dict[str, Array] = {}
    read = trained = 0
    for bits in treatments.bits:
        model = merged(open_model())  # each of the two matrices of an adapter would be rounded by itself
        try:
            quantise(model, bits)
        except ValueError:
            continue
        arrays[f"{bits} bits"] = output_of(problem, model, forget)
        read += len(forget)
    if treatments.shots is not None:
        arrays["shots"] = output_of(problem, open_model(), Shown(forget, treatments.shots))
        read += len(forget) * (1 + len(treatments.shots))
    pairs = {} if treatments.apart is None else {"related": (treatments.apart.trained, treatments.apart.measured)}
    pairs |= {name: (part, forget) for name, part in treatments.others.items()}
    for name, (one, other) in pairs.items() if config is not None else ():
        try:
            said = relearn(problem, open_model(), one, config, seed=seed, measured=other, value=_strength)
        except Diverged:
            said = np.full((config.epochs, len(other)), np.nan)  # measured as: not measured
        arrays[name] = said
        trained += config.epochs * len(one)
        read += config.epochs * len(other)
    return arrays, Cost(trained=trained, read=read + trained)


def _strength(units: Any) -> Tensor:
    return torch.from_numpy(extraction_strength(units.correct.numpy(), units.record.numpy(), units.batch_size))


# --- what an attacker has, and what is asked for ------------------------------------------------------------------


def apart(problem: Problem, judged: Records, seed: int) -> Apart | None:
    """Return about half of the forgotten records, and those judged ones that have nothing in common with them.

    None where all are of one kind, or none of the judged ones is left.
    """
    forget = problem.forget_view
    group = groups(forget)
    key = keyed(b"expunge related", seed)
    # Whole groups, in an order that is a function of (seed, ids), until half of the records are trained on.
    first = {int(g): min(keyed(key, forget.ids[i]) for i in np.flatnonzero(group == g)) for g in np.unique(group)}
    taken: set[int] = set()
    count = 0
    for each in sorted(first, key=first.__getitem__)[:-1]:
        if count >= len(forget) / 2:
            break
        taken.add(each)
        count += int((group == each).sum())
    known = {name for name, own in zip(forget.ids, group.tolist(), strict=True) if own in taken}
    measured = [name for name in judged.ids if name not in known]
    if not known or not measured:
        return None
    return Apart(forget.select([name for name in forget.ids if name in known]), problem.records.select(measured))


def elsewhere(problem: Problem, texts: Records, most: int, seed: int) -> View:
    """Return up to ``most`` of these texts, none of which has the whole answer of a forgotten one."""
    known = {tuple(answer) for answer in _answers(problem.forget_view)}
    key = keyed(b"expunge elsewhere", seed)
    free = [name for name, answer in zip(texts.ids, _answers(texts), strict=True) if tuple(answer) not in known]
    chosen = set(sorted(free, key=lambda name: keyed(key, name))[:most])
    return texts.select([name for name in texts.ids if name in chosen])


def groups(records: Records) -> NDArray[np.int64]:
    """Return which records tell of one thing, [n]: records of one subject where there are several, and like answers.

    Two answers are alike where they share at least :data:`SHARED` of the shorter one's telling tokens: those that less
    than :data:`COMMON` of all records hold, or two. An answer without any is like none, but for its copies.
    """
    names, answers = records.subjects, [frozenset(tokens) for tokens in _answers(records)]
    count, places = len(answers), {token: i for i, token in enumerate(sorted(frozenset().union(*answers)))}
    owner = np.repeat(np.arange(count), [len(answer) for answer in answers])
    column = np.array([places[token] for answer in answers for token in answer], dtype=np.int64)
    held = csr_array((np.ones(len(owner)), (owner, column)), shape=(count, max(1, len(places))))
    often = np.asarray(held.sum(axis=0)).ravel()
    telling = held[:, (often <= 2) | (often < COMMON * count)]
    size = np.asarray(telling.sum(axis=1)).ravel()
    shared = (telling @ telling.T).tocoo()
    near = shared.data >= SHARED * np.minimum(size[shared.row], size[shared.col])
    links = [(shared.row[near], shared.col[near]), _alike([tuple(sorted(answer)) for answer in answers])]
    if len(set(names)) > 1:
        links.append(_alike([name if name is not None else i for i, name in enumerate(names)]))
    rows, columns = (np.concatenate(side) for side in zip(*links, strict=True))
    graph = csr_array((np.ones(len(rows)), (rows, columns)), shape=(count, count))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def _alike(keys: Sequence[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return links from every place to the first that has the same key."""
    first: dict[Any, int] = {}
    return np.arange(len(keys)), np.array([first.setdefault(key, i) for i, key in enumerate(keys)], dtype=np.int64)


def _answers(records: Records) -> list[list[int]]:
    """Return the scored tokens of each record."""
    found: list[list[int]] = []
    for _, labels in in_order(records):
        found += [row[row >= 0].tolist() for row in labels[:, 1:]]
    return found


def shots(problem: Problem, seed: int) -> View | None:
    """Return the retained records that are shown before every question: as many as there is room for, 3 at most.

    They tell of the same kind of thing and of no forgotten one. None where not even one fits.
    """
    retain = problem.retain_view
    room = limits(problem.source.open())[1] - max(map(_length, _rows(problem.forget_view)), default=0)
    key = keyed(b"expunge shots", seed)
    chosen: list[str] = []
    for name in sorted(retain.ids, key=lambda record: keyed(key, record))[:SHOTS]:
        needed = _length(next(_rows(retain.select([name]))))
        if needed <= room:
            chosen.append(name)
            room -= needed
    return retain.select(chosen) if chosen else None


class Shown(Records):
    """Texts with others before them; of the others nothing is scored."""

    def __init__(self, records: Records, shots: Records) -> None:
        self.ids, self.subjects, self._records = records.ids, records.subjects, records
        self._before = torch.cat([tokens for tokens, _ in _rows(shots)])

    def __getitem__(self, index: int) -> Any:
        """Return (inputs, labels) of one text."""
        inputs, labels = self.read([index])
        return {name: part[0] for name, part in inputs.items()}, labels[0]

    def read(self, indices: Sequence[int]) -> Any:
        """Return inputs [B, T], padded on the right, and labels [B, T]."""
        inputs, labels = self._records.read(indices)
        before, rows = self._before, len(labels)
        return {
            "input_ids": torch.cat([before.expand(rows, -1), inputs["input_ids"]], dim=1),
            "attention_mask": torch.cat([torch.ones(rows, len(before)).long(), inputs["attention_mask"]], dim=1),
        }, torch.cat([torch.full((rows, len(before)), -100), labels], dim=1)

    def content(self, index: int) -> str:
        """Return the content digest of a text."""
        return self._records.content(index)


def _rows(records: Records) -> Any:
    """Yield (tokens, labels) of each record without padding."""
    for inputs, labels in in_order(records):
        for ids, mask, own in zip(inputs["input_ids"], inputs["attention_mask"].bool(), labels, strict=True):
            yield ids[mask], own[mask]


def _length(row: tuple[Tensor, Tensor]) -> int:
    return len(row[0])
