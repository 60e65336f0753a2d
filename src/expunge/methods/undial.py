"""UNDIAL: distil forgotten records to the own answer with the memorised token made unlikely."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from expunge.core.config import setting
from expunge.engine.forgetting import Forgetting
from expunge.engine.visits import Batch
from expunge.numerics.token_losses import lowered


class Undial(Forgetting):
    """Minimise the cross entropy of forgotten tokens against the original's answer, the target's logit less ``beta``.

    The aim has a bound, so nothing can run away. It needs whole distributions of the original on forgotten tokens,
    which answers beside the model. The paper holds the retained records by nothing (``retain = "none"``) and trains
    adapters (``lora = 8``). Only scored tokens count: a public code also shifts a logit for padding, and averages over
    prompts.
    """

    title = "Distillation to lowered logits (UNDIAL)"
    source = "Dong et al. 2024, arXiv 2402.10052"
    distils: ClassVar[bool] = True

    @dataclass(frozen=True, kw_only=True)
    class Config(Forgetting.Config):
        """Settings of UNDIAL."""

        lr: float = setting(1e-4, "peak learning rate", above=0, search=(1e-5, 1e-2))
        beta: float = setting(10.0, "nats that the target's logit is lowered by", low=0, search=(3, 30))

    def forgotten(self, batch: Batch) -> Tensor:
        """Return the cross entropy against the lowered answers."""
        assert batch.forget is not None
        assert batch.teacher is not None
        assert batch.teacher.forget is not None
        return lowered(batch.forget, batch.teacher.forget, beta=self.config.beta)
