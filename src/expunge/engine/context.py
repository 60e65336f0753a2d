"""What a method may use while it runs: seed, progress, checkpoints, and the choosing part. Never the judging part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from expunge.core.method import Cost
from expunge.core.problem import Problem
from expunge.core.records import Records
from expunge.engine.batches import in_order
from expunge.engine.checkpoint import Checkpoints
from expunge.engine.loop import evaluating
from expunge.engine.progress import Progress
from expunge.engine.references import Retrained
from expunge.engine.split import Part
from expunge.engine.strangers import Strangers, said


@dataclass
class Context:
    """The ``run`` that a method is given.

    Attributes:
        problem: the problem.
        seed: of this attempt.
        label: what progress is shown under.
        choosing: forget and holdout records that decisions may look at.
        choosing_models: opens the references of the choosing part; empty where there is no trainer.
        retrain: retrains on the retain set with this seed (``engine.references``); None without a trainer.
        checkpoints: where the loop may save itself.
        folder: where a method may leave what it wants to find again after a crash, and what ships beside the model.
        watch: ``(model, epoch) -> reason to stop``, asked after every epoch (1, 2, ...) but the last; empty to go on.
            What it reads it counts in ``spent``.
    """

    problem: Problem
    seed: int
    label: str
    choosing: Part
    choosing_models: Callable[[], Sequence[Any]]
    retrain: Callable[[int], tuple[Any, Retrained]] | None = None
    checkpoints: Checkpoints | None = None
    folder: Path | None = None
    progress: Progress = field(default_factory=Progress)
    spent: Cost = Cost()
    watch: Callable[[Any, int], str] = field(default=lambda model, epoch: "")

    def mean_loss(self, model: Any, records: Records) -> float:
        """Return the mean loss of ``records`` under ``model`` in evaluation mode; counted as reading."""
        self.spent += Cost(read=len(records))
        return mean_loss(self.problem, model, records)

    @cached_property
    def target_loss(self) -> float | None:
        """The loss that retrained models have on the forget records of the choosing part.

        Measured on the choosing references, which are trained for it; without any, that of strangers; None where there
        are neither.
        """
        models = self.choosing_models()
        if models and len(self.choosing.forget):
            return sum(self.mean_loss(model, self.choosing.forget) for model in models) / len(models)
        return self.loss_of_strangers

    @cached_property
    def loss_of_strangers(self) -> float | None:
        """The loss that the original has on held-out records like the forget records of the choosing part; None: none.

        Right only where the forgotten are an ordinary sample of their classes (``engine/strangers``).
        """
        if self.choosing.holdout is not None and len(self.choosing.holdout) and len(self.choosing.forget):
            return self._of_strangers(self.choosing.holdout)
        return None

    def _of_strangers(self, holdout: Records) -> float:
        original = self.problem.source.open()
        answers = said(self.problem, original, holdout)
        found = Strangers(self.problem, self.choosing.forget, holdout).loss(answers) if answers is not None else None
        if found is None:  # without classes, or with none of them held out, all held-out records stand for them
            return self.mean_loss(original, holdout)
        self.spent += Cost(read=len(holdout))
        return found


def mean_loss(problem: Problem, model: Any, records: Records) -> float:
    """Return the mean loss over the units of ``records``, in float64; every layer's mode is restored."""
    total, count = 0.0, 0
    with evaluating(model), torch.no_grad():
        for batch in in_order(records):
            loss = problem.meaning.units(model, batch).loss
            total, count = total + float(loss.double().sum()), count + len(loss)
    return total / count
