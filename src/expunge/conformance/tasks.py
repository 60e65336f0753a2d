"""What every task promises: losses that belong to records, whatever the batch; a model that is only read.

A task is tried on its own :meth:`~expunge.core.task.Task.trial`, a tiny model and a dozen records. All but one case
run the model in evaluation mode, where nothing but the record may decide its loss.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy.special import log_softmax
from torch import Tensor, nn

from expunge.conformance._case import NotApplicable, Suite, require
from expunge.core.model import ModelSource
from expunge.core.records import Records, WatchedView
from expunge.core.registry import adopt
from expunge.core.task import Task
from expunge.data.arrays import ArrayRecords
from expunge.numerics.units import Scored

SUITE = Suite()
SEED = 11
TOLERANCE = 1e-6
"""Of the largest number compared. In single precision the rounding of tiny models came to 2e-7 over 120 trials."""
CUTS = ((5, 1, 4), (2,), (7, 3))
"""Sizes of uneven batches, taken in turn until the records are used up."""
NO_TARGET = -100
"""What torch's cross entropy leaves out; labels of padding hold it (transformers does so)."""
FEWEST = 9
"""Records of a trial that make batches of several sizes."""


def trial(cls: type[Task]) -> tuple[Task, nn.Module, Records]:
    """Return the task, its model in evaluation mode, and its records."""
    task = cls()
    model, records = task.trial(SEED)
    return task, model.eval(), records


def by_record(task: Task, model: nn.Module, batch: Any, count: int) -> tuple[Tensor, Tensor]:
    """Return (summed loss, number of units) of each of the ``count`` records of a batch, both [count]."""
    units = task.units(model, batch)
    total = torch.zeros(count, dtype=torch.float64).index_add(0, units.record, units.loss.double())
    return total, torch.bincount(units.record, minlength=count)


def apart(found: Tensor, expected: Tensor) -> float:
    """Return the largest difference, relative to the largest number expected."""
    if not found.numel():
        return 0.0
    return float((found - expected).abs().max() / expected.abs().max().clamp_min(1e-12))


def cuts(indices: Sequence[int], sizes: Sequence[int]) -> Iterator[list[int]]:
    """Yield ``indices`` in batches of these sizes, taken in turn; the last batch may be smaller."""
    start = turn = 0
    while start < len(indices):
        stop = start + sizes[turn % len(sizes)]
        yield list(indices[start:stop])
        start, turn = stop, turn + 1


def tensors(part: Any) -> list[Tensor]:
    """Return all tensors in a batch of mappings and sequences, in order."""
    if isinstance(part, Tensor):
        return [part]
    inner = part.values() if isinstance(part, Mapping) else part if isinstance(part, (list, tuple)) else ()
    return [tensor for each in inner for tensor in tensors(each)]


def _all(task: Task, model: nn.Module, records: Records) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        return by_record(task, model, records.read(range(len(records))), len(records))


# --- what it brings -------------------------------------------------------------------------------------------


@SUITE.case()
def says_what_it_is(cls: type[Task]) -> None:
    """It has a title, and is made without arguments."""
    require(getattr(cls, "title", "").strip(), "no title")
    cls()


@SUITE.case()
def trial_is_sound(cls: type[Task]) -> None:
    """Its trial is a function of the seed, and its own examination finds nothing wrong with it."""
    (_, model, records), (_, again, same) = trial(cls), trial(cls)
    sources: list[ModelSource] = [adopt("models", each) for each in (model, again, cls().trial(SEED + 1)[0])]
    require(len(records) >= FEWEST, f"{len(records)} records; at least {FEWEST} make uneven batches")
    require(sources[0].digest() == sources[1].digest(), "one seed gives two models")
    require(records.manifest == same.manifest, "one seed gives two sets of records")
    require(sources[0].digest() != sources[2].digest(), "two seeds give one model")
    found = [*records.examine(), *cls().examine(model, records, where="trial")]
    require(not found, f"of its own trial it says: {found[0].what if found else ''}")


# --- units ----------------------------------------------------------------------------------------------------


