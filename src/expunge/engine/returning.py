"""What a model on a device says of records, brought back to the processor.

So what is written over units knows of no device: a loss over them sends its slopes back through the same door.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from expunge.core.task import Task
from expunge.numerics.tokens import Tokens
from expunge.numerics.units import Scored, Units

PROCESSOR = torch.device("cpu")


def returning(task: Task) -> Any:
    """Return a task of the same class that brings home what a model says."""
    if isinstance(task, Returning):
        return task
    kind = type(f"Returning{type(task).__name__}", (Returning, type(task)), {})
    made = kind.__new__(kind)
    made.__dict__.update(vars(task))
    return made


class Returning:
    """What :func:`returning` puts before the class of a task."""

    def units(self, model: Any, batch: Any) -> Any:
        """Return the units of a batch, on the processor; their slopes go back to the device."""
        found = super().units(model, batch)  # type: ignore[misc]
        return found if found.record.device == PROCESSOR else brought(found)

    def hidden(self, model: Any, batch: Any, layer: int) -> Any:
        """Return what a layer says."""
        return _home(super().hidden(model, batch, layer))  # type: ignore[misc]

    def features(self, model: Any, batch: Any) -> Any:
        """Return what the last layer is given."""
        return _home(super().features(model, batch))  # type: ignore[misc]

    def seen(self, model: Any, batch: Any) -> tuple[Any, Any]:
        """Return units and features."""
        units, features = super().seen(model, batch)  # type: ignore[misc]
        return units, _home(features)


def _home(value: Tensor | None) -> Tensor | None:
    return None if value is None else value.to(PROCESSOR)


def brought(units: Units) -> Units:
    """Return units on the processor: of tokens, whose logits are never all made, what is asked of them."""
    if isinstance(units, Tokens):
        return Brought(units)
    return replace(
        units, **{f.name: _home(v) for f in fields(units) if isinstance(v := getattr(units, f.name), Tensor)}
    )


class Brought(Scored):
    """Units on the processor of the ``local`` ones, which lie on a device."""

    def __init__(self, local: Scored) -> None:
        more = {"local": local, "batch_size": local.batch_size, "record": local.record.to(PROCESSOR)}
        self._set(**more, _graded=torch.is_grad_enabled())

    def _set(self, **values: Any) -> None:
        for name, value in values.items():  # units are frozen
            object.__setattr__(self, name, value)

    local: Scored
    _graded: bool

    def _home(self, values: Tensor) -> Tensor:
        return values.to(PROCESSOR)

    @cached_property
    def loss(self) -> Tensor:  # type: ignore[override]
        """The loss of every unit, [N]."""
        with torch.set_grad_enabled(self._graded):
            return self._home(self.local.loss)

    @cached_property
    def logits(self) -> Tensor:  # type: ignore[override]
        """All logits, [N, C]: for few classes."""
        with torch.set_grad_enabled(self._graded):
            return self._home(self.local.logits)

    @cached_property
    def target(self) -> Tensor:  # type: ignore[override]
        """The class or token of every unit, [N]."""
        return self._home(self.local.target)

    @cached_property
    def correct(self) -> Tensor:
        """Whether the target is the most likely one, [N], bool."""
        return self._home(self.local.correct.to(torch.uint8)).bool()

    @cached_property
    def output(self) -> Tensor:
        """What the model said, one row per unit."""
        return self._home(self.local.output)

    @property
    def classes(self) -> int:
        """How many classes or tokens there are to choose from."""
        return self.local.classes

    def per_unit(self, value: Callable[..., Tensor], *others: Scored) -> Tensor:
        """Return ``value`` of all units, [N], made where they lie. The others are of the same records."""
        theirs = [other.local if isinstance(other, Brought) else other for other in others]
        with torch.set_grad_enabled(self._graded):
            return self._home(self.local.per_unit(value, *theirs))

    def among(self, chosen: Tensor) -> Scored:
        """Return the units of the records that are ``chosen`` [B], bool, counted anew."""
        return Brought(self.local.among(chosen.to(self.local.record.device)))
