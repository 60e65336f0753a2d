"""DeltaGrad: the recorded training once more without the records, most gradients corrected instead of computed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from expunge.core.config import Config, setting
from expunge.core.errors import Obstacle
from expunge.core.level import Level
from expunge.core.method import Cost, Need
from expunge.core.problem import Problem
from expunge.engine import replay
from expunge.engine.anatomy import MIXERS, drawing
from expunge.engine.context import Context
from expunge.engine.edits import Edit, Edited
from expunge.engine.ledger import Ledger, StepLine
from expunge.engine.loop import train_mode
from expunge.engine.masters import HALF
from expunge.engine.recorded import Recorded, Standard, by_record
from expunge.numerics.quasi_newton import Hessian


@dataclass(frozen=True)
class Visit:
    """A step of the recorded run: number, learning rate, all that it read, and which of it is forgotten, [B] each."""

    number: int
    rate: float
    indices: np.ndarray
    keys: np.ndarray
    gone: np.ndarray

    @property
    def stays(self) -> int:
        """How many of its records stay."""
        return int((~self.gone).sum())

    @property
    def moves(self) -> bool:
        """Whether a run without the forgotten records makes this step, and moves by it."""
        return bool(self.stays and self.rate)


class DeltaGrad(Edit):
    """Walk the recorded path anew: w' <- w' - rate * gradient on what remains, with most gradients corrected.

    Every ``period`` steps, and in the first ``burn_in`` after a forgotten record was first met, the gradient of what
    remains is computed; the difference of two gradients of the whole step, at w' and at the recorded w, makes a pair of
    the quasi-Newton matrix B. In all other steps it is what was recorded, moved: with n records in a step of which r
    are forgotten, ``(n (g + B (w' - w)) - sum of the forgotten gradients at w') / (n - r)``; only forgotten records are
    read. Recorded gradients are read off the path, ``(w_t - w_{t+1}) / rate``, less the decay. On a strongly convex
    loss the error is o(r / n) (theorem 1); nothing is promised of a network. The new path is not recorded: the next
    request needs the original once more, with what was forgotten before, or a replay, which records.
    """

    title = "DeltaGrad (the recorded training with corrected gradients)"
    source = (
        "Wu, Dobriban and Davidson 2020, arXiv 2006.14755, algorithm 1, on stochastic steps; pairs from exact gradients"
    )
    guarantee = Level.AUDITED
    needs: ClassVar[frozenset[Need]] = frozenset({Need.RETAIN, Need.FORGET, Need.TRAINER, Need.LEDGER})
    exempt: ClassVar = {
        "another_seed_another_model": "its seed is the recorded run's: nothing else is drawn",
        "frozen_parts_stay": "parts that the recorded run moved and that may no longer move are refused",
    }

    @dataclass(frozen=True, kw_only=True)
    class Config(Config):
        """Settings of DeltaGrad."""

        period: int = setting(10, "steps from one exact gradient to the next; each costs two of the training", low=1)
        burn_in: int = setting(10, "exact gradients at the beginning", low=1)
        pairs: int = setting(2, "differences of gradients that are kept", low=1)

    def obstacles(self, problem: Problem) -> list[Obstacle]:
        """Return what keeps the recorded run from being walked anew; reads ledger and retained records."""
        return super().obstacles(problem) or replay.obstacles_of(
            problem, lambda ledger, model: _unlike(ledger, problem.trainer, model)
        )

    def work(self, problem: Problem) -> Cost:
        """Return the gradients that are computed: of whole steps twice where they are exact, else of what must go."""
        trained = 0
        for place, visit in enumerate(_visits(problem, replay.ledger_of(problem))):
            trained += 2 * len(visit.indices) if self._exact(place) and visit.moves else 0
            trained += int(visit.gone.sum()) if not self._exact(place) and visit.moves else 0
        return Cost(trained=float(trained))

    def edit(self, model: nn.Module, problem: Problem, run: Context) -> Edited:
        """Give ``model`` the weights with which the new path ends."""
        trainer, ledger = problem.trainer, replay.ledger_of(problem)
        assert isinstance(trainer, Recorded)
        assert isinstance(trainer.loop, Standard)
        decay, gradient = trainer.loop.config.weight_decay, _Gradient(model, problem, trainer)
        around, visits = Hessian(self.config.pairs), {visit.number: visit for visit in _visits(problem, ledger)}
        walked, place, exact = gradient.weights, 0, 0
        for (line, was), (_, then) in pairwise(_path(ledger, model)):
            visit = visits.get(line.number)
            if visit is None:  # before a forgotten record was met
                continue
            walked = walked if place else was
            if visit.moves:
                count, moved, rate = len(visit.indices), walked - was, visit.rate
                gone = gradient(walked, visit, visit.gone)
                if self._exact(place):
                    rest = gradient(walked, visit, ~visit.gone)
                    around.add(moved, (rest + gone - gradient(was, visit, np.ones(count, dtype=bool))) / count)
                    exact += 1
                else:
                    rest = count * ((was - then) / rate - decay * was + around @ moved) - gone
                walked = walked - rate * (rest / visit.stays + decay * walked)
            place += 1
        run.spent += Cost(trained=float(gradient.read))
        gradient.move(walked)
        model.eval()
        return Edited(f"walked {len(visits)} of {ledger.head.total} recorded steps anew, {exact} by exact gradients")

    def _exact(self, place: int) -> bool:
        burn_in, period = self.config.burn_in, self.config.period
        return place < burn_in or not (place - burn_in) % period


class _Gradient:
    """Sums of gradients of the recorded loss at any weights; ``read`` counts records."""

    def __init__(self, model: nn.Module, problem: Problem, trainer: Recorded) -> None:
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        self._model, self._problem, self._augment = model, problem, trainer.augment
        self.weights = parameters_to_vector(self._parameters).detach().clone()
        self.read = 0
        train_mode(model)

    def move(self, weights: Tensor) -> None:
        """Give the model these weights, [d]."""
        with torch.no_grad():
            vector_to_parameters(weights, self._parameters)

    def __call__(self, weights: Tensor, visit: Visit, which: np.ndarray) -> Tensor:
        """Return the summed gradient over ``which`` records of a step, [d]; zeros where there are none."""
        if not which.any():
            return torch.zeros_like(weights)
        self.move(weights)
        batch = self._problem.records.read(visit.indices[which].tolist())
        if self._augment is not None:
            batch = self._augment(batch, visit.keys[which])
        loss = self._problem.meaning.units(self._model, batch).loss.sum()
        found = torch.autograd.grad(loss, self._parameters, allow_unused=True, materialize_grads=True)
        self.read += int(which.sum())
        return parameters_to_vector(found)


def _path(ledger: Ledger, model: nn.Module) -> Iterator[tuple[StepLine, Tensor]]:
    """Yield every recorded step with the weights before it, [d], and the last ones."""
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    return ((line, parameters_to_vector([state[name] for name in names])) for line, state in ledger.states())


def _visits(problem: Problem, ledger: Ledger) -> Iterator[Visit]:
    """Yield the steps from the first one that met a forgotten record on; reads no record."""
    entries, forget = ledger.entries, set(problem.forget_ids)
    place = {name: index for index, name in enumerate(problem.records.ids)}
    where = np.array([place[entry.id] for entry in entries], dtype=np.int64)
    out = np.array([entry.id in forget for entry in entries])
    table, met = replay.timetable_of(ledger, entries), False
    rates = [line.rate for line in ledger.lines()]
    for epoch in range(ledger.head.stages[-1]):
        drawn = table.drawn(epoch)
        for index, step in enumerate(table.epoch(epoch)):
            met = met or bool(out[step].any())
            if met:
                number = epoch * ledger.head.steps + index
                yield Visit(number, rates[number], where[step], drawn[step], out[step])


def _unlike(ledger: Ledger, trainer: object, model: nn.Module) -> list[Obstacle]:
    """Return what makes the recorded gradients unreadable, or others than those of the records that remain."""
    assert isinstance(trainer, Recorded)
    loop, found = trainer.loop, []

    def wrong(what: str, seen: str, fix: str) -> None:
        found.append(Obstacle(what=what, where="ledger", found=seen, fix=f"{fix}; or choose replay"))

    plain = isinstance(loop, Standard) and loop.config.optimiser == "sgd" and not loop.config.momentum and not loop.lora
    if not plain or loop.config.clip or trainer.rule != "drop" or trainer.derive is not None:
        wrong(
            "gradients are read off the path of gradient descent without momentum",
            "another loop, optimiser or rule, momentum, gradients that were cut, adapters, or values derived from the "
            "records",
            "record with expunge.recorded(...), optimiser sgd, momentum 0, clip 0, rule drop and no derive",
        )
    if isinstance(loop, Standard) and not by_record(loop.task):
        what = "steps are means over tokens, of which each record has as many as it has: no gradients of records add up"
        wrong(what, f"task '{loop.task}'", "record a network whose records are one unit each")
    unsteady = [*drawing(model), *(m for m in model.modules() if isinstance(m, MIXERS))]
    if unsteady:
        kinds = ", ".join(sorted({type(m).__name__ for m in unsteady}))
        wrong("a module draws at random, or mixes the records of a step", kinds, "record a network without it")
    if any(p.dtype in HALF for p in model.parameters()):
        what, fix = (
            "the path of weights of half precision is rounded: no gradients can be read off it",
            "train in float32",
        )
        wrong(what, "parameters of half precision", fix)
    states = len(ledger.checkpoints)
    if states <= ledger.head.total:
        fix = f"record with checkpoints={ledger.head.total}"
        wrong("the states between the steps were not kept", f"{states} of {ledger.head.total + 1} states", fix)
        return found
    still = {name for name, p in model.named_parameters() if not p.requires_grad} & next(ledger.states())[1].keys()
    if still:
        what = "parameters that the recorded run moved may no longer move"
        wrong(what, f"{len(still)} parameters without gradients", "call requires_grad_(True) on them")
    return found
