"""Records of a language model: texts, prompts with answers, or conversations; what is scored is known by its place.

A record is tokenised once, as one text, the way the model met it. Which tokens are scored is read off the places in the
text that they stand for, never by tokenising a part of it again: tokenizers join across such borders.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from expunge.core.errors import UsageError
from expunge.core.records import Records, check_names
from expunge.data import _content

NOT_SCORED = -100
"""The label of a token that is not scored, as transformers writes it."""
PLAIN = "{prompt} {answer}"
"""How prompt and answer make one text where the tokenizer brings no template of conversations."""
_TODAY = "strftime_now"
"""The name by which transformers gives templates the clock."""
Span = tuple[int, int]


@dataclass(frozen=True)
class Written:
    """One record as the tokenizer gets it: its text, and the spans of it, in characters, whose tokens are scored."""

    text: str
    scored: tuple[Span, ...]
    special: bool
    """Whether the tokenizer is to add its own tokens: a template of conversations has written them already."""
    asks: tuple[Span, ...] = ()
    """The spans of what is asked before the last scored span, which answers the last of them; none in a plain text."""
    endings: tuple[int, ...] = ()
    """Of a conversation, per scored span: how many characters after it the template ends the turn with."""


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
        day = _day(date)
        chat = partial(_chat_pair, day=day)
        write = chat if template is None and tokenizer.chat_template else _template(template or PLAIN)
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
        tokenizer, day = more["tokenizer"], _day(date)
        return cls._of([_chat(tokenizer, talk, i, day) for i, talk in enumerate(conversations)], day=day, **more)

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
        self._written, self._rows, self.cut = _tokenised(written, tokenizer, limit, truncate)
        self._pad = _pad_of(tokenizer)
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
            frame = _written(self.tokenizer, talk, "chat template", self._day)
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


# --- how a record is written ------------------------------------------------------------------------------------


def _template(template: str) -> Callable[[Any, str, str], Written]:
    before, _, rest = template.partition("{prompt}")
    between, _, after = rest.partition("{answer}")
    if f"{before}{{prompt}}{between}{{answer}}{after}" != template or "{answer}" not in rest:
        raise UsageError(
            "a template that does not hold prompt and answer",
            where="template",
            found=repr(template),
            expected="a text with {prompt} and after it {answer}, once each",
            fix='e.g. "Question: {prompt}\\nAnswer: {answer}"',
        )

    def write(tokenizer: Any, prompt: str, answer: str) -> Written:
        head = f"{before}{prompt}{between}"
        # The blank between them belongs to the first token of the answer in most vocabularies.
        start = len(head) - len(between) + len(between.rstrip(" "))
        span = (start, len(head) + len(answer))
        asked = (len(before), len(before) + len(prompt))
        return Written(f"{head}{answer}{after}", (span,), special=True, asks=(asked,))

    return write


def _chat_pair(tokenizer: Any, prompt: str, answer: str, day: datetime.date | None) -> Written:
    talk = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
    return _chat(tokenizer, talk, None, day)


def _chat(tokenizer: Any, talk: Sequence[Mapping[str, str]], place: int | None, day: datetime.date | None) -> Written:
    where = "chat template" if place is None else f"conversation at position {place}"
    if not tokenizer.chat_template:
        raise UsageError(
            "the tokenizer has no template of conversations",
            where="tokenizer",
            found="none",
            expected="chat_template",
            fix="give prompts and answers with a template of your own, or set tokenizer.chat_template",
        )
    listed = isinstance(talk, Sequence) and not isinstance(talk, str)
    if not listed or not talk or not all(map(_is_turn, talk)):
        raise UsageError(
            "a conversation is no list of messages",
            where=where,
            found=f"{len(talk)} turns" if listed else type(talk).__name__,
            expected='{"role": "user", "content": "text"} for every turn, one of them at least',
            fix="write roles and texts under these names",
        )
    # A mark in the place of each text says where the template puts it: its words may stand elsewhere, too.
    marks = [f"\ue000{number}\ue001" for number in range(len(talk))]
    frame = _written(tokenizer, _marked(talk, marks), where, day)
    text = _written(tokenizer, talk, where, day)
    said = [turn["content"] for turn in talk]
    for texts in (said, [content.strip() for content in said]):  # many templates strip them
        made, places = _put(frame, marks, texts)
        if made == text:
            break
    else:
        raise UsageError(
            "the template does not write what was said",
            where=where,
            found="a turn that is changed, moved or left out",
            expected="every turn, word for word, in its order",
            fix="see what the template of the tokenizer makes of it",
        )
    answers = [i for i, turn in enumerate(talk) if turn["role"] == "assistant" and turn["content"].strip()]
    spans = [places[i] for i in answers]
    if not spans:
        raise UsageError(
            "a conversation in which the assistant says nothing",
            where=where,
            found=f"{len(talk)} turns",
            expected="a turn of the assistant",
            fix="drop it: nothing of it is learnt",
        )
    asked = [place for place, turn in zip(places[: answers[-1]], talk, strict=False) if turn["role"] == "user"]
    last = answers[-1] + 1  # how a turn ends is seen where it is the last: what else follows begins the next
    until = frame if last == len(talk) else _written(tokenizer, _marked(talk[:last], marks), where, day)
    ending = until.rpartition(marks[answers[-1]])[2]
    nexts = [start for start, _ in places[1:]] + [len(text)]
    endings = [_shared(ending, text[places[i][1] : nexts[i]]) for i in answers]
    return Written(text, tuple(spans), special=False, asks=tuple(asked), endings=tuple(endings))


def _is_turn(turn: Any) -> bool:
    return isinstance(turn, Mapping) and all(isinstance(turn.get(name), str) for name in ("role", "content"))


def _marked(talk: Sequence[Mapping[str, str]], marks: Sequence[str]) -> list[dict[str, str]]:
    return [{**turn, "content": mark} for turn, mark in zip(talk, marks, strict=False)]


def _shared(one: str, other: str) -> int:
    """Return with how many characters both texts begin."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _put(frame: str, marks: Sequence[str], texts: Sequence[str]) -> tuple[str, list[Span]]:
    """Return the frame with texts in the place of their marks, and where these stand; nothing where a mark is lost."""
    made, places, rest = "", [], frame
    for mark, text in zip(marks, texts, strict=True):
        before, found, rest = rest.partition(mark)
        if not found:
            return "", []
        made += before
        places.append((len(made), len(made) + len(text)))
        made += text
    return made + rest, places


