"""Classifiers: one record, one label, one unit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from expunge.core.errors import Obstacle
from expunge.data._rows import Rows
from expunge.data.arrays import ArrayRecords
from expunge.numerics.units import Scored, alike
from expunge.tasks._estimators import log_probabilities
from expunge.tasks._pairs import Pairs, output

_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


class Classification(Pairs):
    """A model that maps inputs to logits ``[B, C]``, or to an output with ``.logits``; labels in 0..C-1.

    Or a classifier with scikit-learn's methods on records of a table: its log-probabilities, each class raised to
    0.001 at least, stand for logits.
    """

    title = "Classification"
    answers = "logits of shape [records, classes], at least 2 classes"
    fit = "name the right task, or wrap the model so that it returns logits"
    kind = "logits"

    def units(self, model: Any, batch: Any) -> Scored:
        """Return one unit per record; its loss is the cross entropy."""
        inputs, target = batch
        logits = self.answer(model, inputs)
        record = torch.arange(len(target), device=logits.device)
        return Scored.of(logits, target.to(logits.device), record, len(target))

    def relabelled(self, batch: Any, classes: Mapping[int, int]) -> tuple[Any, Any]:
        """Return (input, label) with the label replaced; labels may be a tensor of any shape, or one number."""
        inputs, target = batch
        if not isinstance(target, Tensor):
            return inputs, classes.get(int(target), target)
        new = [classes.get(label, label) for label in target.flatten().tolist()]
        return inputs, torch.tensor(new, dtype=target.dtype, device=target.device).reshape(target.shape)

    def features(self, model: Any, batch: Any) -> Tensor | None:
        """Return the input of the linear layer that ran last, [B, D]; None where there is none, or not one row each."""
        if not isinstance(model, nn.Module):
            return None
        with torch.no_grad():
            return self._seen(model, batch)[1]

    def seen(self, model: Any, batch: Any) -> tuple[Scored, Tensor | None]:
        """Return units and features of one pass; of two where a task of one's own finds its features elsewhere."""
        line = type(self).__mro__
        above = line[: line.index(Classification)]
        own = any(vars(kind).keys() & {"features", "seen"} == {"features"} for kind in above)
        return super().seen(model, batch) if own else self._seen(model, batch)

    def _seen(self, model: Any, batch: Any) -> tuple[Scored, Tensor | None]:
        seen: list[Tensor] = []
        layers = [m for m in model.modules() if isinstance(m, nn.Linear)] if isinstance(model, nn.Module) else []
        hooks = [layer.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach())) for layer in layers]
        try:
            units = self.units(model, batch)
        finally:
            for hook in hooks:
                hook.remove()
        fits = bool(seen) and seen[-1].dim() == 2 and len(seen[-1]) == len(batch[1])
        return units, seen[-1].clone() if fits else None

    def answer(self, model: Any, inputs: Any) -> Any:
        """Return logits, [B, C]."""
        return log_probabilities(model, inputs) if isinstance(inputs, Rows) else output(model, inputs)

    def misfit(self, answer: Any, count: int) -> str:
        """Return how the answer is no logits of two classes or more."""
        if not isinstance(answer, Tensor):
            return f"output of type {type(answer).__name__}"
        if answer.dim() != 2 or len(answer) != count or answer.shape[1] < 2:
            return f"output of shape {tuple(answer.shape)} for {count} records"
        return ""

    def constant(self, answer: Tensor) -> bool:
        """Return whether all rows of logits say the same."""
        return alike(answer)

    def misread(self, target: Any) -> Obstacle | None:
        """Return that labels are not one integer per record."""
        if isinstance(target, Tensor) and target.dim() == 1 and target.dtype in _INTEGERS:
            return None
        return Obstacle(
            what="labels are not class numbers",
            found=f"{getattr(target, 'dtype', type(target).__name__)}",
            expected="one integer per record",
            fix="encode the classes as 0, 1, 2, ...; numbers to be predicted are of task regression",
        )

    def strange(self, target: Tensor, answer: Tensor | None) -> Tensor:
        """Return which labels are no class of the model."""
        return target < 0 if answer is None else (target < 0) | (target >= answer.shape[1])

    def stranger(self, answer: Tensor | None) -> Obstacle:
        """Return that labels are no class of the model."""
        return Obstacle(
            what="labels outside the classes of the model",
            expected="0 or more" if answer is None else f"0 to {answer.shape[1] - 1}",
            fix="encode the labels as the model was trained with",
        )

    def trial(self, seed: int) -> tuple[nn.Module, ArrayRecords]:
        """Return a perceptron of 5 inputs and 3 classes, and 13 records: no batch size divides them."""
        draw = torch.Generator().manual_seed(seed)
        model = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3))
        with torch.no_grad():
            for p in model.parameters():
                p.copy_(torch.randn(p.shape, generator=draw))
        inputs, labels = torch.randn(13, 5, generator=draw), torch.randint(3, (13,), generator=draw)
        return model.eval(), ArrayRecords(inputs, labels, ids=[f"trial-{i}" for i in range(13)])
