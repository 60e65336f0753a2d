"""UNSIR: train a class away with noise that the model mistakes for nothing of it, then repair what else was lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from expunge.core.config import setting
from expunge.core.digest import sha256
from expunge.core.errors import InvalidProblem, Obstacle
from expunge.core.level import Level
from expunge.core.method import Cost, Need
from expunge.core.problem import Problem
from expunge.core.records import Records, View
from expunge.engine.anatomy import classes_of
from expunge.engine.batches import in_order, order
from expunge.engine.context import Context
from expunge.engine.continuous import continuous, not_continuous
from expunge.engine.guard import Guard
from expunge.engine.loop import evaluating
from expunge.engine.passes import Batch, Pass, Passes
from expunge.engine.relabelling import labels_of
from expunge.engine.split import forget_choosing
from expunge.engine.visits import concatenated, rows


class Unsir(Passes):
    """Impair with noise that maximises the loss of the class to be forgotten, repair on retained records.

    Works where whole classes go: those that no retained record has. No forgotten record is trained on; noise stands in
    their place. Noise is made against the original in evaluation mode, one batch for each class under its own label,
    and used in copies, or drawn and made anew for every copy (``fresh``). Impairing and repairing have optimisers of
    their own, as in the paper's notebook, whose learning rates and sizes are the defaults.
    """

    title = "UNSIR (impair with error-maximising noise, then repair)"
    source = "Tarun et al. 2021, arXiv 2111.08947, section IV"
    guarantee = Level.AUDITED
    needs: ClassVar[frozenset[Need]] = frozenset({Need.RETAIN})
    unasked: ClassVar[bool] = False
    classes: ClassVar[bool] = True
    dips: ClassVar[bool] = True
    trial: ClassVar = {"noise": 8, "copies": 2, "noise_steps": 3}

    @dataclass(frozen=True, kw_only=True)
    class Config(Passes.Config):
        """Settings of UNSIR."""

        epochs: int = setting(2, "passes in all: impairing ones first, then repair", low=0, search=(2, 10))
        impair: int = setting(1, "impairing passes, over noise and retained records", low=0)
        batch_size: int = setting(256, "records per step", low=1)
        lr: float = setting(0.02, "learning rate of impairing passes", above=0, search=(1e-4, 3e-2))
        repair_rate: float = setting(0.5, "learning rate of repair, as a share of that of impairing", above=0)
        noise: int = setting(256, "inputs of noise for each class", low=1)
        noise_steps: int = setting(40, "steps that make the noise", low=0)
        noise_lr: float = setting(0.1, "learning rate of these steps, by Adam", above=0)
        penalty: float = setting(0.1, "weight of the squared length of the noise", low=0)
        copies: int = setting(20, "times that the noise is seen in an impairing pass", low=1)
        fresh: bool = setting(False, "make every copy anew, instead of once")
        per_class: int = setting(1000, "retained records of each class that are trained on, at the most", low=1)

    def obstacles(self, problem: Problem) -> list[Obstacle]:
        """Return what the contract says, records whose class does not go whole, and inputs that are no numbers.

        Reads all labels for it.
        """
        found = super().obstacles(problem)
        if found:
            return found
        gone, asked = self._gone(problem.source.open(), problem), labels_of(problem, problem.forget_view)
        if not gone:
            found.append(_scattered("every class has retained records"))
        elif asked is not None and not set(asked.tolist()) <= set(gone):
            found.append(_scattered(_SOME))
        return found if continuous(problem, problem.retain_view) else [*found, _no_numbers()]

    def cost(self, problem: Problem) -> Cost:
        """Return the visits of noise and retained records; reads the retained labels."""
        config, epochs = self.config, self.config.epochs
        noise = len(self._gone(problem.source.open(), problem)) * config.noise
        impaired = min(config.impair, epochs) * noise * config.copies
        made = noise * config.noise_steps * (config.copies if config.fresh else 1) if epochs else 0
        visits = made + impaired + epochs * len(self._kept(problem, seed=0))
        looks = Guard.cost(problem, min(1, epochs), reads_forget=Need.FORGET in self.needs)
        return Cost(trained=visits, read=forget_choosing(problem) if epochs else 0) + looks

    def prepare(self, model: nn.Module, problem: Problem, run: Context) -> Cost:
        """Make the noise, and draw the retained records that are trained on."""
        gone = self._gone(model, problem)
        if not gone or not self._chosen(model, problem, run) <= set(gone):
            raise InvalidProblem([_scattered(_SOME)])
        self._subset = self._kept(problem, seed=run.seed)
        template = problem.retain_view.read([0])
        parts: list[Any] = []
        for label in gone:
            for copy in range(self.config.copies):
                parts.append(
                    self._noise(model, problem, template, label) if self.config.fresh or not copy else parts[-1]
                )
        self._made = Noise(concatenated(parts))
        rounds = self.config.copies if self.config.fresh else 1
        return Cost(trained=len(gone) * self.config.noise * self.config.noise_steps * rounds)

    def passes(self, epoch: int) -> Sequence[Pass]:
        """Return one pass: over noise and retained records first, over retained ones alone later."""
        size = self.config.batch_size
        if epoch <= self.config.impair:
            return (Pass("all", self.on, size, retain=self._subset, forget=self._made, moments="impair"),)
        return (Pass("retain", self.on, size, rate=self.config.repair_rate, retain=self._subset, moments="repair"),)

    def on(self, batch: Batch) -> Tensor:
        """Return the mean loss of all that the batch holds, noise and records alike."""
        return torch.cat([part.loss for part in (batch.retain, batch.forget) if part is not None]).mean()

    def _noise(self, model: nn.Module, problem: Problem, template: Any, label: int) -> Any:
        """Return a batch of noise under ``label``, made to maximise its loss."""
        task, config = problem.meaning, self.config
        batch = concatenated([template] * config.noise)
        batch = task.relabelled(batch, {int(template[1][0]): label})
        inputs = task.inputs(batch)
        noise = torch.randn_like(inputs).requires_grad_()
        if task.moved(batch, noise.detach() - inputs) is None:
            raise InvalidProblem([_no_numbers()])
        adam = torch.optim.Adam([noise], lr=config.noise_lr)
        for _ in range(config.noise_steps):
            with evaluating(model), torch.enable_grad():
                units = task.units(model, task.moved(batch, noise - inputs))
                value = config.penalty * noise.square().sum(dim=1).mean() - units.loss.mean()
            (noise.grad,) = torch.autograd.grad(value, noise)
            adam.step()
        return task.moved(batch, noise.detach() - inputs)

    def _gone(self, model: nn.Module, problem: Problem) -> list[int]:
        """Return the classes that no retained record has."""
        labels = labels_of(problem, problem.retain_view)
        present = set() if labels is None else set(labels.tolist())
        return [c for c in range(classes_of(model, problem)) if c not in present]

    def _chosen(self, model: nn.Module, problem: Problem, run: Context) -> set[int]:
        """Return the classes of the forgotten records that may be looked at."""
        found: set[int] = set()
        with evaluating(model), torch.no_grad():
            for batch in in_order(run.choosing.forget):
                found.update(problem.meaning.units(model, batch).target.tolist())
        run.spent += Cost(read=len(run.choosing.forget))
        return found

    def _kept(self, problem: Problem, *, seed: int) -> View:
        """Return at most ``per_class`` retained records of each class, drawn by ``seed``."""
        view = problem.retain_view
        labels = labels_of(problem, view)
        assert labels is not None
        places = np.array(order(view.ids, seed=seed, epoch=0))
        drawn = [places[labels[places] == c][: self.config.per_class] for c in np.unique(labels)]
        return view.select([view.ids[i] for i in sorted(np.concatenate(drawn).tolist())])


class Noise(Records):
    """A batch of inputs that are nobody's, as records."""

    def __init__(self, batch: Any) -> None:
        self._batch = batch
        self.ids = tuple(f"noise-{i}" for i in range(len(batch[1])))
        self.subjects = (None,) * len(self.ids)

    def __getitem__(self, index: int) -> Any:
        """Return one input and its label."""
        return tuple(part[0] if isinstance(part, Tensor) else part for part in self.read([index]))

    def read(self, indices: Sequence[int]) -> Any:
        """Return the inputs at ``indices`` and their labels."""
        return rows(self._batch, torch.as_tensor(list(indices), dtype=torch.long))

    def content(self, index: int) -> str:
        """Return a digest of its place: noise has no content."""
        return sha256(self.ids[index].encode())


_SOME = "some of their classes have retained records"


def _scattered(found: str) -> Obstacle:
    return Obstacle(
        what="unsir forgets whole classes",
        where="forget set",
        found=found,
        expected="all records of one class or more",
        fix="forget the class altogether, or choose a method for single records: `expunge plan` lists them",
    )


def _no_numbers() -> Obstacle:
    expected, fix = "inputs that noise can stand in for", "choose a method that makes no inputs"
    return not_continuous(where="training records", expected=expected, fix=f"{fix}: `expunge plan` lists them")