@SUITE.case()
def units_are_whole(cls: type[Task]) -> None:
    """A batch gives one finite loss per unit, each of a record of the batch, and every record has units."""
    task, model, records = trial(cls)
    for size in (len(records), 5, 1):
        units = task.units(model, records.read(range(size)))
        shapes = (tuple(units.loss.shape), tuple(units.record.shape))
        require(units.loss.dim() == 1 and shapes[0] == shapes[1], f"loss and record have shapes {shapes}, not [N]")
        require(units.loss.is_floating_point(), f"losses are {units.loss.dtype}")
        require(bool(torch.isfinite(units.loss).all()), "a loss is NaN or infinite")
        require(units.batch_size == size, f"batch_size says {units.batch_size} of {size} records")
        require(not units.record.is_floating_point(), f"record is {units.record.dtype}, no index")
        inside = bool(((units.record >= 0) & (units.record < size)).all())
        require(inside, f"record points outside a batch of {size}")
        missing = size - len(set(units.record.tolist()))
        require(not missing, f"{missing} of {size} records have no unit")


@SUITE.case()
def losses_add_up(cls: type[Task]) -> None:
    """The means by record, times the units of each, sum to the total of the losses."""
    task, model, records = trial(cls)
    count = len(records)
    with torch.no_grad():
        units = task.units(model, records.read(range(count)))
    means, number = units.by_record(units.loss), torch.bincount(units.record, minlength=count)
    require(tuple(means.shape) == (count,), f"by_record gives shape {tuple(means.shape)} for {count} records")
    gap = apart((means.double() * number).sum(), units.loss.double().sum())
    require(gap <= TOLERANCE, f"the sum over records differs from the sum over units by {gap:.1e}")


@SUITE.case()
def batch_does_not_matter(cls: type[Task]) -> None:
    """All at once, one by one, in uneven batches, in another order: each record has the same units and loss."""
    task, model, records = trial(cls)
    count = len(records)
    loss, number = _all(task, model, records)
    turned = list(range(count))[::-1]
    ways: dict[str, Iterator[list[int]]] = {
        "one by one": cuts(range(count), [1]),
        **{f"in batches of {sizes}": cuts(range(count), sizes) for sizes in CUTS},
        "in reverse order": iter([turned]),
        "in reverse order and uneven batches": cuts(turned, CUTS[0]),
    }
    for way, batches in ways.items():
        there, found = torch.zeros_like(loss), torch.zeros_like(number)
        for batch in batches:
            with torch.no_grad():
                there[batch], found[batch] = by_record(task, model, records.read(batch), len(batch))
        require(torch.equal(found, number), f"{way}, {int((found != number).sum())} records have other units")
        gap = apart(there, loss)
        require(gap <= TOLERANCE, f"{way}, a record's loss differs by {gap:.1e} of the largest")


@SUITE.case()
def padding_does_not_matter(cls: type[Task]) -> None:
    """Where a batch holds a mask, what stands behind the mask changes no loss."""
    task, model, records = trial(cls)
    count = len(records)
    batch = records.read(range(count))
    if not any(True for _ in _masks(batch)):
        raise NotApplicable("no batch holds a mask")
    loss, number = _all(task, model, records)
    with torch.no_grad():
        there, found = by_record(task, model, _repadded(batch), count)
    require(torch.equal(found, number), f"{int((found != number).sum())} records have other units with other padding")
    gap = apart(there, loss)
    require(gap <= TOLERANCE, f"with other padding a record's loss differs by {gap:.1e} of the largest")


def _masks(part: Any) -> Iterator[Tensor]:
    if isinstance(part, Mapping):
        yield from (value for name, value in part.items() if "mask" in name and isinstance(value, Tensor))
    elif isinstance(part, (list, tuple)):
        for each in part:
            yield from _masks(each)


def _repadded(part: Any) -> Any:
    """Return the batch with other content behind its masks, or, where they hide nothing, with two more columns."""
    if isinstance(part, (list, tuple)):
        return tuple(_repadded(each) for each in part)
    mask = next(_masks(part), None)
    if mask is None:
        return part
    hidden = mask == 0
    change = _covered if bool(hidden.any()) else _extended
    return {name: change(name, value, hidden) for name, value in part.items()}


def _covered(name: str, value: Any, hidden: Tensor) -> Any:
    if "mask" in name or "label" in name or not _follows(value, hidden):
        return value
    shown = value[~hidden]
    other = value.clone()
    other[hidden] = shown[torch.arange(int(hidden.sum())) % len(shown)]  # content that the model takes
    return other