def _written(tokenizer: Any, talk: Sequence[Mapping[str, str]], where: str, day: datetime.date | None) -> str:
    from jinja2 import TemplateError

    try:
        template = _dated(tokenizer.get_chat_template(), day)
        said = [dict(turn) for turn in talk]
        text: str = tokenizer.apply_chat_template(said, chat_template=template, tokenize=False)
    except _Undated:
        raise UsageError(
            "the template of the tokenizer writes today's date into records, which would be others tomorrow",
            where=where,
            found="no date",
            expected="the day on which the training wrote its records",
            fix='say date="YYYY-MM-DD"',
        ) from None
    except TemplateError as error:  # its text could hold data
        raise UsageError(
            "the template of the tokenizer refuses a conversation",
            where=where,
            found=type(error).__name__,
            expected="a template that takes its roles, in their order",
            fix="see tokenizer.chat_template, or give prompts and answers with a template of your own",
        ) from error
    return text


class _Undated(Exception):
    """A template asks for today, and no day was named."""


def _dated(template: str, day: datetime.date | None) -> str:
    """Return a template that reads ``day`` where it asks for today; as it is where it never does."""
    if _TODAY not in template:
        return template
    from transformers.utils.chat_template_utils import _compile_jinja_template

    def today(format: str) -> str:
        if day is None:
            raise _Undated
        return day.strftime(format)

    # Arguments that can be called are no longer handed to templates. They are compiled once for each text, so this one
    # gets a text, and with it a clock, of its own; a comment with the end of its line writes nothing.
    own = f"{{# {day} #}}\n{template}"
    _compile_jinja_template(own).globals[_TODAY] = today
    return own


def _day(date: str | None) -> datetime.date | None:
    try:
        return None if date is None else datetime.date.fromisoformat(date)
    except (TypeError, ValueError) as error:
        raise UsageError(
            "not a day",
            where="date",
            found=repr(date),
            expected="YYYY-MM-DD, as text",
            fix='e.g. "2026-11-23"',
        ) from error


# --- tokens -----------------------------------------------------------------------------------------------------


def _tokenised(
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


def _pad_of(tokenizer: Any) -> int:
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
