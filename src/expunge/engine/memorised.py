"""How much of each text a model has by heart, and what it has by heart of text it never saw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from expunge.core.errors import InvalidProblem, Obstacle
from expunge.core.method import Cost
from expunge.core.records import Records
from expunge.engine.context import Context
from expunge.engine.guard import right_answers
from expunge.engine.loop import evaluating
from expunge.numerics._arrays import Array
from expunge.numerics.extraction import overlap
from expunge.tasks.causal_lm import following

_TOGETHER = 16
"""Texts whose beginnings are continued at one time."""


def shares(run: Context, model: Any, records: Records) -> Array:
    """Return the share of scored tokens of each record that are the most likely ones, [n]; counted as reading."""
    right = right_answers(run, model, records)
    assert right is not None
    return right.cpu().numpy()


def continued(model: Any, texts: Sequence[Tensor], *, stride: int = 1) -> list[list[list[int]]]:
    """Return for each text [T] the greedy continuation, to its length, of its first 1, 1 + stride, ... tokens.

    At every place the model is asked once for the next token of all beginnings that have got there.
    """
    starts = [range(1, len(text), stride) for text in texts]
    begin = torch.tensor([start for each in starts for start in each])
    length = torch.tensor([len(text) for text, each in zip(texts, starts, strict=True) for _ in each])
    rows = torch.zeros(len(begin), int(length.max()), dtype=torch.long)
    for row, text in zip(rows, (t for t, each in zip(texts, starts, strict=True) for _ in each), strict=True):
        row[: len(text)] = text
    with evaluating(model), torch.no_grad():
        for place in range(1, rows.shape[1]):
            going = (begin <= place) & (length > place)
            rows[going, place] = following(model, rows[going, :place]).to(rows.device)
    said = iter(row[first:last].tolist() for row, first, last in zip(rows, begin, length, strict=True))
    return [[next(said) for _ in each] for each in starts]


def extraction_likelihood(
    run: Context, model: Any, records: Records, *, n: int, stride: int = 1, end: int | None = None
) -> Array:
    """Return the extraction likelihood EL_n of each record that is longer than n tokens, [m]; counted as reading.

    The mean over its beginnings (every ``stride``-th) that leave n tokens or more, of the n-grams of the greedy
    continuation that occur in what follows; a continuation ends at the token ``end``. Prompts are part of the text.
    Source: Jang et al. 2023, arXiv 2210.01504, section 3.2.

    Raises:
        InvalidProblem: no record is that long.
    """
    whole = [_tokens(records, index) for index in range(len(records))]
    texts = [text for text in whole if len(text) > n]
    run.spent += Cost(read=len(texts))
    found = []
    for first in range(0, len(texts), _TOGETHER):
        some = texts[first : first + _TOGETHER]
        for text, rows in zip(some, continued(model, some, stride=stride), strict=True):
            truth, parts = text.tolist(), []
            for start, said in zip(range(1, len(truth), stride), rows, strict=True):
                if len(truth) - start >= n:
                    said = said[: said.index(end)] if end in said else said
                    parts.append(overlap(said, truth[start:], n))
            found.append(float(np.mean(parts)))
    if not found:
        what, fix = "no text is long enough for pieces of it to be compared", "set a smaller ngram, or another rule"
        raise InvalidProblem([Obstacle(what=what, where="ngram", found=f"none of more than {n} tokens", fix=fix)])
    return np.array(found)


def _tokens(records: Records, index: int) -> Tensor:
    inputs, _ = records.read([index])
    text: Tensor = inputs["input_ids"][0][inputs["attention_mask"][0].bool()]
    return text
