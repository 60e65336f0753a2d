"""What a model answers in its own words: what of the truth it says, what it makes up, whether it is language at all.

Of every part some records are asked, up to :data:`MOST`, the same for every model. Texts are read here and not kept.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expunge.core.digest import keyed
from expunge.core.method import Cost
from expunge.core.problem import Problem
from expunge.core.records import Records
from expunge.data.language import LanguageRecords
from expunge.engine.prompting import allowed, decoded, ends, split_at_answer
from expunge.engine.writing import Text, write
from expunge.numerics.refusals import refuses
from expunge.numerics.rouge import rouge_l, words
from expunge.numerics.telling import COMMON, from_elsewhere, ngram_entropy
from expunge.tasks.causal_lm import limits

Array = NDArray[np.float64]
MOST = 100
"""Records of a part that are asked: each costs an answer on every model."""
PARTS = ("forget", "retain", "neighbours", "holdout")
FIELDS = ("recall", "elsewhere", "log_prob", "bigrams", "trigrams", "refusal", "f1")
"""What is known of an answer: the columns of the arrays ``written PART``."""


@dataclass(frozen=True)
class Composed:
    """What one model wrote of some records of a part, a number [m] for each.

    Attributes:
        recall: ROUGE-L recall of the true answer, in [0, 1].
        elsewhere: words that retained answers have, and neither the question nor what is true of its subject.
        log_prob: mean log-probability of a token that it wrote, in nats.
        bigrams: entropy of pairs of tokens, in bits; trigrams: of triples.
        refusal: 1.0 where it looks like a refusal (``numerics/refusals``).
        f1: of the same words as ``recall``, as a share of the true and the written ones, in [0, 1].
    """

    recall: Array
    elsewhere: Array
    log_prob: Array
    bigrams: Array
    trigrams: Array
    refusal: Array
    f1: Array

    @classmethod
    def of(cls, rows: Array) -> Composed:
        """Return what an array ``written PART``, [m, 7], tells."""
        return cls(*rows.T)


@dataclass(frozen=True)
class Asked:
    """The records of one part that are asked: ``chosen`` [m] of its n, ``places`` [m] among their ``records``."""

    records: LanguageRecords
    chosen: NDArray[np.int64]
    places: tuple[int, ...]

    @property
    def ids(self) -> list[str]:
        """Their ids."""
        return [self.records.ids[place] for place in self.places]


@dataclass(frozen=True)
class Writing:
    """Which parts a model is asked to answer; ``known`` are words of few retained subjects each."""

    parts: Mapping[str, Asked] = field(default_factory=dict)
    known: frozenset[str] = frozenset()
    context: float = 0.0

    @classmethod
    def of(cls, problem: Problem, parts: Mapping[str, Records], seed: int) -> Writing:
        """Return what is asked of the judged ``parts``; the original is opened to see how long a text it reads.

        Records without a question, without a word in the answer, or without room for it, are left out.
        """
        context = limits(problem.source.open())[1]
        found = {}
        for name in PARTS:
            base = problem.held_out if name == "holdout" else problem.records
            if name in parts and isinstance(base, LanguageRecords):
                own = _part(base, parts[name].ids, context, seed)
                if len(own.chosen):
                    found[name] = own
        retain = parts.get("retain")
        return cls(found, _of_few(retain) if found and retain is not None else frozenset(), context)

    @property
    def key(self) -> list[Any]:
        """Return what tells this from others, ready for JSON."""
        return [[name, part.ids] for name, part in self.parts.items()]

    @property
    def chosen(self) -> dict[str, NDArray[np.int64]]:
        """Which records of each part are asked, ascending."""
        return {name: part.chosen for name, part in self.parts.items()}

    def written(self, model: Any) -> tuple[dict[str, Array], Cost]:
        """Return ``written PART`` [m, 7] by name, columns :data:`FIELDS`, and the work of it: two passes each."""
        arrays = {f"written {name}": self._written(model, part) for name, part in self.parts.items()}
        return arrays, Cost(read=2 * sum(map(len, arrays.values())))

    def _written(self, model: Any, part: Asked) -> Array:
        rows = [split_at_answer(part.records, place) for place in part.places]
        room = [int(min(allowed(len(answer)), self.context - len(prompt))) for prompt, answer in rows]
        said = write(model, [prompt for prompt, _ in rows], room, ends=ends(model, part.records))
        true = _told(part.records)
        return np.array(
            [
                self._row(part.records, place, decoded(part.records, answer.tolist()), text, true)
                for place, (_, answer), text in zip(part.places, rows, said, strict=True)
            ]
        )

    def _row(
        self, records: LanguageRecords, place: int, answer: str, said: Text, true: Mapping[str, list[str]]
    ) -> list[float]:
        text = decoded(records, said.tokens)
        own = [answer, records.question(place), *true.get(records.subjects[place] or "", ())]
        rouge = rouge_l(text, answer)
        return [
            rouge.recall,
            float(len(from_elsewhere(text, self.known, own))),
            said.log_prob,
            ngram_entropy(said.tokens, 2),
            ngram_entropy(said.tokens, 3),
            float(refuses(text) and not refuses(answer)),
            rouge.f1,
        ]


def _part(base: LanguageRecords, ids: Sequence[str], context: float, seed: int) -> Asked:
    key = keyed(b"expunge written", seed)
    fit = []
    for i in sorted(range(len(ids)), key=lambda i: keyed(key, ids[i])):
        if len(fit) == MOST:
            break
        place = base.position[ids[i]]
        prompt, answer = split_at_answer(base, place)
        if base.question(place) and words(decoded(base, answer.tolist())) and len(prompt) + len(answer) <= context:
            fit.append(i)
    fit.sort()
    return Asked(base, np.array(fit, dtype=np.int64), tuple(base.position[ids[i]] for i in fit))


def _told(records: LanguageRecords) -> dict[str, list[str]]:
    """Return all answers about every subject, by its name."""
    found: dict[str, list[str]] = defaultdict(list)
    for place, subject in enumerate(records.subjects):
        if subject is not None:
            found[subject].append(records.answer(place))
    return found


def _of_few(retain: Records) -> frozenset[str]:
    """Return the words that are said of a few subjects only: of less than a third of them, or of two."""
    held: dict[str, set[str]] = defaultdict(set)
    owners = [subject if subject is not None else f"record {i}" for i, subject in enumerate(retain.subjects)]
    for i, owner in enumerate(owners):
        for word in words(retain.text(i) or ""):
            held[word].add(owner)
    count = len(set(owners))
    return frozenset(word for word, who in held.items() if len(who) <= 2 or len(who) < COMMON * count)
