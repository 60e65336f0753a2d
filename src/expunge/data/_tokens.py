"""A text as tokens, once, and which of them are scored: read off the places that they stand for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from expunge.core.errors import UsageError
from expunge.data._written import Span, Written


def tokenised(
    written: Sequence[Written], tokenizer: Any, limit: int, truncate: bool
) -> tuple[tuple[Written, ...], list[tuple[Tensor, Tensor]], frozenset[int]]:
    """Return what of these records is left, per record (tokens, which of them are scored), and which were cut."""
    if not getattr(tokenizer, "is_fast", False):
        raise UsageError(
            "the tokenizer does not say which part of the text a token stands for",
            where="tokenizer",
            found=type(tokenizer).__name__,
            expected="a fast tokenizer of transformers",
            fix="AutoTokenizer.from_pretrained(directory, use_fast=True)",
        )
    left, rows, long, joined, lost = [], [], [], [], []
    special = _special(tokenizer)
    for place, one in enumerate(written):
        told = tokenizer(
            one.text, add_special_tokens=one.special, return_offsets_mapping=True, truncation=False, verbose=False
        )
        tokens, offsets = list(told["input_ids"]), list(told["offset_mapping"])
        scored = [any(_inside(offset, span, one.text) for span in one.scored) for offset in offsets]
        if any(_across(offset, span) for offset in offsets for span in one.scored):
            joined.append(place)
        if one.special:
            tokens, scored = _ended(tokens, scored, tokenizer)
        else:  # a conversation: its ends stand where the template has written them
            scored = _turns_ended(tokens, scored, offsets, one, special)
        if len(tokens) > limit:
            long.append((place, len(tokens)))
            tokens, scored = tokens[:limit], scored[:limit]
            one = _cut(one, offsets[:limit])
        if not any(scored[1:]):
            lost.append(place)
        if scored:
            scored[0] = False  # nothing comes before it that could predict it
        left.append(one)
        rows.append((torch.tensor(tokens, dtype=torch.long), torch.tensor(scored, dtype=torch.bool)))
    if joined:
        raise UsageError(
            "a token stands for the end of a prompt and the beginning of its answer",
            where=f"LanguageRecords, first at position {joined[0]}",
            found=f"{len(joined)} of {len(rows)} records",
            expected="a border between prompt and answer that the tokenizer keeps",
            fix='set them apart, e.g. template="{prompt}\\n{answer}"',
        )
    if long and not truncate:
        raise UsageError(
            "records are longer than the model reads",
            where=f"LanguageRecords, first at position {long[0][0]}",
            found=f"{len(long)} of {len(rows)} records, up to {max(count for _, count in long)} tokens",
            expected=f"at most {limit} tokens",
            fix="split them, or say truncate=True: what is cut off is neither learnt nor forgotten",
        )
    if lost:
        raise UsageError(
            "records without a scored token",
            where=f"LanguageRecords, first at position {lost[0]}",
            found=f"{len(lost)} of {len(rows)} records",
            expected="a token of the answer, with one before it",
            fix="drop them, or allow longer records: a cut answer is not learnt",
        )
    return tuple(left), rows, frozenset(place for place, _ in long)


def _cut(one: Written, offsets: Sequence[Span]) -> Written:
    """Return a record without the turns after the last one that is still scored in its tokens, from the second on."""
    there = [i for i, span in enumerate(one.scored) if any(_inside(offset, span, one.text) for offset in offsets[1:])]
    count = max(there, default=-1) + 1
    if not count:
        return one
    asks = tuple(ask for ask in one.asks if ask[1] <= one.scored[count - 1][0])
    return replace(one, scored=one.scored[:count], asks=asks, endings=one.endings[:count])


def _ended(tokens: list[int], scored: list[bool], tokenizer: Any) -> tuple[list[int], list[bool]]:
    """Return tokens and marks of a text with the token that ends it, scored: it was learnt as well."""
    end = tokenizer.eos_token_id
    if end is None:
        return tokens, scored
    if tokens and tokens[-1] == end:
        return tokens, [*scored[:-1], True]
    return [*tokens, end], [*scored, True]


def _turns_ended(
    tokens: list[int], scored: list[bool], offsets: Sequence[Span], one: Written, special: frozenset[int]
) -> list[bool]:
    """Return marks with the ends of turns: up to the first special token that the template writes after what is said.

    Without one a turn has no end of its own, and what begins the next turn is not the assistant's to say.
    """
    marks = list(scored)
    for (_, end), length in zip(one.scored, one.endings, strict=True):
        # Some tokens take the blanks after them along, and these may belong to the next turn.
        after = [
            i
            for i, (first, last) in enumerate(offsets)
            if last > end and first + len(one.text[first:last].rstrip()) <= end + length
        ]
        closing = next((i for i in after if tokens[i] in special), -1)
        for place in after:
            marks[place] = marks[place] or place <= closing
    return marks


def _special(tokenizer: Any) -> frozenset[int]:
    """Return the tokens that stand for no text: which of them ends a turn is the template's choice, not eos alone."""
    added = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    return frozenset({*tokenizer.all_special_ids, *added} - {tokenizer.unk_token_id})


def _inside(offset: Span, span: Span, text: str) -> bool:
    """Return whether a token stands for some of a span. The last one may take along what the template writes next."""
    first, last = offset
    if last > span[1]:  # with a blank alone it is none of the answer: that is how the next word begins
        first += len(text[first:last]) - len(text[first:last].lstrip())
    return span[0] <= offset[0] < last and first < span[1]


def _across(offset: Span, span: Span) -> bool:
    return offset[0] < span[0] < offset[1]


def pad_of(tokenizer: Any) -> int:
    """Return the token that fills up short texts.

    Raises:
        UsageError: the tokenizer has none that could.
    """
    if tokenizer.pad_token_id is not None:
        return int(tokenizer.pad_token_id)
    if tokenizer.eos_token_id is not None:
        return int(tokenizer.eos_token_id)  # no token is known as padding by its number, only by the mask
    raise UsageError(
        "the tokenizer has no pad token",
        where="tokenizer",
        found="neither pad_token nor eos_token",
        expected="a token to fill shorter records of a batch with",
        fix="set tokenizer.pad_token",
    )
