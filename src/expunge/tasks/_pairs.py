"""Tasks whose records are pairs (input, target) with one answer each: what classification and regression share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from expunge.core.errors import Obstacle
from expunge.core.records import Records
from expunge.core.task import Task
from expunge.data._files import plain
from expunge.data._rows import Rows, is_number, no_number, one_each

_BATCH = 256
_WIDTH = 256
"""Numbers that the tokens of a record are counted in: a token's number modulo this."""
_ROUNDED = 0.02
"""How far rounding puts two answers apart at the most, of the largest number: in half precision it may be 0.01."""
PLACES = 4
"""Fewest values of a record of which one may be exchanged: of two or three it would be another record."""


class Pairs(Task):
    """A task that answers every input of a pair (input, target) once.

    Inputs are a tensor, a mapping of tensors, or rows of a table. Class attributes: ``answers``, what a model must
    return; ``fit``, what to do where it returns something else; ``kind``, what the targets are.
    """

    answers: ClassVar[str]
    fit: ClassVar[str]
    kind: ClassVar[str]

    @abstractmethod
    def answer(self, model: Any, inputs: Any) -> Any:
        """Return what the model says of a batch of inputs."""

    @abstractmethod
    def misfit(self, answer: Any, count: int) -> str:
        """Return how the answer to ``count`` records is none of this task; empty where it is."""

    @abstractmethod
    def constant(self, answer: Tensor) -> bool:
        """Return whether all records got one answer."""

    @abstractmethod
    def misread(self, target: Any) -> Obstacle | None:
        """Return that the targets of a batch are not of the kind; without ``where``."""

    @abstractmethod
    def strange(self, target: Tensor, answer: Tensor | None) -> Tensor:
        """Return which targets the model cannot mean, [B], bool; ``answer`` to some records, None without a model."""

    @abstractmethod
    def stranger(self, answer: Tensor | None) -> Obstacle:
        """Return what to say of strange targets; without ``where`` and ``found``."""

    def inputs(self, batch: Any) -> Tensor:
        """Return the inputs as float64 rows; a mapping gives its parts side by side, tokens how often each occurs."""
        inputs, target = batch
        if isinstance(inputs, Rows):
            return torch.from_numpy(inputs.numbers)
        named = dict(sorted(inputs.items())) if isinstance(inputs, Mapping) else {"": inputs}
        tokens = named.get("input_ids")
        if tokens is not None and not tokens.is_floating_point():
            # What stands beside each token as well (a mask, segments) is as wide as the longest text of the batch.
            beside = {key: part for key, part in named.items() if part.shape != tokens.shape}
            named = {"": counted(inputs), **beside}
        return torch.cat([part.reshape(len(target), -1).double() for part in named.values()], dim=1)

    def moved(self, batch: Any, by: Tensor) -> Any:
        """Return the batch with ``by`` [B, D] added to its inputs; None unless all of them are floating point."""
        inputs, target = batch
        if isinstance(inputs, Rows):
            rows = inputs.moved(by.numpy())
            return None if rows is None else (rows, target)
        parts = inputs if isinstance(inputs, Mapping) else {"": inputs}
        if not all(part.is_floating_point() for part in parts.values()):
            return None
        moved, start = {}, 0
        for key in sorted(parts):
            part = parts[key]
            stop = start + part[0].numel()
            step = by[:, start:stop].reshape(part.shape).to(part.dtype)
            moved[key], start = part + step, stop
        return (moved if isinstance(inputs, Mapping) else moved[""]), target

    def exchanged(self, batch: Any, other: Any, where: Tensor) -> Any:
        """Return the batch with one value of each record exchanged; a record of fewer than ``PLACES`` values stays.

        In a mapping what belongs to one token goes together, tokens are compared by ``input_ids``, and what an
        ``attention_mask`` hides is no value; without one, padding is a value like any other. None for tables of fewer
        than ``PLACES`` columns, and for a mapping whose parts are not all of one shape.
        """
        (inputs, target), (others, _) = batch, other
        if isinstance(inputs, Rows):
            rows = inputs.exchanged(others, where.numpy()) if inputs.frame.shape[1] >= PLACES else None
            return None if rows is None else (rows, target)
        whole = isinstance(inputs, Mapping)
        mine, theirs = ({key: _flat(part) for key, part in (x if whole else {"": x}).items()} for x in (inputs, others))
        if len({part.shape for part in mine.values()}) != 1 or mine.keys() != theirs.keys():
            return None
        free = _unlike(mine, theirs)
        rows, places = map(torch.from_numpy, one_each(free.numpy(), where.numpy()))
        made = {}
        for key, part in mine.items():
            made[key] = part.clone()
            made[key][rows, places] = theirs[key][rows, places].to(part.dtype)
            made[key] = made[key].view_as(inputs[key] if whole else inputs)
        return (made if whole else made[""]), target

    def examine(self, model: Any, records: Records, *, where: str) -> list[Obstacle]:
        """Return non-finite inputs, bad targets, unstable reading, and answers that do not fit, or are all alike."""
        found = unstable(records, where)
        unread = unreadable(records, where)
        if unread:
            return [*found, *unread]
        answer = self._first(model, records, where, found) if model is not None else None
        not_finite, strange = [], []
        for start in range(0, len(records), _BATCH):
            batch = records.read(range(start, min(start + _BATCH, len(records))))
            wrong = self.misread(batch[1]) if is_pair(batch) else _no_pair(batch)
            if wrong is not None:
                return [*found, replace(wrong, where=where)]
            inputs, target = batch
            not_finite += [start + i for i in _bad_rows(inputs, len(target))]
            strange += [start + int(i) for i in self.strange(target, answer).nonzero()]
        if not_finite:
            found.append(
                Obstacle(
                    what="inputs are NaN or infinite",
                    where=f"{where}, first at position {not_finite[0]}",
                    found=f"{len(not_finite)} of {len(records)} records",
                    expected="finite numbers",
                    fix="clean or drop these records",
                )
            )
        if strange:
            places = {
                "where": f"{where}, first at position {strange[0]}",
                "found": f"{len(strange)} of {len(records)} records",
            }
            found.append(replace(self.stranger(answer), **places))
        if answer is not None and not any(each.fatal for each in found):
            found += self._answered(model, records, where) or self._padded(model, records, where)
        return found

    def _first(self, model: Any, records: Records, where: str, found: list[Obstacle]) -> Tensor | None:
        """Return the answer to the first records; None, and why among what was found, where it is none."""
        indices = range(min(2, len(records)))
        batch = records.read(indices)
        if not is_pair(batch):
            return None  # said later, of the records
        try:
            with torch.no_grad():
                answer = self.answer(model, batch[0])
                problem = self.misfit(answer, len(indices))
        except _BROKEN as error:
            found.append(self._no_answer(model, records, where, error, indices))
            return None
        if not problem:
            first: Tensor = answer
            return first
        found.append(self._unfit(where, problem))
        return None

    def _no_answer(
        self, model: Any, records: Records, where: str, error: Exception, indices: Sequence[int]
    ) -> Obstacle:
        columns = _text_among_numbers(records)
        odd = {place for strange in columns.values() for place in strange}
        # Where the others are not answered either something else is the matter.
        if columns and self._answers(model, records, [place for place in indices if place not in odd]):
            name, strange = next(iter(columns.items()))
            return Obstacle(
                what="text in a column of numbers",
                where=f"{where}, column {name}, first at position {strange[0]}",
                found=f"{len(strange)} of {len(records)} rows",
                expected="numbers, as in the other rows",
                fix="mend these rows, or drop them; a decimal comma makes no number",
            )
        unpadded = getattr(getattr(model, "config", None), "pad_token_id", 0) is None
        if unpadded and isinstance(error, ValueError) and _pad_of(records) is not None:  # what transformers raises then
            return _pads_otherwise(model, records, where, found="no pad_token_id in its configuration")
        # Shapes and types only: the text of an error from user code could hold data.
        return self._unfit(where, f"{type(error).__name__} on a batch of {len(indices)}")

    def _answers(self, model: Any, records: Records, indices: Sequence[int]) -> bool:
        try:
            with torch.no_grad():
                self.answer(model, records.read(indices)[0])
        except _BROKEN:
            return False
        return bool(indices)

    def _unfit(self, where: str, found: str) -> Obstacle:
        return Obstacle(
            what="the model does not fit the task",
            where=f"{self.title.lower()} of the {where}",
            found=found,
            expected=self.answers,
            fix=self.fit,
        )

    def _padded(self, model: Any, records: Records, where: str) -> list[Obstacle]:
        """Return that the answer to a text is another beside a longer one: what fills it up is taken for a part."""
        if _pad_of(records) is None:
            return []
        some = range(0, len(records), max(1, len(records) // _BATCH))[:_BATCH]
        long = [records.read([place])[0]["input_ids"].shape[1] for place in some]
        short, longest = some[int(np.argmin(long))], some[int(np.argmax(long))]
        with torch.no_grad():
            alone = self.answer(model, records.read([short])[0])[0].double()
            beside = self.answer(model, records.read([short, longest])[0])[0].double()
        off = float((alone - beside).abs().max() / alone.abs().max().clamp_min(1e-9))
        if off <= _ROUNDED:
            return []
        return [
            _pads_otherwise(
                model, records, where, found=f"answers that are {off:.0%} apart, alone and beside a longer text"
            )
        ]

    def _answered(self, model: Any, records: Records, where: str) -> list[Obstacle]:
        """Return what is wrong with the answers to records from all over the set: not finite, or all alike."""
        some = range(0, len(records), max(1, len(records) // _BATCH))[:_BATCH]
        odd = [strange[0] for strange in _text_among_numbers(records).values()]  # a model may know what to make of it
        indices = [*some, *(place for place in odd if place not in some)]
        batch = records.read(indices)
        try:
            with torch.no_grad():
                answer = self.answer(model, batch[0])
        except _BROKEN as error:
            return [self._no_answer(model, records, where, error, indices)]
        bad = int((~torch.isfinite(answer).reshape(len(indices), -1).all(dim=1)).sum())
        if bad:
            return [
                Obstacle(
                    what="the model answers with NaN or infinite numbers",
                    where=f"{self.title.lower()} of the {where}",
                    found=f"{bad} of {len(indices)} records that were asked",
                    expected=f"finite {self.kind} for every record",
                    fix="restore the model from an intact checkpoint, or mend what overflows in it",
                )
            ]
        rows = self.inputs(batch)
        if not self.constant(answer) or torch.equal(rows, rows[:1].expand_as(rows)):
            return []
        return [
            Obstacle(
                what="the outputs of the model are constant",
                where=f"{self.title.lower()} of the {where}",
                found=f"one answer to all of {len(indices)} records that were asked",
                expected="answers that depend on the input",
                fix="see whether this is the model that was meant: it has learnt nothing, or lost it, and nothing that "
                "is measured on it shows that records were forgotten",
                fatal=False,
            )
        ]


def _pad_of(records: Records) -> int | None:
    """Return the token that texts are filled up with; None of records that are no tokens."""
    inputs = records.padding[0] if isinstance(records.padding, tuple) else None
    return inputs.get("input_ids") if isinstance(inputs, Mapping) else None


def _pads_otherwise(model: Any, records: Records, where: str, *, found: str) -> Obstacle:
    file = f'write the tokenizer\'s pad token into config.json beside the model: "pad_token_id": {_pad_of(records)}'
    own = "mask in the model what fills texts up (attention_mask is 0 there), or give records of one length"
    return Obstacle(
        what="the model takes what texts are filled up with for a part of them",
        where=where,
        found=found,
        expected="one answer to a text, whatever is read beside it",
        fix=own if getattr(model, "config", None) is None else file,
    )


def counted(inputs: Mapping[str, Tensor]) -> Tensor:
    """Return how often each token occurs, [B, 256], float64, roots of shares: records of like words lie close.

    However long the longest record of a batch is, and so whatever was read beside a record.
    """
    ids = inputs["input_ids"].cpu().flatten(1)  # of several texts a record all tokens
    there = inputs["attention_mask"].cpu().flatten(1) if "attention_mask" in inputs else torch.ones_like(ids)
    counts = torch.zeros(len(ids), _WIDTH, dtype=torch.float64).scatter_add(1, ids % _WIDTH, there.double())
    return (counts / counts.sum(dim=1, keepdim=True).clamp_min(1)).sqrt()


def output(model: Any, inputs: Any) -> Any:
    """Return what a network says of a batch: a tensor, or the ``.logits`` of an output that has them."""
    inputs = beside(model, inputs)
    said = model(**inputs) if isinstance(inputs, Mapping) else model(inputs)
    return getattr(said, "logits", said)


def beside(model: Any, inputs: Any) -> Any:
    """Return inputs (a tensor, or tensors in a mapping) where the weights of the model lie; as they are without any."""
    place = next((p.device for p in model.parameters()), None) if isinstance(model, nn.Module) else None
    if place is None or place.type == "cpu":
        return inputs
    if isinstance(inputs, Mapping):
        return {name: part.to(place) for name, part in inputs.items()}
    return inputs.to(place)


def is_pair(batch: Any) -> bool:
    """Return whether a batch is a sequence of two."""
    return isinstance(batch, Sequence) and len(batch) == 2


def _no_pair(batch: Any) -> Obstacle:
    return Obstacle(
        what="records are not pairs",
        found=f"{type(batch).__name__} in a batch",
        expected="(input, label)",
        fix="return exactly these two from the dataset's __getitem__",
    )


def unreadable(records: Records, where: str) -> list[Obstacle]:
    """Return that a record cannot be read into a batch, as where its label is missing (None)."""
    for start in range(0, len(records), _BATCH):
        try:
            records.read(range(start, min(start + _BATCH, len(records))))
        except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            # The type alone: the text of an error from user code could hold data.
            return [
                Obstacle(
                    what="records cannot be read as a batch",
                    where=f"{where}, positions {start} to {min(start + _BATCH, len(records)) - 1}",
                    found=type(error).__name__,
                    expected="(input, label) for every record, inputs of one shape, no label missing (None)",
                    fix="drop records without a label, or give them one; read one by hand: dataset[position]",
                )
            ]
    return []


def _unlike(mine: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> Tensor:
    """Return at which places a value of each record can be exchanged, [B, the shorter length], bool."""
    length = min(part.shape[1] for side in (mine, theirs) for part in side.values())
    compared = ["input_ids"] if "input_ids" in mine else list(mine)
    free = torch.stack([mine[key][:, :length] != theirs[key][:, :length] for key in compared]).any(dim=0)
    shown = mine.get("attention_mask", torch.ones_like(next(iter(mine.values())))) > 0
    if "attention_mask" in mine:
        free &= shown[:, :length] & (theirs["attention_mask"][:, :length] > 0)
    return free & (shown.sum(dim=1, keepdim=True) >= PLACES)


def _flat(part: Tensor) -> Tensor:
    return part.reshape(len(part), -1)


_BROKEN = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What a model raises that cannot answer what it is asked."""


def _text_among_numbers(records: Records) -> dict[str, list[int]]:
    """Return the columns of a table that hold numbers in most rows, and the positions of the rows with text there."""
    if not len(records) or not isinstance(records.read([0])[0], Rows):
        return {}
    frame = records.read(range(len(records)))[0].frame
    found = {}
    for place, name in enumerate(frame.columns):
        column = frame.iloc[:, place]
        strange = [] if is_number(column) else [i for i, value in enumerate(plain(column)) if no_number(value)]
        if 0 < len(strange) < len(frame) / 2:
            found[str(name)] = strange
    return found


def _bad_rows(inputs: Any, count: int) -> list[int]:
    if isinstance(inputs, Rows):
        return inputs.infinite()
    parts = list(inputs.values()) if isinstance(inputs, Mapping) else [inputs]
    bad = torch.zeros(count, dtype=torch.bool)
    for part in parts:
        if part.is_floating_point():
            bad |= ~torch.isfinite(part).reshape(count, -1).all(dim=1)
    return [int(i) for i in bad.nonzero()]


def unstable(records: Records, where: str) -> list[Obstacle]:
    """Return that a record has another content when it is read again; a sample is read twice."""
    changed, asked = records.reread
    if not changed:
        return []
    return [
        Obstacle(
            what="the dataset answers differently when read twice",
            where=where,
            found=f"{changed} of {asked} records read again",
            expected="the same content at every reading",
            fix="move random augmentation from the dataset to the trainer",
        )
    ]
