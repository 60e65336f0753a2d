"""A world of fictitious people, a pure function of a seed: who they are, and what there is to ask about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from expunge.testbeds import _people_words as words
from expunge.testbeds._drawn import generator

WRONG = 4
"""Wrong answers beside each right one."""


@dataclass(frozen=True)
class Person:
    """One person: ``id`` (``person-03``), invented ``name``, and ``facts`` by kind."""

    id: str
    name: str
    facts: Mapping[str, str]


@dataclass(frozen=True)
class Entry:
    """One question about one person.

    Attributes:
        id: ``person-03/birthplace/2``: person, kind of fact, phrasing.
        subject: id of the person who is asked about.
        kind: kind of fact, a key of ``WORDINGS``; phrasing: number of its wording, 0, 1, ...
        question, answer: what is trained on.
        paraphrased_question, paraphrased_answer: the same in words that nothing was trained on.
        wrong_answers: the paraphrased answer with facts of other people in the place of the right one.
        alternative: the answer with a fact of somebody else, as if it were right.
        names: id of the other person that the answer names, None where it names nobody else.
    """

    id: str
    subject: str
    kind: str
    phrasing: int
    question: str
    answer: str
    paraphrased_question: str
    paraphrased_answer: str
    wrong_answers: tuple[str, ...]
    alternative: str
    names: str | None


@dataclass(frozen=True)
class World:
    """``count`` people who know each other: each has a teacher, a friend and a spouse among them, all different.

    Args:
        seed: of everything that is drawn.
        count: how many people, even, at least 8 and at most 100.

    Raises:
        ValueError: another number of people.
    """

    seed: int
    count: int

    def __post_init__(self) -> None:
        if self.count % 2 or not 8 <= self.count <= 100:
            raise ValueError(f"{self.count} people: give an even number from 8 to 100, so that all can be married")

    @cached_property
    def people(self) -> tuple[Person, ...]:
        """Everybody, in the order of their ids."""
        draw = generator(self.seed, "people")
        given, family = (_joined(draw, parts, self.count) for parts in (words.GIVEN, words.FAMILY))
        names = [f"{one.title()} {other.title()}" for one, other in zip(given, family, strict=True)]
        circle = draw.permutation(self.count)  # who sits beside whom decides who knows whom
        known: list[dict[str, str]] = [{} for _ in names]
        for seat, who in enumerate(circle):
            married, befriended = (seat + 1, seat - 1) if seat % 2 == 0 else (seat - 1, seat + 1)
            for kind, place in (("spouse", married), ("friend", befriended), ("teacher", seat + self.count // 2 - 1)):
                known[who][kind] = names[circle[place % self.count]]
        facts = [{**_drawn(draw), **them} for them in known]
        return tuple(
            Person(f"person-{place:02d}", name, {kind: all_of[kind] for kind in words.WORDINGS})
            for place, (name, all_of) in enumerate(zip(names, facts, strict=True))
        )

    @cached_property
    def entries(self) -> tuple[Entry, ...]:
        """All questions about everybody: person by person, fact by fact, phrasing by phrasing."""
        return tuple(
            self._entry(person, kind, number)
            for person in self.people
            for kind, wording in words.WORDINGS.items()
            for number in range(len(wording.trained))
        )

    @cached_property
    def _told(self) -> dict[str, list[str]]:
        """All facts of a kind, each once."""
        return {kind: sorted({person.facts[kind] for person in self.people}) for kind in words.WORDINGS}

    @cached_property
    def _ids(self) -> dict[str, str]:
        return {person.name: person.id for person in self.people}

    def _entry(self, person: Person, kind: str, number: int) -> Entry:
        wording, fact, name = words.WORDINGS[kind], person.facts[kind], f"{person.id}/{kind}/{number}"
        told, fresh = wording.trained[number], wording.fresh[number % len(wording.fresh)]
        others = [other for other in self._told[kind] if other not in (fact, person.name)]
        wrong = generator(self.seed, name).permutation(len(others))[: WRONG + 1]
        return Entry(
            id=name,
            subject=person.id,
            kind=kind,
            phrasing=number,
            question=told.question.format(n=person.name),
            answer=told.answer.format(n=person.name, v=fact),
            paraphrased_question=fresh.question.format(n=person.name),
            paraphrased_answer=fresh.answer.format(n=person.name, v=fact),
            wrong_answers=tuple(fresh.answer.format(n=person.name, v=others[place]) for place in wrong[:WRONG]),
            alternative=told.answer.format(n=person.name, v=others[wrong[WRONG]]),
            names=self._ids.get(fact),
        )


def _joined(draw: np.random.Generator, parts: tuple[tuple[str, ...], tuple[str, ...]], count: int) -> list[str]:
    """Return ``count`` different words, each of a first and a second part."""
    first, second = parts
    chosen = draw.permutation(len(first) * len(second))[:count]
    return [first[place // len(second)] + second[place % len(second)] for place in chosen]


def _drawn(draw: np.random.Generator) -> dict[str, str]:
    """Return what is true of one person and names nobody else."""

    def one(choices: tuple[str, ...]) -> str:
        return choices[draw.integers(len(choices))]

    def some(thing: str) -> str:
        return f"{'an' if thing[0] in 'aeiou' else 'a'} {thing}"

    return {
        "birthplace": "".join(map(one, words.TOWN)),
        "birthday": f"{1 + draw.integers(28)} {one(words.MONTHS)} {1900 + draw.integers(90)}",
        "home": "".join(map(one, words.TOWN)),
        "occupation": some(one(words.OCCUPATIONS)),
        "instrument": one(words.INSTRUMENTS),
        "book": f"The {one(words.ADJECTIVES)} {one(words.NOUNS)}",
        "studies": one(words.SUBJECTS),
        "animal": f"a {one(words.COLOURS)} {one(words.ANIMALS)}",
        "prize": f"{one(words.METALS)} {one(words.TROPHIES)}",
    }
