"""How a record is written as one text: by a template of one's own, or by the tokenizer's for conversations."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from expunge.core.errors import UsageError

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


def in_template(template: str) -> Callable[[Any, str, str], Written]:
    """Return what writes (tokenizer, prompt, answer) by a template of one's own.

    Raises:
        UsageError: it does not hold prompt and answer, in this order.
    """
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


def chat_pair(tokenizer: Any, prompt: str, answer: str, day: datetime.date | None) -> Written:
    """Return prompt and answer as a conversation of two turns, by the tokenizer's template."""
    talk = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
    return chat(tokenizer, talk, None, day)


def chat(tokenizer: Any, talk: Sequence[Mapping[str, str]], place: int | None, day: datetime.date | None) -> Written:
    """Return a conversation by the tokenizer's template, its answers scored; ``place`` among several, for errors.

    Raises:
        UsageError: there is no template, or it does not write these turns.
    """
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
    odd = [(number, wrong) for number, turn in enumerate(talk, start=1) if (wrong := _no_turn(turn))] if listed else []
    if not listed or not talk or odd:
        raise UsageError(
            "a conversation is no list of messages",
            where=where,
            found=f"turn {odd[0][0]}: {odd[0][1]}" if odd else "no turn" if listed else type(talk).__name__,
            expected='{"role": "user", "content": "text"} for every turn, one of them at least',
            fix="write roles and texts under these names; join several parts to one text, and write what has none (the "
            "call of a tool) as the text that the training's template made of it",
        )
    # A mark in the place of each text says where the template puts it: its words may stand elsewhere, too.
    marks = [f"\ue000{number}\ue001" for number in range(len(talk))]
    frame = rendered(tokenizer, _marked(talk, marks), where, day)
    text = rendered(tokenizer, talk, where, day)
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
    until = frame if last == len(talk) else rendered(tokenizer, _marked(talk[:last], marks), where, day)
    ending = until.rpartition(marks[answers[-1]])[2]
    nexts = [start for start, _ in places[1:]] + [len(text)]
    endings = [_shared(ending, text[places[i][1] : nexts[i]]) for i in answers]
    return Written(text, tuple(spans), special=False, asks=tuple(asked), endings=tuple(endings))


def _no_turn(turn: Any) -> str:
    """Return what a turn has instead of a role and a text; nothing where it has both."""
    if not isinstance(turn, Mapping):
        return f"a {type(turn).__name__}"
    for name in ("role", "content"):
        if not isinstance(turn.get(name), str):
            return f"{name} is {type(turn[name]).__name__}" if turn.get(name) is not None else f"no {name}"
    return ""


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


def rendered(tokenizer: Any, talk: Sequence[Mapping[str, str]], where: str, day: datetime.date | None) -> str:
    """Return what the tokenizer's template makes of these turns on that day.

    Raises:
        UsageError: it breaks, or asks for a day that is not named.
    """
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


def day_of(date: str | None) -> datetime.date | None:
    """Return the day that is written as YYYY-MM-DD.

    Raises:
        UsageError: it is none.
    """
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
