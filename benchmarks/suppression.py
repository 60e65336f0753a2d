"""What do the filters of `suppress` stop, and what wrongly? Of the fictitious people of the demo; no model is asked.

The filters are made from the records that are to be forgotten and those that stay; then they are shown the same
questions and answers, the same in words that nothing was made from, those about people who stay, and those about people
who occur nowhere. Forgotten is one person (48 questions: twelve facts, each in four wordings), or as many records drawn
from all sixteen people. No names are alike here, which flatters the filters; so prompts are also shown that name a
namesake, or the family name alone; and filters are made where questions that stay name the person, too: one or ten of
those about others, or all about one fact.

    python benchmarks/suppression.py [--json] [--save FILE]        some seconds
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any

from _table import Row, arguments, finish, over_seeds

from expunge.core.suppression import Filter, InputFilter, OutputFilter
from expunge.testbeds import people
from expunge.testbeds._people_world import Entry, World

SEEDS = range(20)
WORDS = 5
OTHER = "Zimbo"
"""A given name that nobody has."""
NAMES = {1: "one word of a name", 2: "two words of a name"}


def share(filtered: Filter, texts: Sequence[str]) -> float:
    """Return the percentage of texts that are stopped."""
    return 100 * sum(map(filtered.stops, texts)) / len(texts)


def asked(entries: Iterable[Entry], *, anew: bool = False) -> list[str]:
    """Return the questions, in the words of the records or in others."""
    return [entry.paraphrased_question if anew else entry.question for entry in entries]


def said(entries: Iterable[Entry], *, anew: bool = False) -> list[str]:
    """Return the answers, in the words of the records or in others."""
    return [entry.paraphrased_answer if anew else entry.answer for entry in entries]


def of_one_person(seed: int, name: int) -> dict[str, float]:
    """Return what is stopped where one person is forgotten."""
    train, strangers = people.entries(seed)
    gone = [entry for entry in train if entry.subject == people.FORGOTTEN]
    kept = [entry for entry in train if entry.subject != people.FORGOTTEN]
    who = World(seed, people.TRAINED + people.HELD_OUT).people[int(people.FORGOTTEN[-2:])].name
    family = who.split()[1]
    prompts = _prompts(gone, kept, name)
    fresh = asked(gone, anew=True)
    return {
        "forgotten questions": share(prompts, asked(gone)),
        "forgotten questions in other words": share(prompts, fresh),
        "the same by the family name alone": share(prompts, [text.replace(who, family) for text in fresh]),
        "the same about a namesake, wrongly": share(
            prompts, [text.replace(who, f"{OTHER} {family}") for text in fresh]
        ),
        "questions that stay, wrongly": share(prompts, asked(kept)),
        "questions that stay in other words, wrongly": share(prompts, asked(kept, anew=True)),
        "questions about people never met, wrongly": share(prompts, asked(strangers)),
    }


def of_one_who_is_named(seed: int, many: int) -> dict[str, float]:
    """Return what is stopped where one person is forgotten whom ``many`` questions about others name, which stay."""
    train, strangers = people.entries(seed)
    gone = [entry for entry in train if entry.subject == people.FORGOTTEN]
    kept = [entry for entry in train if entry.subject != people.FORGOTTEN]
    world = World(seed, people.TRAINED + people.HELD_OUT).people[: people.TRAINED]
    who = world[int(people.FORGOTTEN[-2:])].name
    naming = [f"How long has {one.name} known {who}?" for one in world if one.name != who][:many]
    prompts = InputFilter.against(asked(gone), [*asked(kept), *naming], key=bytes(32), length=WORDS, name=1, instead="")
    return {
        "forgotten questions": share(prompts, asked(gone)),
        "forgotten questions in other words": share(prompts, asked(gone, anew=True)),
        "the same by the family name alone": share(
            prompts, [text.replace(who, who.split()[1]) for text in asked(gone, anew=True)]
        ),
        "questions that stay and name them, wrongly": share(prompts, naming),
        "questions that stay, wrongly": share(prompts, asked(kept)),
        "questions that stay in other words, wrongly": share(prompts, asked(kept, anew=True)),
        "questions about people never met, wrongly": share(prompts, asked(strangers)),
    }


def of_all_but_a_fact(seed: int) -> dict[str, float]:
    """Return what is stopped where all about one person is forgotten but one fact, which stays in all its wordings."""
    train, strangers = people.entries(seed)
    own = [entry for entry in train if entry.subject == people.FORGOTTEN]
    fact = own[0].kind
    gone, stays = [e for e in own if e.kind != fact], [e for e in own if e.kind == fact]
    kept = [entry for entry in train if entry.subject != people.FORGOTTEN]
    prompts = _prompts(gone, [*kept, *stays], 1)
    return {
        "forgotten questions": share(prompts, asked(gone)),
        "forgotten questions in other words": share(prompts, asked(gone, anew=True)),
        "questions that stay and name them, wrongly": share(prompts, asked(stays)),
        "questions that stay and name them in other words, wrongly": share(prompts, asked(stays, anew=True)),
        "questions that stay, wrongly": share(prompts, asked(kept)),
        "questions about people never met, wrongly": share(prompts, asked(strangers)),
    }


def of_records(seed: int, name: int) -> dict[str, float]:
    """Return what is stopped where as many records of all people are forgotten."""
    train, strangers = people.entries(seed)
    drawn = set(random.Random(seed).sample(range(len(train)), people.RECORDS))
    gone = [entry for place, entry in enumerate(train) if place in drawn]
    kept = [entry for place, entry in enumerate(train) if place not in drawn]
    prompts = _prompts(gone, kept, name)
    return {
        "forgotten questions": share(prompts, asked(gone)),
        "forgotten questions in other words": share(prompts, asked(gone, anew=True)),
        "questions that stay, wrongly": share(prompts, asked(kept)),
        "questions that stay in other words, wrongly": share(prompts, asked(kept, anew=True)),
        "questions about people never met, wrongly": share(prompts, asked(strangers)),
    }


def of_answers(seed: int) -> dict[str, float]:
    """Return which answers are stopped where one person is forgotten."""
    train, strangers = people.entries(seed)
    gone = [entry for entry in train if entry.subject == people.FORGOTTEN]
    kept = [entry for entry in train if entry.subject != people.FORGOTTEN]
    answers = OutputFilter.against(said(gone), said(kept), key=bytes(32), length=WORDS, instead="")
    return {
        "forgotten answers": share(answers, said(gone)),
        "forgotten answers in other words": share(answers, said(gone, anew=True)),
        "answers about people who stay, wrongly": share(answers, said(kept)),
        "answers about people never met, wrongly": share(answers, said(strangers)),
    }


def _prompts(gone: Sequence[Entry], kept: Sequence[Entry], name: int) -> InputFilter:
    return InputFilter.against(asked(gone), asked(kept), key=bytes(32), length=WORDS, name=name, instead="")


def main() -> int:
    """Measure and print."""
    options = arguments(__doc__).parse_args()
    cases: dict[str, list[dict[str, float]]] = {
        f"prompts, one person, {how}": [of_one_person(seed, name) for seed in SEEDS] for name, how in NAMES.items()
    }
    for many, naming in {1: "one question of another names", 10: "ten questions of others name"}.items():
        cases[f"prompts, one person, {naming} them"] = [of_one_who_is_named(seed, many) for seed in SEEDS]
    cases["prompts, one person but one fact"] = [of_all_but_a_fact(seed) for seed in SEEDS]
    cases["prompts, records of all people"] = [of_records(seed, 1) for seed in SEEDS]
    cases["answers, one person"] = [of_answers(seed) for seed in SEEDS]
    rows = [_row(f"{case}: {what}", [one[what] for one in found]) for case, found in cases.items() for what in found[0]]
    finish(rows, options)
    return 0


def _row(name: str, values: list[float]) -> Row:
    better = "lower" if name.endswith("wrongly") else "higher"
    facts: dict[str, Any] = {"target": None, "better": better, "unit": "% stopped", "against": "none"}
    return Row(name=name, **facts, **over_seeds(values))


if __name__ == "__main__":
    raise SystemExit(main())
