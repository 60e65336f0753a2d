"""A problem from files alone: a Hugging Face directory and a file of texts, no code of anybody's."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from expunge.core.errors import Obstacle, UsageError
from expunge.core.problem import Problem
from expunge.core.records import Records
from expunge.core.serial import build
from expunge.data._files import (
    frame_of,
    groups_of,
    ids_of,
    of_groups,
    place,
    plain,
    present,
    subjects_of,
    together,
    whole,
)
from expunge.data.language import LanguageRecords
from expunge.data.texts import TextRecords
from expunge.engine.training import Trainer, Training
from expunge.models._directory import classes_of, context_of, kind_of, tokenizer_of
from expunge.models.adapted import AdaptedModel, NewAdapters, is_adapters
from expunge.models.huggingface import Anew, HuggingFaceModel
from expunge.workflow.variants import Rows, variants_of


def problem(
    *,
    model: str,
    data: str,
    text: str | None = None,
    prompt: str | None = None,
    answer: str | None = None,
    messages: str | None = None,
    label: str | None = None,
    id: str | None = None,
    subject: str | None = None,
    group: str | None = None,
    paraphrased_question: str | None = None,
    paraphrased_answer: str | None = None,
    wrong_answer: str | None = None,
    alternative: str | None = None,
    template: str | None = None,
    date: str | None = None,
    max_length: int | None = None,
    truncate: bool = False,
    holdout: str | None = None,
    calibration: str | None = None,
    base: str | None = None,
    training: Mapping[str, Any] | None = None,
) -> Problem:
    """Return the problem of a saved transformers' model and its texts; another process makes it again.

    Args:
        model: a directory with ``config.json``, safetensors and a tokenizer; or with ``adapter_config.json`` and
            adapters, whose tokenizer may lie with their base.
        data: a ``.jsonl``, ``.csv`` or ``.parquet`` file with all records that the model was trained on.
        text: the column of texts: whole ones of a language model, or with ``label`` those of a classifier.
        prompt: the column of prompts.
        answer: the column of what is to be answered.
        messages: the column of conversations, lists of ``{"role": ..., "content": ...}``.
        label: the column of classes, of a classifier: their numbers, or their names in the model's ``id2label``.
        id: the column of ids; positions where none is named.
        subject: the column that says whose data a record is.
        group: of a classifier, the column of groups between which gaps are judged.
        paraphrased_question: the column of prompts in other words; ``holdout`` may lack it, and the three below.
        paraphrased_answer: the column of answers in other words.
        wrong_answer: the column of wrong answers, worded as the paraphrased one.
        alternative: the column of answers to give in the place of the right one.
        template: a text with ``{prompt}`` and ``{answer}``; by default the tokenizer's own, or the two with a blank.
        date: the day, "YYYY-MM-DD", that the tokenizer's template reads where it asks for today: that of the training.
        max_length: tokens that a record may have; no more than the tokenizer and the model's context allow, which is
            also what it is by default.
        truncate: cut longer records; else they are an error.
        holdout: a file of the same columns with records that the model was never trained on.
        calibration: where ``data`` holds nothing but what must be forgotten, a file of the same columns with a few
            records that stand for the others.
        base: the directory of what the model was trained from; new weights where there was nothing before. Of adapters
            that of the model which they belong to, by default the one that they name.
        training: the settings of that training (:class:`~expunge.engine.training.Training`); without them there is no
            trainer.

    Raises:
        UsageError: a file or column is missing, columns that make no kind of record, a record that cannot be read.
        UnsafeFile: the model is a pickle, or wants code of its own to be run.
    """
    source = AdaptedModel(model, base) if is_adapters(model) else HuggingFaceModel(model)
    named = {
        "paraphrased_question": paraphrased_question,
        "paraphrased_answer": paraphrased_answer,
        "wrong_answer": wrong_answer,
        "alternative": alternative,
    }
    others = {name: column for name, column in named.items() if column is not None}
    if max_length is not None and max_length < 1:
        raise UsageError(
            "records of no length",
            where="[data], max_length",
            found=str(max_length),
            expected="1 token or more",
            fix="leave it out: a record may then have what tokenizer and model allow",
        )
    context = context_of(source.base if isinstance(source, AdaptedModel) else model)
    most = max_length if context is None else min(max_length or context, context)
    kinds = (text, prompt, answer, messages, label)
    names = {} if label is None else source.classes if isinstance(source, AdaptedModel) else classes_of(model)
    columns = _Columns(*kinds, id, subject, group, others, template, date, most, truncate, names)
    tokenizer = tokenizer_of(source.tokens if isinstance(source, AdaptedModel) else model)
    task = "causal_lm" if label is None else "classification"
    kind = kind_of(source.base if isinstance(source, AdaptedModel) else Path(model)).__name__
    if label is None and kind.endswith("ForSequenceClassification"):
        raise UsageError(
            "the model is a classifier, and no column of its classes is named",
            where="[data], label",
            found=kind,
            expected="text with label",
            fix='name the column of classes: label = "..."',
        )
    settings = build(Training, dict(training), where="[training]") if training is not None else None
    files = [columns.rows(data)]
    if holdout is not None:
        files.append(columns.rows(holdout, of="holdout-"))
    records = [columns.records(rows, tokenizer) for rows in files]
    stand_ins = (
        None if calibration is None else columns.records(columns.rows(calibration, of="calibration-"), tokenizer)
    )
    return Problem(
        model=source,
        task=task,
        train=records[0],
        holdout=records[1] if holdout is not None else None,
        calibration=stand_ins,
        groups=columns.groups(files),
        variants=variants_of(others, files, columns.writer(tokenizer)),
        trainer=None if settings is None else _trainer(settings, source, _start(source, model, base), task=task),
    )


def _start(source: HuggingFaceModel, model: str, base: str | None) -> Anew | NewAdapters:
    """Return what makes the model that the training started from."""
    return NewAdapters(source) if isinstance(source, AdaptedModel) else Anew(model, base)


def _trainer(settings: Training, source: HuggingFaceModel, start: Anew | NewAdapters, *, task: str) -> Trainer:
    """Return the trainer; adapters that were given say themselves of which rank they are, and where."""
    said = [
        name for name in ("lora", "lora_alpha", "lora_layers") if getattr(settings, name) != getattr(Training, name)
    ]
    if isinstance(source, AdaptedModel) and said:
        raise UsageError(
            "adapters are described twice",
            where=f"[training] {said[0]}",
            found=f"{said[0]} = {getattr(settings, said[0])}, and a model of adapters",
            expected="lora for a whole model that was fine-tuned with adapters and merged",
            fix=f"leave {said[0]} out: references get adapters of the same settings as those of [model] path",
        )
    return settings.trainer(start, task=task)


@dataclass(frozen=True)
class _Columns:
    """Which columns of a file make a record."""

    text: str | None
    prompt: str | None
    answer: str | None
    messages: str | None
    label: str | None
    id: str | None
    subject: str | None
    group: str | None
    others: Mapping[str, str]
    template: str | None
    date: str | None
    max_length: int | None
    truncate: bool
    names: Mapping[str, int]

    def rows(self, path: str, *, of: str = "") -> Rows:
        """Return the rows of a file; of another than that trained on, named by ``of``, variants may be missing.

        Raises:
            UsageError: as of :func:`problem`.
        """
        kind = self._kind()
        group = self.group if self.group != self.subject else None  # one column may say both
        named = [*kind, *(name for name in (self.id, self.subject, group) if name is not None)]
        others = list(self.others.values())
        texts = [name for name in (*named, *others) if name not in (self.label, self.messages)]
        frame, where = frame_of(Path(path), text=texts)
        of_groups(self.group, where, id=self.id, label=self.label)
        present([*named, *([] if of else others)], list(map(str, frame.columns)), where)
        ids = ids_of(frame, self.id, where, of=of)
        return Rows(frame, where, [self._column(frame, name, where) for name in kind], ids)

    def groups(self, files: Sequence[Rows]) -> dict[str, str]:
        """Return the group of each record of all files, by id.

        Raises:
            UsageError: none has any.
        """
        if self.group is None:
            return {}
        found = [groups_of(rows.frame[self.group], rows.ids) for rows in files]
        return together(self.group, *found)

    def records(self, rows: Rows, tokenizer: Any) -> Records:
        """Return the records of a file.

        Raises:
            UsageError: as of :func:`problem`.
        """
        frame, parts = rows.frame, rows.parts
        more = {**self._more(tokenizer), "ids": rows.ids, "subjects": subjects_of(frame, self.subject)}
        try:
            if self.label is not None:
                return TextRecords(*parts, names=self.names, **more)
            if self.messages is not None:
                return LanguageRecords.of_messages(*parts, date=self.date, **more)
            if self.text is not None:
                return LanguageRecords.of_texts(*parts, **more)
            return LanguageRecords(*parts, template=self.template, date=self.date, **more)
        except UsageError as error:
            at = [f"{rows.where}, first at {place(frame, i)}" for i in range(len(frame))]
            raise _in_the_file(error.obstacles[0], at, rows.where) from error

    def writer(self, tokenizer: Any) -> Callable[..., Records]:
        """Return what makes records of prompts and answers that stand at some places ``at`` in the files."""

        def write(prompts: Sequence[str], answers: Sequence[str], *, ids: Sequence[str], at: Sequence[str]) -> Records:
            try:
                more = {**self._more(tokenizer), "template": self.template, "date": self.date, "ids": ids}
                return LanguageRecords(prompts, answers, **more)
            except UsageError as error:
                raise _in_the_file(error.obstacles[0], at, "[data]") from error

        return write

    def _more(self, tokenizer: Any) -> dict[str, Any]:
        return {"tokenizer": tokenizer, "max_length": self.max_length, "truncate": self.truncate}

    def _kind(self) -> tuple[str, ...]:
        """Return the columns of a record, in the order in which its kind takes them."""
        given = {name: getattr(self, name) for name in ("text", "label", "prompt", "answer", "messages")}
        named = {name: column for name, column in given.items() if column is not None}
        kinds = (("text",), ("text", "label"), ("prompt", "answer"), ("messages",))
        if tuple(named) not in kinds:
            raise UsageError(
                "the columns make no kind of record",
                where="[data]",
                found=" and ".join(named) or "none of them",
                expected=" or ".join(" with ".join(kind) for kind in kinds),
                fix='name the columns of the file, e.g. prompt = "question" and answer = "answer"',
            )
        if self.group is not None and self.label is None:
            raise UsageError(
                "groups without classes",
                where="[data], group",
                found=" and ".join(named),
                expected="text with label: gaps between groups are those of classifiers",
                fix="leave the group out",
            )
        if self.template is not None and self.prompt is None:
            raise UsageError(
                "a template without prompts",
                where="[data], template",
                found=" and ".join(named),
                expected="prompt with answer: a template puts the two together",
                fix="leave the template out",
            )
        if self.date is not None and (self.template is not None or self.text is not None):
            raise UsageError(
                "a date that nothing reads",
                where="[data], date",
                found=" and ".join([*named, *(["template"] if self.template is not None else [])]),
                expected="messages, or prompt with answer: the tokenizer's own template may ask for today",
                fix="leave the date out",
            )
        if self.others and self.prompt is None:
            raise UsageError(
                "other questions and answers without prompts",
                where=f"[data], {', '.join(self.others)}",
                found=" and ".join(named),
                expected="prompt with answer: each is the prompt or the answer in other words, or another answer",
                fix="leave them out, or give the records as prompts and answers",
            )
        return tuple(named.values())

    def _column(self, frame: Any, name: str, where: str) -> Sequence[Any]:
        values = plain(frame[name])
        whole(values, frame, where=f"{where}, column {name}", what=name)
        if name == self.label and any(isinstance(value, str) for value in values):
            return self._numbers(values, frame, f"{where}, column {name}")
        if name == self.label:  # pandas makes fractions of a column of whole numbers that once had a gap
            values = [int(v) if isinstance(v, float) and v.is_integer() else v for v in values]
            self._in_range(values, frame, f"{where}, column {name}")
        wanted = int if name == self.label else list if name == self.messages else str
        wrong = [i for i, value in enumerate(values) if not isinstance(value, wanted) or isinstance(value, bool)]
        if wrong:
            raise UsageError(
                f"a column that holds something else than {_KINDS[wanted]}",
                where=f"{where}, column {name}, first at {place(frame, wrong[0])}",
                found=f"{type(values[wrong[0]]).__name__} in {len(wrong)} of {len(values)} rows",
                expected=_KINDS[wanted],
                fix="name another column, or mend these rows",
            )
        return values

    def _in_range(self, values: Sequence[Any], frame: Any, where: str) -> None:
        """Refuse numbers of classes that the model has not, where its configuration says how many there are."""
        most = len(self.names)
        odd = [i for i, value in enumerate(values) if most and isinstance(value, int) and not 0 <= value < most]
        if odd:
            raise UsageError(
                "labels that are no class of the model",
                where=f"{where}, first at {place(frame, odd[0])}",
                found=f"{len(odd)} of {len(values)} rows",
                expected=f"whole numbers, 0 to {most - 1}",
                fix="number the classes as config.json does",
            )

    def _numbers(self, values: Sequence[Any], frame: Any, where: str) -> list[int]:
        """Return the numbers of classes that are called by their names; a column of words may hold numbers as words."""
        known = {**{str(number): number for number in self.names.values()}, **self.names}
        strange = [i for i, value in enumerate(values) if str(value) not in known]
        if strange:
            names = ", ".join([*self.names][:12]) or "it has none"
            raise UsageError(
                "labels that are no class of the model",
                where=f"{where}, first at {place(frame, strange[0])}",
                found=f"{len(strange)} of {len(values)} rows",
                expected=f"numbers of classes, or names in id2label of config.json: {names}",
                fix="write the names into id2label and label2id of config.json, or numbers into the column",
            )
        return [known[str(value)] for value in values]


_IN_TOML = (
    ("truncate=True", "truncate = true in [data]"),
    ("template=", "template = "),
    ('date="YYYY-MM-DD"', 'date = "YYYY-MM-DD" in [data]'),
    (
        "set tokenizer.pad_token, e.g. to tokenizer.eos_token, and model.config.pad_token_id to its number",
        'name a "pad_token" in tokenizer_config.json beside the model, and its number as "pad_token_id" in config.json',
    ),
    ("set tokenizer.pad_token", 'name a "pad_token" in tokenizer_config.json beside the model'),
)
"""What the records say to who calls them, and what that is in a job file."""


def _in_the_file(found: Obstacle, places: Sequence[str], file: str) -> UsageError:
    """Return what is wrong with records in terms of the job and of their ``places`` in the file that they come from."""
    at = re.search(r"(?:first|conversation) at position (\d+)", found.where)
    fix = found.fix
    for code, words in _IN_TOML:
        fix = fix.replace(code, words)
    where = file if found.where in ("LanguageRecords", "TextRecords") else found.where
    where = places[int(at[1])] if at else where
    return UsageError(found.what, where=where, found=found.found, expected=found.expected, fix=fix)


_KINDS = {int: "class numbers (0, 1, ...)", list: "lists of messages", str: "text"}