def _extended(name: str, value: Any, hidden: Tensor) -> Any:
    if not _follows(value, hidden):
        return value
    more = value[:, :2].clone()
    if "mask" in name:
        more.zero_()
    elif "label" in name:
        more.fill_(NO_TARGET)
    return torch.cat([value, more], dim=1)


def _follows(value: Any, mask: Tensor) -> bool:
    return isinstance(value, Tensor) and value.shape[:2] == mask.shape


@SUITE.case()
def scored_loss_is_the_cross_entropy(cls: type[Task]) -> None:
    """Where there are classes the loss is ``-log softmax(logits)[target]``, as NumPy computes it in float64."""
    task, model, records = trial(cls)
    with torch.no_grad():
        units = task.units(model, records.read(range(len(records))))
    if not isinstance(units, Scored):
        raise NotApplicable("its units have no classes")
    number, classes = len(units.loss), units.logits.shape[-1]
    require(
        tuple(units.logits.shape) == (number, classes), f"logits have shape {tuple(units.logits.shape)}, not [N, C]"
    )
    target = units.target.numpy()
    require(bool(((target >= 0) & (target < classes)).all()), f"targets outside 0..{classes - 1}")
    log_probs = log_softmax(units.logits.double().numpy(), axis=1)
    expected = torch.from_numpy(-log_probs[np.arange(number), target])
    gap = apart(units.loss.double(), expected)
    require(gap <= TOLERANCE, f"a loss differs from the cross entropy by {gap:.1e} of the largest")
    gap = apart(units.log_probs.double(), torch.from_numpy(log_probs))
    require(gap <= TOLERANCE, f"log_probs differ from those of NumPy by {gap:.1e} of the largest")


# --- gradients ------------------------------------------------------------------------------------------------


def _gradient(task: Task, model: nn.Module, batches: Sequence[Any]) -> list[Tensor | None]:
    parameters = [p for p in model.parameters() if p.requires_grad]
    model.zero_grad(set_to_none=True)
    for batch in batches:
        loss = task.units(model, batch).loss.sum()
        require(loss.requires_grad, "the loss has no gradient: detached, or computed without one")
        loss.backward()
    return [None if p.grad is None else p.grad.detach().clone() for p in parameters]


@SUITE.case()
def gradients_reach_the_parameters(cls: type[Task]) -> None:
    """Every parameter that may move gets a finite gradient from the loss, and not all are zero."""
    task, model, records = trial(cls)
    found = _gradient(task, model, [records.read(range(len(records)))])
    missing = sum(each is None for each in found)
    require(not missing, f"the loss does not reach {missing} of {len(found)} parameters")
    there = [each for each in found if each is not None]
    require(all(bool(torch.isfinite(each).all()) for each in there), "a gradient is NaN or infinite")
    require(any(bool(each.any()) for each in there), "all gradients are zero")


@SUITE.case()
def gradients_accumulate(cls: type[Task]) -> None:
    """Gradients of the summed loss over uneven batches add up to that over all records at once."""
    task, model, records = trial(cls)
    count = len(records)
    whole = _gradient(task, model, [records.read(range(count))])
    largest = max(float(each.abs().max()) for each in whole if each is not None)
    for sizes in CUTS:
        parts = _gradient(task, model, [records.read(batch) for batch in cuts(range(count), sizes)])
        pairs = [(p, w) for p, w in zip(parts, whole, strict=True) if p is not None and w is not None]
        gap = max(float((p - w).abs().max()) for p, w in pairs) / max(largest, 1e-12)
        # Ten times the tolerance: rounding of a sum over records and layers came to 5e-7 over 120 trials.
        require(gap <= 10 * TOLERANCE, f"over batches of {sizes} a gradient differs by {gap:.1e} of the largest")


# --- what it leaves alone -------------------------------------------------------------------------------------


@SUITE.case()
def twice_is_the_same(cls: type[Task]) -> None:
    """The same batch twice gives the same bits, whatever was drawn in between."""
    task, model, records = trial(cls)
    batch = records.read(range(len(records)))
    with torch.no_grad():
        one = task.units(model, batch)
        torch.rand(3)
        two = task.units(model, batch)
    require(torch.equal(one.loss, two.loss), "two losses of one batch in evaluation mode")
    require(torch.equal(one.record, two.record), "two assignments of units to records")


