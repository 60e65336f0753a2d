"""Classifiers: one record, one label, one unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from expunge.core.errors import Obstacle
from expunge.core.records import Records
from expunge.core.task import Task
from expunge.data._rows import Rows
from expunge.data.arrays import ArrayRecords
from expunge.numerics.units import Scored, alike
from expunge.tasks._estimators import log_probabilities

_BATCH = 256
_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
_TWICE = 256  # records that are read a second time: augmentation changes all of them, so a sample shows it


class Classification(Task):
    """A model that maps inputs to logits ``[B, C]``, or to an output with ``.logits``; labels in 0..C-1.

    Or a classifier with scikit-learn's methods on records of a table: its log-probabilities, each class raised to
    0.001 at least, stand for logits.
    """

    title = "Classification"

    def units(self, model: Any, batch: Any) -> Scored:
        """Return one unit per record; its loss is the cross entropy."""
        inputs, target = batch
        logits = _logits(model, inputs)
        record = torch.arange(len(target), device=logits.device)
        return Scored.of(logits, target, record, len(target))

    def inputs(self, batch: Any) -> Tensor:
        """Return the inputs as float64 rows; a mapping gives its parts side by side."""
        inputs, target = batch
        if isinstance(inputs, Rows):
            return torch.from_numpy(inputs.numbers)
        parts = [inputs[key] for key in sorted(inputs)] if isinstance(inputs, Mapping) else [inputs]
        return torch.cat([part.reshape(len(target), -1).double() for part in parts], dim=1)

    def relabelled(self, batch: Any, classes: Mapping[int, int]) -> tuple[Any, Any]:
        """Return (input, label) with the label replaced; labels may be a tensor of any shape, or one number."""
        inputs, target = batch
        if not isinstance(target, Tensor):
            return inputs, classes.get(int(target), target)
        new = [classes.get(label, label) for label in target.flatten().tolist()]
        return inputs, torch.tensor(new, dtype=target.dtype, device=target.device).reshape(target.shape)

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

    def features(self, model: Any, batch: Any) -> Tensor | None:
        """Return the input of the linear layer that ran last, [B, D]; None where there is none, or not one row each."""
        if not isinstance(model, nn.Module):
            return None
        seen: list[Tensor] = []
        layers = [m for m in model.modules() if isinstance(m, nn.Linear)]
        hooks = [layer.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach())) for layer in layers]
        try:
            with torch.no_grad():
                self.units(model, batch)
        finally:
            for hook in hooks:
                hook.remove()
        fits = bool(seen) and seen[-1].dim() == 2 and len(seen[-1]) == len(batch[1])
        return seen[-1].clone() if fits else None

    def examine(self, model: Any, records: Records, *, where: str) -> list[Obstacle]:
        """Return non-finite inputs, bad labels, unstable reading, and outputs that are no logits, or all alike."""
        found = [*_unstable(records, where)]
        unread = _unreadable(records, where)
        if unread:
            return [*found, *unread]
        classes = _classes(self, model, records, where, found) if model is not None else None
        not_finite, strange = [], []
        for start in range(0, len(records), _BATCH):
            indices = range(start, min(start + _BATCH, len(records)))
            batch = records.read(indices)
            if not isinstance(batch, Sequence) or len(batch) != 2:
                found.append(
                    Obstacle(
                        what="records are not pairs",
                        where=where,
                        found=f"{type(batch).__name__} in a batch",
                        expected="(input, label)",
                        fix="return exactly these two from the dataset's __getitem__",
                    )
                )
                return found
            inputs, target = batch
            if not _class_numbers(target):
                found.append(
                    Obstacle(
                        what="labels are not class numbers",
                        where=where,
                        found=f"{getattr(target, 'dtype', type(target).__name__)}",
                        expected="one integer per record",
                        fix="encode the classes as 0, 1, 2, ...",
                    )
                )
                return found
            not_finite += [start + i for i in _bad_rows(inputs, len(target))]
            outside = (target < 0) | (target >= classes) if classes is not None else target < 0
            strange += [start + int(i) for i in outside.nonzero()]
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
            found.append(
                Obstacle(
                    what="labels outside the classes of the model",
                    where=f"{where}, first at position {strange[0]}",
                    found=f"{len(strange)} of {len(records)} records",
                    expected=f"0 to {classes - 1}" if classes is not None else "0 or more",
                    fix="encode the labels as the model was trained with",
                )
            )
        if classes is not None and not any(each.fatal for each in found):
            found += _answers(self, model, records, where)
        return found

    def trial(self, seed: int) -> tuple[nn.Module, ArrayRecords]:
        """Return a perceptron of 5 inputs and 3 classes, and 13 records: no batch size divides them."""
        draw = torch.Generator().manual_seed(seed)
        model = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3))
        with torch.no_grad():
            for p in model.parameters():
                p.copy_(torch.randn(p.shape, generator=draw))
        inputs, labels = torch.randn(13, 5, generator=draw), torch.randint(3, (13,), generator=draw)
        return model.eval(), ArrayRecords(inputs, labels, ids=[f"trial-{i}" for i in range(13)])


def _logits(model: Any, inputs: Any) -> Any:
    if isinstance(inputs, Rows):
        return log_probabilities(model, inputs)
    output = model(**inputs) if isinstance(inputs, Mapping) else model(inputs)
    return getattr(output, "logits", output)


def _answers(task: Task, model: Any, records: Records, where: str) -> list[Obstacle]:
    """Return what is wrong with the answers to records from all over the set: not finite, or all alike."""
    indices = range(0, len(records), max(1, len(records) // _BATCH))[:_BATCH]
    batch = records.read(indices)
    with torch.no_grad():
        logits = _logits(model, batch[0])
    bad = int((~torch.isfinite(logits).all(dim=1)).sum())
    if bad:
        return [
            Obstacle(
                what="the model answers with NaN or infinite numbers",
                where=f"classification of the {where}",
                found=f"{bad} of {len(indices)} records that were asked",
                expected="finite logits for every record",
                fix="restore the model from an intact checkpoint, or mend what overflows in it",
            )
        ]
    rows = task.inputs(batch)
    if not alike(logits) or torch.equal(rows, rows[:1].expand_as(rows)):
        return []
    return [
        Obstacle(
            what="the outputs of the model are constant",
            where=f"classification of the {where}",
            found=f"one answer to all of {len(indices)} records that were asked",
            expected="answers that depend on the input",
            fix="see whether this is the model that was meant: it has learnt nothing, or lost it, and nothing that is "
            "measured on it shows that records were forgotten",
            fatal=False,
        )
    ]


def _unreadable(records: Records, where: str) -> list[Obstacle]:
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


def _class_numbers(target: Any) -> bool:
    return isinstance(target, Tensor) and target.dim() == 1 and target.dtype in _INTEGERS


def _bad_rows(inputs: Any, count: int) -> list[int]:
    if isinstance(inputs, Rows):
        return inputs.infinite()
    parts = list(inputs.values()) if isinstance(inputs, Mapping) else [inputs]
    bad = torch.zeros(count, dtype=torch.bool)
    for part in parts:
        if part.is_floating_point():
            bad |= ~torch.isfinite(part).reshape(count, -1).all(dim=1)
    return [int(i) for i in bad.nonzero()]


def _classes(task: Task, model: Any, records: Records, where: str, found: list[Obstacle]) -> int | None:
    indices = range(min(2, len(records)))
    batch = records.read(indices)
    if not isinstance(batch, Sequence) or len(batch) != 2:
        return None  # said below, of the records
    try:
        with torch.no_grad():
            logits = _logits(model, batch[0])
            problem = _shape_problem(logits, len(indices))
    except (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        # Shapes and types only: the text of an error from user code could hold data.
        logits, problem = None, f"{type(error).__name__} on a batch of {len(indices)}"
    if problem:
        found.append(
            Obstacle(
                what="the model does not fit the task",
                where=f"classification of the {where}",
                found=problem,
                expected="logits of shape [records, classes], at least 2 classes",
                fix="name the right task, or wrap the model so that it returns logits",
            )
        )
        return None
    return int(logits.shape[1])


def _shape_problem(logits: Any, count: int) -> str:
    if not isinstance(logits, Tensor):
        return f"output of type {type(logits).__name__}"
    if logits.dim() != 2 or len(logits) != count or logits.shape[1] < 2:
        return f"output of shape {tuple(logits.shape)} for {count} records"
    return ""


def _unstable(records: Records, where: str) -> list[Obstacle]:
    step = max(1, len(records) // _TWICE)
    entries = records.manifest.entries
    changed = sum(records.content(i) != entries[i][1] for i in range(0, len(records), step))
    if not changed:
        return []
    return [
        Obstacle(
            what="the dataset answers differently when read twice",
            where=where,
            found=f"{changed} of {len(range(0, len(records), step))} records read again",
            expected="the same content at every reading",
            fix="move random augmentation from the dataset to the trainer",
        )
    ]
