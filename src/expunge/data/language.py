"""Records of a language model: texts, prompts with answers, or conversations; what is scored is known by its place.

A record is tokenised once, as one text, the way the model met it. Which tokens are scored is read off the places in the
text that they stand for, never by tokenising a part of it again: tokenizers join across such borders.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from expunge.core.errors import UsageError
from expunge.core.records import Records, check_names
from expunge.data import _content
from expunge.data._tokens import pad_of, tokenised
from expunge.data._written import PLAIN, Written, chat, chat_pair, day_of, in_template, rendered

NOT_SCORED = -100
"""The label of a token that is not scored, as transformers writes it."""


class LanguageRecords(Records):
    """Prompts with answers; the tokens of the answers are scored, the one that ends a text included.

    Args:
        prompts / answers: one of each per record.
        tokenizer: a fast tokenizer of transformers, fitting the model.
        ids: one stable id per record; the position where none are given.
        subjects: whose data each record is, None where unknown.
        template: a text with ``{prompt}`` and ``{answer}``, in this order; by default the tokenizer's own template of
            conversations, :data:`PLAIN` where it has none.
        date: the day, "YYYY-MM-DD", that the tokenizer's template reads where it asks for today: that of the training.
        max_length: tokens that a record may have; the tokenizer's own limit by default.
        truncate: cut records that are longer; else they are an error, since what is cut off is not learnt.

    Raises:
        UsageError: numbers differ; a record is empty, too long, or has no scored token; a token belongs to prompt and
            answer alike; a template that asks for today, and no ``date``; a tokenizer without offsets or without
            anything to pad with.
    """

    def __init__(
        self,
        prompts: Sequence[str],
        answers: Sequence[str],
        *,
        tokenizer: Any,
        ids: Sequence[str] | None = None,
        subjects: Sequence[str | None] | None = None,
        template: str | None = None,
        date: str | None = None,
        max_length: int | None = None,
        truncate: bool = False,
    ) -> None:
        _texts(prompts, "prompts")
        _texts(answers, "answers")
        _same(len(prompts), len(answers), "prompts and answers")
        empty = [i for i, answer in enumerate(answers) if not answer.strip()]
        if empty:
            raise UsageError(
                "empty answers",
                where=f"first at position {empty[0]}",
                found=f"{len(empty)} of {len(answers)} records",
                expected="text in every answer",
                fix="drop these records: nothing of them is learnt",
            )
        day = day_of(date)
        pair = partial(chat_pair, day=day)
        write = pair if template is None and tokenizer.chat_template else in_template(template or PLAIN)
        written = [write(tokenizer, *pair) for pair in zip(prompts, answers, strict=True)]
        self._set(written, tokenizer, ids, subjects, max_length, truncate, day)

    @classmethod
    def of_texts(cls, texts: Sequence[str], **more: Any) -> LanguageRecords:
        """Return records of plain texts: all tokens are scored but the first, which nothing comes before.

        Keyword arguments are those of the class, without ``template`` and ``date``.
        """
        _texts(texts, "texts")
        written = [Written(text, ((0, len(text)),), special=True) for text in texts]
        return cls._of(written, **more)

    @classmethod
    def of_messages(
        cls, conversations: Sequence[Sequence[Mapping[str, str]]], *, date: str | None = None, **more: Any
    ) -> LanguageRecords:
        """Return records of conversations, ``[{"role": ..., "content": ...}, ...]``; what the assistant says is scored.

        Keyword arguments are those of the class, without ``template``: the tokenizer's own is used.

        Raises:
            UsageError: also a tokenizer without such a template, or a turn of the assistant that it changes.
        """
        tokenizer, day = more["tokenizer"], day_of(date)
        return cls._of([chat(tokenizer, talk, i, day) for i, talk in enumerate(conversations)], day=day, **more)

    @classmethod
    def _of(
        cls,
        written: list[Written],
        *,
        tokenizer: Any,
        ids: Sequence[str] | None = None,
        subjects: Sequence[str | None] | None = None,
        max_length: int | None = None,
        truncate: bool = False,
        day: datetime.date | None = None,
    ) -> LanguageRecords:
        records = cls.__new__(cls)
        records._set(written, tokenizer, ids, subjects, max_length, truncate, day)
        return records

    def _set(
        self,
        written: list[Written],
        tokenizer: Any,
        ids: Sequence[str] | None,
        subjects: Sequence[str | None] | None,
        max_length: int | None,
        truncate: bool,
        day: datetime.date | None,
    ) -> None:
        count = len(written)
        self.ids = check_names([str(i) for i in range(count)] if ids is None else ids, count, where="LanguageRecords")
        if subjects is not None:
            _same(len(subjects), count, "subjects and records")
        self.subjects = tuple(subjects) if subjects is not None else (None,) * count
        self.tokenizer = tokenizer
        if max_length is not None and max_length < 2:
            raise UsageError(
                "no record is as short as that",
                where="max_length",
                found=str(max_length),
                expected="2 tokens or more: one to start from, one to predict",
                fix="leave it out: the tokenizer's own limit holds then",
            )
        limit = min(max_length or tokenizer.model_max_length, tokenizer.model_max_length)
        self._limit, self._truncate, self._day = limit, truncate, day
        self._written, self._rows, self.cut = tokenised(written, tokenizer, limit, truncate)
        self._pad = pad_of(tokenizer)
        self.padding = {"input_ids": self._pad, "attention_mask": 0}, NOT_SCORED
        self.longest = max((len(tokens) for tokens, _ in self._rows), default=0)

    def __getitem__(self, index: int) -> tuple[dict[str, Tensor], Tensor]:
        """Return (tokens, labels) of one record, without padding."""
        inputs, labels = self.read([index])
        return {name: part[0] for name, part in inputs.items()}, labels[0]

    def read(self, indices: Sequence[int]) -> tuple[dict[str, Tensor], Tensor]:
        """Return tokens and mask [B, T], padded on the right to the longest of the batch, and labels [B, T].

        A label is the token itself where it is scored, else :data:`NOT_SCORED`.
        """
        rows = [self._rows[i] for i in indices]
        width = max((len(tokens) for tokens, _ in rows), default=0)
        ids = torch.full((len(rows), width), self._pad, dtype=torch.long)
        labels = torch.full((len(rows), width), NOT_SCORED, dtype=torch.long)
        mask = torch.zeros(len(rows), width, dtype=torch.long)
        for place, (tokens, scored) in enumerate(rows):
            ids[place, : len(tokens)] = tokens
            labels[place, : len(tokens)] = torch.where(scored, tokens, NOT_SCORED)
            mask[place, : len(tokens)] = 1
        return {"input_ids": ids, "attention_mask": mask}, labels

    def content(self, index: int) -> str:
        """Return the content digest of tokens and of which are scored."""
        tokens, scored = self._rows[index]
        return _content.digest((tokens, scored))

    def answered(self, answers: Mapping[str, Sequence[str]]) -> LanguageRecords:
        """Return what these records ask with other ``answers``, by id: records called ``ID#0``, ``ID#1``, ...

        They are written, tokenised and, where these are, cut as if they had been given so. Of a conversation the last
        answer is another one, and it alone is scored.

        Raises:
            UsageError: a record is plain text, which asks nothing; or becomes too long.
        """
        written, ids = [], []
        for name, texts in answers.items():
            place = self.position[name]
            one = self._written[place]
            start, end = one.scored[-1]
            if not one.text[:start].strip():
                raise UsageError(
                    "a plain text asks nothing that another answer could be given to",
                    where=f"record at position {place}",
                    found="a text all of whose tokens are scored",
                    expected="a prompt with an answer, or a conversation",
                    fix="give prompts and answers, or choose a method that needs no other answers",
                )
            said = one.text[start:end]
            blanks = said[: len(said) - len(said.lstrip(" "))]
            for number, text in enumerate(texts):
                new = f"{blanks}{text.strip()}"
                span = (start, start + len(new))
                whole = f"{one.text[:start]}{new}{one.text[end:]}"
                written.append(Written(whole, (span,), one.special, one.asks, one.endings[-1:]))
                ids.append(f"{name}#{number}")
        more = {"max_length": self._limit, "truncate": self._truncate, "day": self._day}
        return LanguageRecords._of(written, tokenizer=self.tokenizer, ids=ids, **more)

    def prompt(self, index: int, wording: str = "{prompt}", begun: str = "") -> Tensor:
        """Return the tokens [T] that ask the question of a record, up to where its answer begins.

        Of a conversation that is all that was said before its last answer. ``wording`` stands in the place of the
        question, which it may hold as ``{prompt}``; ``begun`` is put where the answer begins.

        Raises:
            UsageError: a plain text, which asks nothing.
        """
        one = self._written[index]
        start, end = one.scored[-1]
        if not one.asks:
            raise UsageError(
                "a plain text asks nothing that could be put in other words",
                where=f"record at position {index}",
                found="no question",
                expected="a prompt with an answer, or a conversation in which the assistant answers someone",
                fix="give prompts and answers",
            )
        first, last = one.asks[-1]
        said = one.text[start:end]
        blanks = said[: len(said) - len(said.lstrip(" "))] if begun else ""
        question = wording.replace("{prompt}", one.text[first:last])
        text = f"{one.text[:first]}{question}{one.text[last:start]}{blanks}{begun}"
        tokens = self.tokenizer(text, add_special_tokens=one.special, truncation=False, verbose=False)["input_ids"]
        if one.special and tokens and tokens[-1] == self.tokenizer.eos_token_id:
            tokens = tokens[:-1]  # a tokenizer that ends every text: this one goes on
        return torch.tensor(tokens, dtype=torch.long)

    def again(self, index: int, wording: str = "{prompt}") -> Tensor:
        """Return the tokens [T] that end an answer to the question of a record, and ask once more.

        As the tokenizer's template goes on; what it writes first of all stands before the first question alone. Where
        it was not used, or takes no second question: the token that ends a text, and :meth:`prompt`.
        """
        one = self._written[index]
        if one.special or not self._between:
            end = self.tokenizer.eos_token_id
            ends = torch.tensor([] if end is None else [end], dtype=torch.long)
            return torch.cat([ends, self.prompt(index, wording)])
        first, last = one.asks[-1]
        question = wording.replace("{prompt}", one.text[first:last])
        text = f"{self._between}{question}{one.text[last : one.scored[-1][0]]}"
        tokens = self.tokenizer(text, add_special_tokens=False, truncation=False, verbose=False)["input_ids"]
        return torch.tensor(tokens, dtype=torch.long)

    @cached_property
    def _between(self) -> str:
        """What the tokenizer's template writes between an answer and the next question; empty where it takes none."""
        turns = [("user", "\ue0000\ue001"), ("assistant", "\ue0001\ue001"), ("user", "\ue0002\ue001")]
        talk = [{"role": role, "content": mark} for role, mark in turns]
        try:
            frame = rendered(self.tokenizer, talk, "chat template", self._day)
        except UsageError:
            return ""
        between, found, _ = frame.partition(turns[1][1])[2].partition(turns[2][1])
        return between if found else ""

    def question(self, index: int) -> str:
        """Return what the last answer of a record is an answer to; empty for a plain text."""
        return next(reversed(self.questions(index)), "")

    def questions(self, index: int) -> tuple[str, ...]:
        """Return all that is asked before the last answer of a record, turn by turn; nothing of a plain text."""
        one = self._written[index]
        return tuple(one.text[start:end] for start, end in one.asks)

    def text(self, index: int) -> str:
        """Return the scored part of a record as text."""
        return self.answer(index)

    def words(self, index: int) -> str:
        """Return a whole record as text: what is asked and what is answered."""
        return self._written[index].text

    def said(self, index: int) -> tuple[str, ...]:
        """Return the scored parts of a record, one by one, as they were written."""
        one = self._written[index]
        return tuple(one.text[start:end].strip() for start, end in one.scored)

    def answer(self, index: int) -> str:
        """Return the scored part of a record as text."""
        tokens, scored = self._rows[index]
        text: str = self.tokenizer.decode(tokens[scored], skip_special_tokens=True)
        return text


def _texts(texts: Sequence[str], what: str) -> None:
    wrong = [i for i, text in enumerate(texts) if not isinstance(text, str)]
    if isinstance(texts, str) or wrong:
        raise UsageError(
            f"{what} are no list of texts",
            where="LanguageRecords" if not wrong else f"LanguageRecords, first at position {wrong[0]}",
            found="one text" if not wrong else f"{type(texts[wrong[0]]).__name__} in {len(wrong)} of {len(texts)}",
            expected="one text per record",
            fix="give a list with a text for every record",
        )


def _same(one: int, other: int, what: str) -> None:
    if one != other:
        raise UsageError(
            f"{what} differ in number",
            where="LanguageRecords",
            found=str(one),
            expected=str(other),
            fix="give one for each, in the same order",
        )