@SUITE.case()
def model_is_untouched(cls: type[Task]) -> None:
    """Parameters, buffers, gradients and what may move stay; so do the modes of all modules, in either mode."""
    task, model, records = trial(cls)
    batch = records.read(range(len(records)))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    free = [p.requires_grad for p in model.parameters()]
    task.units(model, batch)
    task.inputs(batch)
    require(not any(m.training for m in model.modules()), "the model was set to training mode")
    changed = [name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])]
    require(not changed, f"{len(changed)} tensors of the model changed in evaluation mode, first {changed[:1]}")
    require(free == [p.requires_grad for p in model.parameters()], "requires_grad of a parameter changed")
    require(all(p.grad is None for p in model.parameters()), "gradients were left on the model")
    enabled = torch.is_grad_enabled()
    torch.set_grad_enabled(True)
    require(enabled, "gradients were switched off for everybody")
    model.train()
    task.units(model, batch)
    require(all(m.training for m in model.modules()), "the model was set to evaluation mode while it trained")


@SUITE.case()
def batch_is_untouched(cls: type[Task]) -> None:
    """The tensors of a batch are not written to."""
    task, model, records = trial(cls)
    batch = records.read(range(len(records)))
    before = [tensor.clone() for tensor in tensors(batch)]
    if not before:
        raise NotApplicable("a batch is no mapping or sequence of tensors")
    task.units(model, batch)
    task.inputs(batch)
    after = tensors(batch)
    require(len(before) == len(after), "parts of the batch were taken out or put in")
    changed = sum(not torch.equal(one, two) for one, two in zip(before, after, strict=True))
    require(not changed, f"{changed} of {len(before)} tensors of the batch were changed")


# --- inputs ---------------------------------------------------------------------------------------------------


@SUITE.case()
def inputs_are_rows(cls: type[Task]) -> None:
    """Inputs are finite float rows [B, D], the same at every reading and place, and not all alike."""
    task, _, records = trial(cls)
    count = len(records)
    rows = task.inputs(records.read(range(count)))
    require(isinstance(rows, Tensor), f"inputs are {type(rows).__name__}, no tensor")
    shape = tuple(rows.shape)
    require(len(shape) == 2 and shape[0] == count and shape[1] > 0, f"inputs have shape {shape} for {count} records")
    require(rows.is_floating_point(), f"inputs are {rows.dtype}")
    require(bool(torch.isfinite(rows).all()), "inputs are NaN or infinite")
    require(torch.equal(rows, task.inputs(records.read(range(count)))), "other inputs when read again")
    turned = task.inputs(records.read(range(count)[::-1]))
    require(torch.equal(turned.flip(0), rows), "a record's inputs depend on its place in the batch")
    require(bool((rows != rows[0]).any()), "all records have the same inputs")
    alone = [task.inputs(records.read([place])) for place in range(count)]
    widths = {one.shape[1] for one in alone} | {shape[1]}
    require(len(widths) == 1, f"inputs are {' and '.join(map(str, sorted(widths)))} wide, by what is read beside them")
    require(torch.equal(torch.cat(alone), rows), "a record's inputs depend on what is read beside it")


@SUITE.case()
def moved_inputs_are_beside(cls: type[Task]) -> None:
    """Where inputs can be moved, they are where they were plus the step, and neither batch nor label changes."""
    task, _, records = trial(cls)
    batch = records.read(range(len(records)))
    before, rows = [tensor.clone() for tensor in tensors(batch)], task.inputs(batch)
    step = torch.randn(rows.shape, generator=torch.Generator().manual_seed(SEED), dtype=torch.float64)
    moved = task.moved(batch, step)
    if moved is None:
        raise NotApplicable("its inputs are no continuous numbers")
    unchanged = all(map(torch.equal, before, tensors(batch)))
    require(unchanged, "the batch itself was moved")
    gap = apart(task.inputs(moved) - rows, step)
    require(gap <= 10 * TOLERANCE, f"inputs are {gap:.1e} of the largest step away from where they were sent")
    others = [tensor for tensor in before if not tensor.is_floating_point()]
    left = [tensor for tensor in tensors(moved) if not tensor.is_floating_point()]
    require(len(others) == len(left) and all(map(torch.equal, others, left)), "labels were changed")


