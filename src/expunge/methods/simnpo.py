"""Simple negative preference optimisation: forgotten answers are made unlikely, by a margin per token."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from expunge.core.config import setting
from expunge.engine.forgetting import Forgetting
from expunge.engine.visits import Batch
from expunge.numerics.preference import simnpo


class Simnpo(Forgetting):
    """Minimise ``-(2 / beta) mean log sigmoid(beta * (l - delta))``, l the mean loss of a token of a forgotten answer.

    Nothing is asked of the original. The weight of the forgotten records is 1/8, as in the authors' code.
    """

    title = "Simple negative preference optimisation (SimNPO)"
    source = "Fan et al. 2024, arXiv 2410.07163"

    @dataclass(frozen=True, kw_only=True)
    class Config(Forgetting.Config):
        """Settings of SimNPO."""

        forget_weight: float = setting(0.125, "weight of the forgotten records' loss", low=0)
        beta: float = setting(4.5, "how soon a record that is forgotten weighs less", above=0, search=(2.5, 6))
        delta: float = setting(
            0.0, "nats per token from which on an answer counts as forgotten (the paper's gamma)", low=0, search=(0, 8)
        )

    def forgotten(self, batch: Batch) -> Tensor:
        """Return the loss of answers as preferred not to be given."""
        assert batch.forget is not None
        mean = batch.forget.by_record(batch.forget.loss)
        return simnpo(mean, beta=self.config.beta, delta=self.config.delta)
