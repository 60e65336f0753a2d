"""One model on a device: batches go to where its weights lie, and what is said of them comes back to the processor.

A problem is placed once, at the door (:func:`placed`): its models open on the device, its trainer's models move there,
tasks send every batch after them, and what is said of it comes home (``engine/returning``). Initial weights and the
order of records are drawn on the processor, as without a device; noise that a method adds, where the weights lie.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from expunge.core import registry
from expunge.core.errors import Obstacle, UsageError
from expunge.core.level import Level
from expunge.core.model import ModelSource
from expunge.core.problem import Problem
from expunge.core.task import Task
from expunge.engine.returning import PROCESSOR, returning
from expunge.engine.runtime import attend_by, attended, hold_steady
from expunge.engine.training import Trainer
from expunge.models.torch import moved


def device_of(name: str) -> torch.device:
    """Return the device called ``cuda``, ``cuda:1``, ``cpu`` and so on; of "" the first of CUDA, else the processor.

    Raises:
        UsageError: there is no such device here.
    """
    if not name:
        return torch.device("cuda", 0) if torch.cuda.is_available() else PROCESSOR
    kind, _, number = name.partition(":")
    there = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if name == "cpu":
        return PROCESSOR
    count = torch.accelerator.device_count() if there is not None else 0
    if there is None or kind != there.type or (number and not (number.isdecimal() and int(number) < count)):
        raise UsageError(
            "no such device",
            where="device",
            found=repr(name),
            expected=" or ".join(["cpu", *([] if there is None else [f"{there.type}:{i}" for i in range(count)])]),
            fix="name one of these, or leave it out: CUDA's first device is taken where there is one",
        )
    return torch.device(kind, int(number or 0))


def stays(problem: Problem) -> str:
    """Return why a problem is worked on by the processor, whatever devices there are; empty where it need not be."""
    from expunge.engine.ensemble import ShardedTrainer  # which most problems do not need
    from expunge.engine.recorded import Recorded

    if not problem.source.gradients:
        return "the model is no network"
    if problem.ledger is not None or isinstance(problem.trainer, (Recorded, ShardedTrainer)):
        return "a training that is recorded gives its bits on the processor alone"
    return ""


def placed(problem: Problem, device: torch.device) -> Problem:
    """Return the same problem, its models on ``device``; itself for the processor, or where it :func:`stays` there."""
    if device.type == "cpu" or isinstance(problem, PlacedProblem) or stays(problem):
        return problem
    given = {field.name: getattr(problem, field.name) for field in fields(Problem)}
    given |= {"train": problem.records, "holdout": problem.held_out, "variants": problem.variant_records}
    given["trainer"] = moving(problem.trainer, device)
    there = PlacedProblem(**given, device=device)
    there.__dict__["source"] = PlacedSource(problem.source, device)  # which has read and copied the model already
    return there


@dataclass(eq=False, kw_only=True)
class PlacedProblem(Problem):
    """A problem whose models lie on a device."""

    device: torch.device

    @cached_property
    def source(self) -> ModelSource:
        """The model source, whose models lie on the device."""
        found = super().source
        return found if isinstance(found, PlacedSource) else PlacedSource(found, self.device)

    @cached_property
    def meaning(self) -> Task:
        """The task, which brings home what a model says."""
        return returning(super().meaning)

    def __reduce__(self) -> tuple[Any, ...]:
        """Cross a process boundary as the problem that was placed."""
        given = {field.name: getattr(self, field.name) for field in fields(Problem)}
        given |= {"train": self.records, "holdout": self.held_out, "variants": self.variant_records}
        assert isinstance(self.source, PlacedSource)
        given |= {"model": self.source.at_home, "trainer": getattr(self.trainer, "at_home", self.trainer)}
        return _placed_again, (Problem(**given), str(self.device))


def _placed_again(problem: Problem, device: str) -> Problem:
    """Place a problem in a process of our own, which keeps to kernels that add in one order."""
    hold_steady()
    return placed(problem, torch.device(device))


def called(device: torch.device) -> str:
    """Return what a report says of a device: its kind, and of CUDA the name of the product; no more of the machine."""
    return " ".join([device.type, *([torch.cuda.get_device_name(device)] if device.type == "cuda" else [])])


def said(problem: Problem) -> dict[str, str]:
    """Return what a report says of the device that a problem was worked on; nothing of the processor."""
    return {"device": called(problem.device)} if isinstance(problem, PlacedProblem) else {}


# --- models -------------------------------------------------------------------------------------------------------


class PlacedSource(ModelSource):
    """A source whose models lie on a device; they are saved, and compared, as on the processor."""

    def __init__(self, at_home: ModelSource, device: torch.device) -> None:
        self.at_home, self._device, self.name = at_home, device, at_home.name
        self.rests_on = at_home.rests_on

    @property
    def forgets(self) -> Level | None:
        """As of the source behind it."""
        return self.at_home.forgets

    @property
    def carries(self) -> tuple[str, ...]:
        """As of the source behind it."""
        return self.at_home.carries

    @classmethod
    def adopt(cls, thing: Any) -> PlacedSource:
        """Return ``thing`` as a source on the device that is taken where none is named."""
        return cls(registry.adopt("models", thing), device_of(""))

    def open(self) -> Any:
        """Return the original, on the device."""
        return self.at_home.open().to(self._device)

    def bare(self) -> Any:
        """Return what its models rest on, on the device; None where they need nothing."""
        found = self.at_home.bare()
        return None if found is None else found.to(self._device)

    def reopen(self, folder: Path) -> Any:
        """Return what was saved, on the device."""
        return self.at_home.reopen(folder).to(self._device)

    def digest(self, model: Any = None) -> str:
        """Return the model digest."""
        if model is None:
            return self.at_home.digest()
        with home(model):
            return self.at_home.digest(model)

    def save(self, model: Any, folder: Path) -> None:
        """Write the model in the form in which it was handed in."""
        with home(model):
            self.at_home.save(model, folder)

    def alike(self, folder: Path, texts: Sequence[str]) -> list[Obstacle]:
        """As of the source behind it."""
        return self.at_home.alike(folder, texts)

    def settings(self, folder: Path) -> str:
        """As of the source behind it."""
        return self.at_home.settings(folder)

    def unsaved(self, model: Any) -> list[str]:
        """Return names of state that :meth:`save` leaves out."""
        with home(model):
            return self.at_home.unsaved(model)

    def examine(self) -> list[Obstacle]:
        """Return what is wrong with the original."""
        return self.at_home.examine()


@contextmanager
def home(model: nn.Module) -> Iterator[nn.Module]:
    """Hold a model on the processor for a while; parameters stay the same objects, so that ties and optimisers hold."""
    places = {p.device for p in model.parameters()}
    try:
        yield model.to(PROCESSOR)
    finally:
        for place in places:
            model.to(place)


def moving(trainer: Any, device: torch.device) -> Any:
    """Return a trainer of ours as one of the same class whose models move to ``device`` before the first step.

    Somebody else's trains where he likes: what he returns is :func:`settled`.
    """
    if not isinstance(trainer, Trainer):
        return trainer
    kind = type(f"Placed{type(trainer).__name__}", (_Placed, type(trainer)), {})
    made = kind.__new__(kind)
    made.__dict__.update(vars(trainer), at_home=trainer, device=device)
    return made


def settled(problem: Problem, model: Any) -> Any:
    """Return a model that somebody's trainer gave, where the models of the problem lie."""
    place = problem.device if isinstance(problem, PlacedProblem) else PROCESSOR
    return moved(model, place) if isinstance(model, nn.Module) else model


class _Placed:
    """What stands before the class of a trainer of ours."""

    device: torch.device

    def begin(self, seed: int) -> nn.Module:
        """Return a new model that is not trained; drawn as on the processor."""
        return super().begin(seed).to(self.device)  # type: ignore[misc,no-any-return]

    @property
    def meaning(self) -> Any:
        """The task, which brings home what a model says."""
        return returning(super().meaning)  # type: ignore[misc]


# --- one order of adding up ---------------------------------------------------------------------------------------


@contextmanager
def steady(problem: Problem) -> Iterator[None]:
    """Let kernels add in one order while a problem on a device is worked on: the same seed is to give the same bits."""
    if not isinstance(problem, PlacedProblem):
        yield
        return
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    kernels, filled = attended(), torch.utils.deterministic.fill_uninitialized_memory
    hold_steady()
    try:
        yield
    finally:
        attend_by(kernels)
        torch.utils.deterministic.fill_uninitialized_memory = filled
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
