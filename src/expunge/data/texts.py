"""Records of texts with labels, as a transformers' classifier meets them: tokens, padded batch by batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from expunge.core.errors import UsageError
from expunge.core.records import Records, check_names
from expunge.data import _content


class TextRecords(Records):
    """Texts, each with a label.

    Args:
        texts: one text per record.
        labels: integers, one per record.
        tokenizer: a tokenizer of transformers, fitting the model.
        ids: one stable id per record; the position where none are given.
        subjects: whose data each record is, None where unknown.
        max_length: tokens that a record may have; the tokenizer's own limit by default.
        truncate: cut records that are longer; else they are an error, since what is cut off is not learnt.
        names: of classes, by which their numbers may be called as well.

    Raises:
        UsageError: numbers differ, a record is too long or empty of tokens, or the tokenizer cannot pad.
    """

    def __init__(
        self,
        texts: Sequence[str],
        labels: Sequence[int],
        *,
        tokenizer: Any,
        ids: Sequence[str] | None = None,
        subjects: Sequence[str | None] | None = None,
        max_length: int | None = None,
        truncate: bool = False,
        names: Mapping[str, int] | None = None,
    ) -> None:
        count, self._names = len(texts), dict(names or {})
        self.classes = tuple(sorted(self._names, key=self._names.__getitem__))  # as its user calls them
        for what, part in (("labels", labels), ("subjects", subjects)):
            if part is not None and len(part) != count:
                raise UsageError(
                    f"texts and {what} differ in number",
                    where="TextRecords",
                    found=str(len(part)),
                    expected=str(count),
                    fix="give one for each text, in the same order",
                )
        self.ids = check_names([str(i) for i in range(count)] if ids is None else ids, count, where="TextRecords")
        self.subjects = tuple(subjects) if subjects is not None else (None,) * count
        self._labels = torch.as_tensor(list(labels), dtype=torch.long)
        self._texts = tuple(texts)
        limit = min(max_length or tokenizer.model_max_length, tokenizer.model_max_length)
        self._tokens, self.cut = _tokenized(texts, tokenizer, limit, truncate)
        self._pad = _pad_of(tokenizer, self._tokens)
        self.padding = {"input_ids": self._pad, "attention_mask": 0}, None

    def __getitem__(self, index: int) -> tuple[dict[str, Tensor], Tensor]:
        """Return (tokens, label) of one record, without padding."""
        tokens = torch.tensor(self._tokens[index])
        return {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}, self._labels[index]

    def read(self, indices: Sequence[int]) -> tuple[dict[str, Tensor], Tensor]:
        """Return tokens and mask [B, T], padded on the right to the longest of the batch, and labels [B]."""
        rows = [self._tokens[i] for i in indices]
        width = max((len(row) for row in rows), default=0)
        tokens = torch.tensor([row + [self._pad] * (width - len(row)) for row in rows], dtype=torch.long)
        lengths = torch.tensor([len(row) for row in rows], dtype=torch.long)
        mask = (torch.arange(width)[None] < lengths[:, None]).long()
        index = torch.as_tensor(list(indices), dtype=torch.long)
        return {"input_ids": tokens.reshape(len(rows), width), "attention_mask": mask}, self._labels[index]

    def class_number(self, label: Any) -> int | None:
        """Return the number of the class that is called so, by its number or its name."""
        return self._names.get(label) if isinstance(label, str) else super().class_number(label)

    def words(self, index: int) -> str:
        """Return a text as it was given; what is cut off to fit the model as well."""
        return self._texts[index]

    def content(self, index: int) -> str:
        """Return the content digest of (tokens, label)."""
        return _content.digest((self._tokens[index], int(self._labels[index])))


def _tokenized(
    texts: Sequence[str], tokenizer: Any, limit: int, truncate: bool
) -> tuple[list[list[int]], frozenset[int]]:
    """Return the tokens of each text, and which texts were cut."""
    tokens: list[list[int]] = [
        list(row) for row in tokenizer(list(texts), truncation=False, verbose=False)["input_ids"]
    ]
    long = [i for i, row in enumerate(tokens) if len(row) > limit]
    if long and truncate:
        cut = tokenizer([texts[i] for i in long], truncation=True, max_length=limit)["input_ids"]
        for i, row in zip(long, cut, strict=True):
            tokens[i] = list(row)
    elif long:
        raise UsageError(
            "records are longer than the model reads",
            where=f"TextRecords, first at position {long[0]}",
            found=f"{len(long)} of {len(tokens)} records, up to {max(len(tokens[i]) for i in long)} tokens",
            expected=f"at most {limit} tokens",
            fix="split them, or say truncate=True: what is cut off is neither learnt nor forgotten",
        )
    empty = [i for i, row in enumerate(tokens) if not row]
    if empty:
        raise UsageError(
            "records without a token",
            where=f"TextRecords, first at position {empty[0]}",
            found=f"{len(empty)} of {len(tokens)} records",
            expected="text in every record",
            fix="drop empty texts",
        )
    return tokens, frozenset(long)


def _pad_of(tokenizer: Any, tokens: Sequence[Sequence[int]]) -> int:
    if tokenizer.pad_token_id is not None:
        return int(tokenizer.pad_token_id)
    if len({len(row) for row in tokens}) > 1:
        raise UsageError(
            "the tokenizer has no pad token",
            where="TextRecords",
            found=f"records of {len({len(row) for row in tokens})} lengths",
            expected="a token to fill shorter records of a batch with",
            fix="set tokenizer.pad_token, e.g. to tokenizer.eos_token, and model.config.pad_token_id to its number",
        )
    return 0
