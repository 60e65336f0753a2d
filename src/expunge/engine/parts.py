"""The parts of records that are judged, their neighbours and their variants."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from expunge.core.check import EvidenceKind
from expunge.core.digest import keyed
from expunge.core.problem import Problem
from expunge.core.records import Records, View
from expunge.core.variants import variant_of
from expunge.engine import around, members, prompting, treatments, written
from expunge.engine.batches import in_order
from expunge.engine.benchmarks import Bench, Benchmarks
from expunge.engine.split import Part

SAMPLE = 2000
"""Retained records that are measured; a paired mean over 2,000 has an error far below any margin in use."""
NEIGHBOURS = 3
"""Nearest retained records per forgotten one."""
REPRESENTED = ("forget", "retain")
"""Parts whose features are kept, where a check asks for them."""


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
            name: np.array([of[part_of(name)].position[variant_of(own)] for own in part.ids], dtype=np.int64)
            for name, part in self.variants.items()
        }


VARIANTS = {
    EvidenceKind.PARAPHRASES: ("paraphrased_question",),
    EvidenceKind.WRONG_ANSWERS: ("paraphrased_answer", "wrong_answer"),
}
"""Variants of forgotten records that evidence is made of."""


def part_of(name: str) -> str:
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
