"""Regressors: one record, one number, one unit."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from expunge.core.errors import Obstacle
from expunge.data._rows import Rows
from expunge.data.arrays import ArrayRecords
from expunge.numerics.units import Answered
from expunge.tasks._estimators import predictions
from expunge.tasks._pairs import Pairs, output


class Regression(Pairs):
    """A model that maps inputs to one number each, ``[B]`` or ``[B, 1]``, or to an output with such ``.logits``.

    Or a regressor with scikit-learn's methods on records of a table. There are no classes: what needs them (probes of
    labels, worst classes, the look for trainers that know the labels) is left out.
    """

    title = "Regression"
    answers = "one number per record: shape [records] or [records, 1]"
    fit = "name the right task, or wrap the model so that it returns one number per record"
    kind = "numbers"

    def units(self, model: Any, batch: Any) -> Answered:
        """Return one unit per record; its loss is the squared error."""
        inputs, target = batch
        answer = self.answer(model, inputs)
        answer = answer.reshape(len(answer))
        record = torch.arange(len(target), device=answer.device)
        return Answered.of(answer, target.to(answer.device), record, len(target))

    def answer(self, model: Any, inputs: Any) -> Any:
        """Return the answers, [B] or [B, 1]."""
        return predictions(model, inputs) if isinstance(inputs, Rows) else output(model, inputs)

    def misfit(self, answer: Any, count: int) -> str:
        """Return how the answer is not one floating-point number per record."""
        if not isinstance(answer, Tensor):
            return f"output of type {type(answer).__name__}"
        if tuple(answer.shape) not in ((count,), (count, 1)):
            return f"output of shape {tuple(answer.shape)} for {count} records"
        return "" if answer.is_floating_point() else f"output of {answer.dtype}"

    def constant(self, answer: Tensor) -> bool:
        """Return whether all answers are one number."""
        return len(answer) > 1 and bool((answer == answer[:1]).all())

    def misread(self, target: Any) -> Obstacle | None:
        """Return that targets are not one number per record."""
        if isinstance(target, Tensor) and target.dim() == 1 and not target.is_complex() and target.dtype != torch.bool:
            return None
        said = tuple(target.shape) if isinstance(target, Tensor) else ""
        return Obstacle(
            what="targets are not numbers",
            found=f"{getattr(target, 'dtype', type(target).__name__)} {said}".rstrip(),
            expected="one number per record",
            fix="give one column of numbers; classes are of task classification",
        )

    def strange(self, target: Tensor, answer: Tensor | None) -> Tensor:
        """Return which targets are NaN or infinite."""
        return ~torch.isfinite(target)

    def stranger(self, answer: Tensor | None) -> Obstacle:
        """Return that targets are NaN or infinite."""
        return Obstacle(
            what="targets are NaN or infinite", expected="finite numbers", fix="clean or drop these records"
        )

    def trial(self, seed: int) -> tuple[nn.Module, ArrayRecords]:
        """Return a perceptron of 5 inputs that answers [B, 1], and 13 records: no batch size divides them."""
        draw = torch.Generator().manual_seed(seed)
        model = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 1))
        with torch.no_grad():
            for p in model.parameters():
                p.copy_(torch.randn(p.shape, generator=draw))
        inputs, targets = torch.randn(13, 5, generator=draw), torch.randn(13, generator=draw)
        return model.eval(), ArrayRecords(inputs, targets, ids=[f"trial-{i}" for i in range(13)])
