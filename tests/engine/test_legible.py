"""Texts that a model cannot read: unknown tokens, and a tokenizer whose numbers are other ones."""

import math

import pytest
import torch

from expunge.core.errors import InvalidProblem
from expunge.core.problem import Problem
from expunge.core.records import Records
from expunge.data.language import LanguageRecords
from expunge.engine.legible import illegible
from expunge.workflow.bad_input import look
from tests.support import languages as L


def written(prompts, answers, **more):
    records = LanguageRecords(prompts, answers, tokenizer=L.tokenizer(**more))
    return Problem(model=L._by_heart(), train=records, task="causal_lm", forget=["0"])


def test_what_the_model_has_learnt_is_legible():
    assert illegible(L.spoken()) == []


def test_texts_of_unknown_words_are_refused_before_any_work():
    # Of the four scored tokens of each record, the end among them, three are unknown: 75 %.
    problem = written(["where ?"] * 4, [f"qq{i} zz yy" for i in range(4)])
    (found,) = illegible(problem)
    assert found.fatal
    assert found.found.startswith("75% of the tokens")
    with pytest.raises(InvalidProblem):
        look(problem)


def test_some_unknown_words_are_told():
    prompts, answers, _, _ = L.facts()
    found = illegible(written(prompts, [answer.replace("born", "hatched") for answer in answers]))
    assert [(each.fatal, each.what) for each in found] == [(False, "many tokens are unknown ones")]


def test_a_mark_that_has_another_use_counts_for_nothing():
    problem = written(["where ?"] * 4, [f"qq{i} zz yy" for i in range(4)], eos_token="[UNK]")
    assert not any("unknown" in each.what for each in illegible(problem))


class Renumbered(Records):
    """The same texts, their tokens under other numbers."""

    def __init__(self, records):
        self.ids, self.subjects, self._records = records.ids, records.subjects, records
        self._numbers = torch.randperm(len(L.WORDS), generator=torch.Generator().manual_seed(0))

    def __getitem__(self, index):
        inputs, labels = self.read([index])
        return {name: part[0] for name, part in inputs.items()}, labels[0]

    def read(self, indices):
        inputs, labels = self._records.read(indices)
        other = torch.where(labels >= 0, self._numbers[labels.clamp_min(0)], labels)
        return {**inputs, "input_ids": self._numbers[inputs["input_ids"]]}, other

    def content(self, index):
        return self._records.content(index)


def test_other_numbers_for_the_same_words_are_seen_in_the_loss():
    problem = Problem(model=L._by_heart(), train=Renumbered(L.records()), task="causal_lm", forget=["kaba-town"])
    (found,) = illegible(problem)
    assert not found.fatal
    assert f"an even guess is {math.log(len(L.WORDS)):.3g}" in found.found
    told = float(found.found.split()[4])
    assert told > math.log(len(L.WORDS))
