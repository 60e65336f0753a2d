"""A two-layer network: small enough that retraining it is the truth."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import torch
from torch import nn

from expunge.core.problem import Problem
from expunge.core.testbed import ModelTestbed
from expunge.engine.loop import LoopConfig
from expunge.engine.training import Trainer
from expunge.testbeds._drawn import clusters
from expunge.testbeds._retrained import forgetting, retrained


class TwoLayerNet(nn.Sequential):
    """8 inputs, 16 hidden units with tanh, 3 classes; float64, 195 parameters."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(8, 16, dtype=torch.float64), nn.Tanh(), nn.Linear(16, 3, dtype=torch.float64))


TRAINER = Trainer(
    build=TwoLayerNet,
    config=LoopConfig(epochs=20, batch_size=32, lr=0.03, schedule="one_cycle", optimiser="adamw"),
)


class TwoLayer(ModelTestbed):
    """A network of 195 parameters on 150 records of three classes; 60 more are the holdout.

    Attributes:
        x: inputs [150, 8], float64, each row of length 1; y: labels [150] in 0..2.
        subjects: whose each record is; records, holdout: :class:`~expunge.data.arrays.ArrayRecords`.
    """

    title = "A two-layer network"
    source = "drawn here; retraining with the same seed"

    def __init__(self, *, seed: int = 0) -> None:
        super().__init__(seed=seed)
        self.rows, self.holdout = clusters("two_layer", seed, count=150, holdout=60, dims=8, classes=3)
        self.x, self.y, self.subjects, self.records = self.rows.x, self.rows.y, self.rows.subjects, self.rows.records

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the training records."""
        return self.rows.ids

    def truth(self, forget: Collection[str] = ()) -> dict[str, np.ndarray]:
        """Return the parameters of a network retrained on what remains. One record is enough."""
        return retrained(self, self.records, TRAINER, forget)

    def problem(self, forget: Collection[str]) -> Problem:
        return forgetting(self, self.records, TRAINER, forget, self.holdout)
