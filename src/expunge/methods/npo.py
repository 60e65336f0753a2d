"""Negative preference optimisation: forgotten answers are made less likely than they were to the original."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from expunge.core.config import setting
from expunge.engine.forgetting import Forgetting
from expunge.engine.visits import Batch
from expunge.numerics.preference import npo


class Npo(Forgetting):
    """Minimise ``-(2 / beta) mean log sigmoid(beta * (S - S_original))``, S the summed loss of a forgotten answer.

    Sums are never divided by the length of the answer. The original's are asked for once, before training: one number
    per record is kept of it, and no second model.
    """

    title = "Negative preference optimisation (NPO)"
    source = "Zhang et al. 2024, arXiv 2404.05868"
    remembers: ClassVar[bool] = True

    @dataclass(frozen=True, kw_only=True)
    class Config(Forgetting.Config):
        """Settings of NPO."""

        beta: float = setting(
            0.1, "how soon a record that is forgotten weighs less; towards 0 it is ascent", above=0, search=(0.05, 0.5)
        )

    def forgotten(self, batch: Batch) -> Tensor:
        """Return the loss of answers as preferred not to be given."""
        assert batch.forget is not None
        now = batch.forget.sum_by_record(batch.forget.loss)
        return npo(now, self.then(batch), beta=self.config.beta)
