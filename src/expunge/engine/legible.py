"""Can the model read the records at all? A tokenizer of the right size may be another than it was trained with."""

from __future__ import annotations

import math

import torch

from expunge.core.digest import keyed
from expunge.core.errors import Obstacle
from expunge.core.problem import Problem
from expunge.core.records import Records
from expunge.data.language import NOT_SCORED, LanguageRecords
from expunge.engine.batches import in_order
from expunge.engine.loop import ready
from expunge.numerics.units import Scored
from expunge.tasks.causal_lm import CausalLM

MOST, SOME = 0.5, 0.05
"""Shares of unknown tokens among those that are scored: with more than most of them nothing can be told of a text."""
ASKED = 32
"""Training records that the original is asked for."""


def illegible(problem: Problem) -> list[Obstacle]:
    """Return that many tokens are unknown ones, or that the original knows its own training texts worse than a guess.

    An even guess of V tokens has a loss of ln V nats. What was trained on a text, and is read with the tokenizer of its
    training, is below that; with another one of like size it is above, most often far. Of records that read otherwise
    than :class:`~expunge.data.language.LanguageRecords` do unknown tokens are not known.
    """
    records = problem.records
    if not isinstance(problem.meaning, CausalLM) or not len(records):
        return []
    found = _unknown(records)
    return found if any(each.fatal for each in found) else [*found, *_strange(problem)]


def _unknown(records: Records) -> list[Obstacle]:
    tokenizer = records.tokenizer if isinstance(records, LanguageRecords) else None
    mark = getattr(tokenizer, "unk_token_id", None)
    others = [getattr(tokenizer, f"{name}_token_id", None) for name in ("eos", "bos", "pad")]
    if mark is None or mark in others:  # some families name a token of another use, which stands for nothing unknown
        return []
    unknown = total = 0
    for _, labels in in_order(records):
        unknown += int((labels == mark).sum())
        total += int((labels != NOT_SCORED).sum())
    share = unknown / max(1, total)
    if share <= SOME:
        return []
    return [
        Obstacle(
            what="the tokenizer does not know most of these texts" if share > MOST else "many tokens are unknown ones",
            where="training records",
            found=f"{share:.0%} of the tokens that are scored are {tokenizer.unk_token}",  # type: ignore[union-attr]
            expected="a tokenizer that knows the language of the records: what it does not know, no model has learnt",
            fatal=share > MOST,
            fix="use the tokenizer that the model was trained with, and see whether the column is the right one",
        )
    ]


def _strange(problem: Problem) -> list[Obstacle]:
    ranked = sorted(problem.records.ids, key=lambda name: keyed(b"expunge legible", name))
    model, total, count, guess = ready(problem.source.open()), 0.0, 0, 0.0
    with torch.no_grad():
        for batch in in_order(problem.records.select(ranked[:ASKED]), 8):
            units: Scored = problem.meaning.units(model, batch)
            total, count = total + float(units.loss.double().sum()), count + len(units.loss)
            guess = math.log(units.classes)
    loss = total / max(1, count)
    if not loss > guess:
        return []
    return [
        Obstacle(
            what="the original knows its own training texts worse than an even guess",
            where="training records",
            found=f"a mean loss of {loss:.3g} nats a token; that of an even guess is {guess:.3g}",
            expected="less: it was trained on them",
            fatal=False,
            fix="see whether the tokenizer is the one that it was trained with (the same words under other numbers "
            "look like this), the template too, and whether these are the texts",
        )
    ]
