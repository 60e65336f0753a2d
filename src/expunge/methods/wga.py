"""Weighted gradient ascent: a token that is forgotten already is pushed less."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from expunge.core.config import setting
from expunge.core.problem import Problem
from expunge.engine.forgetting import Forgetting
from expunge.engine.visits import Batch
from expunge.numerics.token_losses import weighted_ascent


class Wga(Forgetting):
    """Minimise ``-mean p^beta * loss`` over forgotten tokens; p, their probability, carries no gradient.

    Where a search over texts begins, ``beta`` is 0.3, beside a relearner; who sets ``relearner = 0`` there sets
    ``beta`` as well, since what is hardly known any more is pushed on and nothing takes it back.
    """

    title = "Weighted gradient ascent (WGA)"
    source = "Wang et al. 2025, arXiv 2502.19301"
    settled = Forgetting.settled | {"beta"}

    @dataclass(frozen=True, kw_only=True)
    class Config(Forgetting.Config):
        """Settings of WGA."""

        beta: float = setting(1.0, "power of the weight; 0 is plain ascent", low=0, search=(0.2, 5))

    @classmethod
    def start(cls, problem: Problem) -> Mapping[str, object]:
        """Return, of texts, a weight that falls slowly: what is hardly known any more is pushed on, and stays away."""
        found = super().start(problem)
        return {**found, "beta": 0.3} if "relearner" in found else found

    def forgotten(self, batch: Batch) -> Tensor:
        """Return minus the weighted loss of a forgotten token."""
        assert batch.forget is not None
        return weighted_ascent(batch.forget, beta=self.config.beta)