@SUITE.case()
def exchanged_inputs_are_beside(cls: type[Task]) -> None:
    """Where a value can be exchanged, it is one of another record's, and neither batch nor label changes."""
    task, _, records = trial(cls)
    count = len(records)
    batch, other = records.read(range(count)), records.read([*range(1, count), 0])
    before, where = [tensor.clone() for tensor in tensors(batch)], torch.arange(count, dtype=torch.float64) / count
    made = task.exchanged(batch, other, where)
    if made is None:
        raise NotApplicable("a record is not a few values in places")
    require(all(map(torch.equal, before, tensors(batch))), "the batch itself was changed")
    require(torch.equal(made[1], batch[1]), "labels were changed")
    rows, own, theirs = (task.inputs(each) for each in (made, batch, other))
    require(bool((rows != own).any(dim=1).all()), "a record unlike the other has nothing of it")
    near = int((rows != own).sum()) < int((rows != theirs).sum())
    require(near, "records are nearer to the others than to themselves")
    same = task.inputs(task.exchanged(batch, batch, where))
    require(torch.equal(same, own), "a record that is like the other was changed")


@SUITE.case()
def features_are_rows(cls: type[Task]) -> None:
    """Where there are features, they are finite float rows [B, D], the same in any batch; the model stays as it was."""
    task, model, records = trial(cls)
    count = len(records)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    rows = task.features(model, records.read(range(count)))
    if rows is None:
        raise NotApplicable("it knows no features of its model")
    require(all(torch.equal(before[name], t) for name, t in model.state_dict().items()), "the model was changed")
    require(isinstance(rows, Tensor), f"features are {type(rows).__name__}, no tensor")
    shape = tuple(rows.shape)
    require(len(shape) == 2 and shape[0] == count and shape[1] > 0, f"features have shape {shape} for {count} records")
    require(rows.is_floating_point(), f"features are {rows.dtype}")
    require(not rows.requires_grad, "features carry a gradient")
    require(bool(torch.isfinite(rows).all()), "features are NaN or infinite")
    parts = torch.cat([task.features(model, records.read(indices)) for indices in cuts(range(count), CUTS[0])])
    require(apart(parts, rows) <= 10 * TOLERANCE, "a record's features depend on its batch")
    with torch.no_grad():
        units, again = task.seen(model, records.read(range(count)))
        own = task.units(model, records.read(range(count))).loss
    require(torch.equal(again, rows), "features are others where units are asked for as well")
    require(torch.equal(units.loss, own), "units are others where features are asked for as well")
    left = sum(len(m._forward_pre_hooks) + len(m._forward_hooks) for m in model.modules())
    require(not left, f"{left} hooks were left on the model")


# --- examination ----------------------------------------------------------------------------------------------


@SUITE.case()
def every_record_is_examined(cls: type[Task]) -> None:
    """With a model or without one, examination reads every record."""
    task, model, records = trial(cls)
    for given in (None, model):
        view = WatchedView.over(records)
        found = task.examine(given, view, where="trial")
        kind = "without a model" if given is None else "with its model"
        require(not found, f"{kind} it says of its own trial: {found[0].what if found else ''}")
        require(not view.unread, f"{kind} {view.unread} of {len(view)} records were not looked at")


@SUITE.case()
def broken_records_are_found(cls: type[Task]) -> None:
    """A NaN or an infinity in any input is found, with a model and without, and told without the record's id."""
    task, model, records = trial(cls)
    if not isinstance(records, ArrayRecords) or not records.x.is_floating_point():
        raise NotApplicable("its records are no arrays of floating-point inputs")
    for place in (0, len(records) // 2, len(records) - 1):
        for value in (float("nan"), float("inf")):
            x = records.x.clone()
            x[place].view(-1)[-1] = value
            broken = ArrayRecords(x, records.y, ids=records.ids, subjects=records.subjects)
            for given in (None, model):
                found = [each for each in task.examine(given, broken, where="trial") if each.fatal]
                kind = "without a model" if given is None else "with its model"
                require(found, f"{kind}, {value} in the inputs of record {place + 1} of {len(x)} is not found")
                told = any(records.ids[place] in str(each) for each in found)
                require(not told, "an obstacle names the record's id: texts end up in logs")
