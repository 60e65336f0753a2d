"""What a model writes by itself when it is asked: the likeliest words or drawn ones, many texts at a time.

Shapes: n prompts, T tokens of one, R rows of a batch, V the vocabulary.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from expunge.engine.loop import evaluating
from expunge.numerics.tokens import Head
from expunge.tasks.causal_lm import body_and_head, predicting

TOGETHER = 2**14
"""Tokens, prompts and answers together, whose cache exists at one time; a text is written alone where it has more."""


@dataclass(frozen=True)
class Text:
    """What was written: its ``tokens`` without the one that ends it, and their mean log-probability, the end's too."""

    tokens: list[int]
    log_prob: float


def write(
    model: Any,
    prompts: Sequence[Tensor],
    limits: Sequence[int],
    *,
    ends: Collection[int],
    draws: NDArray[np.float64] | None = None,
) -> list[Text]:
    """Return what a model goes on with after each of n prompts [T], until it ends or has ``limits`` [n] tokens.

    Models of transformers keep what they made of a text (their cache); prompts are padded on the left. Others are run
    on the whole text for every token. How prompts are batched changes nothing.

    Args:
        model: a causal language model; it is left in the mode that it came in.
        prompts: one token or more in each.
        limits: 1 or more each; with its prompt no text may be longer than the model reads.
        ends: tokens that end a text.
        draws: numbers [n, limit] in [0, 1) that tokens are drawn by, at temperature 1, by inversion; without them the
            most likely token is taken, of equal ones that of the lowest number.
    """
    found: dict[int, Text] = {}
    parts = body_and_head(model)
    cached = parts if parts is not None and "past_key_values" in _takes(parts[0]) else None
    with evaluating(model), torch.no_grad():
        for batch in _batches(prompts, limits):
            chosen = None if draws is None else torch.from_numpy(draws[batch])
            texts = [prompts[i] for i in batch]
            going = _Whole(model, texts) if cached is None else _Cached(*cached, texts)
            rows = _written(going, [limits[i] for i in batch], set(ends), chosen)
            found |= dict(zip(batch, rows, strict=True))
    return [found[i] for i in range(len(prompts))]


def _written(going: _Whole | _Cached, limits: list[int], ends: set[int], draws: Tensor | None) -> list[Text]:
    said: list[list[int]] = [[] for _ in limits]
    sums, over = [0.0] * len(limits), [False] * len(limits)
    for place in range(max(limits)):
        log_probs = going.logits().float().log_softmax(dim=-1).cpu()
        token = log_probs.argmax(dim=-1) if draws is None else _drawn(log_probs, draws[:, place])
        likely = log_probs.gather(1, token[:, None])[:, 0].tolist()
        for row, (chosen, log_prob) in enumerate(zip(token.tolist(), likely, strict=True)):
            if not over[row]:
                said[row].append(chosen)
                sums[row] += log_prob
                over[row] = chosen in ends or place + 1 == limits[row]
        if all(over):
            break
        going.append(token, ~torch.tensor(over))
    return [Text(row[:-1] if row[-1] in ends else row, total / len(row)) for row, total in zip(said, sums, strict=True)]


def _drawn(log_probs: Tensor, uniform: Tensor) -> Tensor:
    """Return the tokens [R] in whose part of the unit interval ``uniform`` [R] lies."""
    upper = log_probs.double().exp().cumsum(dim=-1)
    return torch.searchsorted(upper, (uniform[:, None] * upper[:, -1:]), right=True)[:, 0].clamp(max=upper.shape[1] - 1)


def _batches(prompts: Sequence[Tensor], limits: Sequence[int]) -> list[list[int]]:
    """Return the places of prompts, like lengths together, as many as there is room for."""
    found: list[list[int]] = []
    new = 0
    for i in sorted(range(len(prompts)), key=lambda place: len(prompts[place])):
        new = max(new, limits[i])
        if found and (len(found[-1]) + 1) * (len(prompts[i]) + new) <= TOGETHER:
            found[-1].append(i)
        else:
            found.append([i])
            new = limits[i]
    return found


def _takes(body: Any) -> Collection[str]:
    return inspect.signature(body.forward).parameters


@dataclass
class _Whole:
    """Texts that are run from their beginnings for every token."""

    model: Any
    rows: list[Tensor]

    def logits(self) -> Tensor:
        """Return the logits of the next token of every text, [R, V]."""
        lengths = torch.tensor([len(row) for row in self.rows])
        found: dict[int, Tensor] = {}
        for length in lengths.unique().tolist():
            alike = (lengths == length).nonzero()[:, 0].tolist()
            said = predicting(self.model, torch.stack([self.rows[i] for i in alike]))
            found |= dict(zip(alike, said, strict=True))
        return torch.stack([found[i] for i in range(len(self.rows))])

    def append(self, tokens: Tensor, going: Tensor) -> None:
        """Go on with one token [R] of each text that is ``going`` on [R]."""
        self.rows = [
            torch.cat([row, token[None]]) if on else row
            for row, token, on in zip(self.rows, tokens, going.tolist(), strict=True)
        ]


@dataclass
class _Cached:
    """Texts of which all but the last token was run before."""

    body: Any
    head: Head
    rows: list[Tensor]
    _past: Any = field(default=None, init=False)

    def __post_init__(self) -> None:
        """Pad on the left, so that every text ends in the last column."""
        device = next(self.body.parameters()).device
        width = max(map(len, self.rows))
        self._mask = torch.stack([(torch.arange(width) >= width - len(row)).long() for row in self.rows]).to(device)
        padded = [torch.cat([row[:1].expand(width - len(row)), row]) for row in self.rows]
        self._new = torch.stack(padded).to(device)

    def logits(self) -> Tensor:
        """Return the logits of the next token of every text, [R, V]."""
        more = {}
        if "position_ids" in _takes(self.body):
            places = (self._mask.cumsum(dim=1) - 1).clamp_min(0)
            more["position_ids"] = places[:, -self._new.shape[1] :]
        said = self.body(
            input_ids=self._new, attention_mask=self._mask, past_key_values=self._past, use_cache=True, **more
        )
        self._past = said.past_key_values
        return self.head(said.last_hidden_state[:, -1])

    def append(self, tokens: Tensor, going: Tensor) -> None:
        """Go on with one token [R] of each text; one that is not ``going`` on [R] grows no longer."""
        self._new = tokens[:, None].to(self._mask.device)
        self._mask = torch.cat([self._mask, going[:, None].to(self._mask)], dim=1)
