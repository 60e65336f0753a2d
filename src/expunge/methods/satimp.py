"""SatImp: ascent on tokens that are known well, but for those that are certain."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from expunge.core.config import setting
from expunge.engine.forgetting import Forgetting
from expunge.engine.visits import Batch
from expunge.numerics.token_losses import saturated_ascent


class Satimp(Forgetting):
    """Minimise ``-mean p^known * (1 - p)^unsure * loss`` over forgotten tokens; the weight has no gradient.

    ``known`` and ``unsure`` are the paper's beta 1 and beta 2. Of the weights of the two sets its public codes say
    opposite things (1 and 0.1, 0.1 and 1): here both are 1.
    """

    title = "Ascent weighted by saturation and importance (SatImp)"
    source = "Yang et al. 2025, arXiv 2505.11953"

    @dataclass(frozen=True, kw_only=True)
    class Config(Forgetting.Config):
        """Settings of SatImp."""

        known: float = setting(5.0, "power of the probability of the token", low=0, search=(1, 8))
        unsure: float = setting(1.0, "power of the probability of all others", low=0)

    def forgotten(self, batch: Batch) -> Tensor:
        """Return minus the weighted loss of a forgotten token."""
        assert batch.forget is not None
        return saturated_ascent(batch.forget, known=self.config.known, unsure=self.config.unsure)
