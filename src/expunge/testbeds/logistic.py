"""Logistic regression: Newton's method, to the optimum."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import ClassVar

import numpy as np
import torch
from scipy.special import logsumexp
from torch import nn
from torch.nn import functional

from expunge.core.problem import Problem
from expunge.core.records import Records
from expunge.core.testbed import ModelTestbed
from expunge.engine.checkpoint import Checkpoints
from expunge.engine.loop import LoopConfig
from expunge.engine.training import Trainer
from expunge.testbeds._drawn import clusters, need
from expunge.testbeds._retrained import forgetting

DIMS, COUNT = 6, 180
PENALTY = 1.0
TOLERANCE = 1e-10
"""Largest gradient norm of a truth."""


class Softmax(nn.Linear):
    """Softmax regression of 6 inputs and 3 classes, float64, no intercept."""

    def __init__(self) -> None:
        super().__init__(DIMS, 3, bias=False, dtype=torch.float64)


class Binary(nn.Linear):
    """Logistic regression of 6 inputs, float64, no intercept; logits [B, 2] are (0, w x)."""

    def __init__(self) -> None:
        super().__init__(DIMS, 1, bias=False, dtype=torch.float64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        return functional.pad(super().forward(x), (1, 0))


class SummedTrainer(Trainer):
    """A trainer whose penalty stands beside a sum over records, as in :class:`Logistic`, however many there are."""

    def __call__(self, records: Records, *, seed: int, checkpoints: Checkpoints | None = None) -> nn.Module:
        """Return a new model trained on ``records``."""
        # The loop minimises a mean, and torch's weight decay c adds c w to its gradient.
        config = replace(self.config, weight_decay=PENALTY / len(records))
        return Trainer(build=self.build, config=config)(records, seed=seed, checkpoints=checkpoints)


_CONFIG = LoopConfig(epochs=30, batch_size=20, lr=0.7, schedule="one_cycle", optimiser="sgd")
TRAINERS = {2: SummedTrainer(build=Binary, config=_CONFIG), 3: SummedTrainer(build=Softmax, config=_CONFIG)}


class Logistic(ModelTestbed):
    """Logistic regression on 180 records of 6 inputs, each row of length 1; 60 more are the holdout.

    The objective is ``sum_i -log softmax(W x_i)[y_i] + penalty / 2 ||W||^2``, a sum, with no intercept: it is
    strongly convex, so it has one minimiser, whatever remains. Three classes have one row of W each; two classes
    have one row in all, with logits (0, w x), which is the logistic loss.

    The models of :meth:`problem` come from the trainer, which takes few stochastic steps from random weights and so
    never ends at the optimum: while 80 records remain their weights are within 3% of the truth of the same records
    (relative norm of the difference), and they differ between seeds.

    Args:
        seed: of the data.
        classes: 2 or 3.

    Attributes:
        x: inputs [180, 6], float64; y: labels [180].
        subjects: whose each record is; records, holdout: :class:`~expunge.data.arrays.ArrayRecords`.
    """

    title = "Logistic regression"
    source = "drawn here; Newton's method (Böhning 1992, Annals of the Institute of Statistical Mathematics 44)"
    penalty: ClassVar[float] = PENALTY

    def __init__(self, *, seed: int = 0, classes: int = 3) -> None:
        super().__init__(seed=seed)
        self.classes = classes
        self.trainer = TRAINERS[classes]
        name = f"logistic, {classes} classes"
        self.rows, self.holdout = clusters(name, seed, count=COUNT, holdout=60, dims=DIMS, classes=classes)
        self.x, self.y, self.subjects, self.records = self.rows.x, self.rows.y, self.rows.subjects, self.rows.records

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the training records."""
        return self.rows.ids

    def truth(self, forget: Collection[str] = ()) -> dict[str, np.ndarray]:
        """Return ``weight`` [3, 6] (two classes: [1, 6]) and ``gradient_norm``, at most 1e-10, of the objective there.

        A class without records keeps its row. One record is enough.
        """
        keep = need(self, self.kept(forget), 1)
        weight, norm = newton(self.x[keep], self.y[keep], classes=self.classes, penalty=self.penalty)
        return {"weight": weight, "gradient_norm": np.asarray(norm)}

    def problem(self, forget: Collection[str]) -> Problem:
        return forgetting(self, self.records, self.trainer, forget, self.holdout)


def newton(x: np.ndarray, y: np.ndarray, *, classes: int, penalty: float) -> tuple[np.ndarray, float]:
    """Return the minimiser W [k, d] and the norm of the gradient there; k = 1 for two classes, else ``classes``.

    With p the probabilities of the k free logits: gradient ``(P - Y)^T X + penalty W``, Hessian blocks
    ``X^T diag(p_a (1[a = b] - p_b)) X + 1[a = b] penalty I``. Steps are halved until the objective falls, which
    makes Newton's method converge from zero on a strongly convex objective (Boyd and Vandenberghe 2004, 9.5.3).
    """
    free = slice(1, 2) if classes == 2 else slice(0, classes)
    rows, dims = free.stop - free.start, x.shape[1]
    onehot = np.eye(classes)[y]

    def look(weight: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        logits = np.zeros((len(x), classes))
        logits[:, free] = x @ weight.T
        total = logsumexp(logits, axis=1)
        value = float((total - (logits * onehot).sum(axis=1)).sum() + penalty / 2 * (weight**2).sum())
        p = np.exp(logits - total[:, None])
        return value, (p - onehot)[:, free].T @ x + penalty * weight, p[:, free]

    weight = np.zeros((rows, dims))
    value, gradient, p = look(weight)
    for _ in range(50):
        if np.linalg.norm(gradient) <= TOLERANCE:
            break
        mixing = np.eye(rows)[None] * p[:, :, None] - p[:, :, None] * p[:, None, :]
        hessian = np.einsum("nab,ni,nj->aibj", mixing, x, x).reshape(rows * dims, -1) + penalty * np.eye(rows * dims)
        step = -np.linalg.solve(hessian, gradient.ravel()).reshape(weight.shape)
        slope, size = float((gradient * step).sum()), 1.0
        while size > 1e-6 and look(weight + size * step)[0] > value + 1e-4 * size * slope + 1e-12 * abs(value):
            size /= 2
        weight = weight + size * step
        value, gradient, p = look(weight)
    norm = float(np.linalg.norm(gradient))
    assert norm <= TOLERANCE, "Newton's method did not converge"
    return weight, norm
