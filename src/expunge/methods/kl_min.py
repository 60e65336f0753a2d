"""KL minimisation: up on forgotten records, and no change of answers on retained ones."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from expunge.core.config import setting
from expunge.engine.forgetting import Forgetting
from expunge.engine.visits import Batch


class KlMin(Forgetting):
    """Minimise ``-mean forgotten loss + KL(original || model)`` on retained records, over whole distributions.

    The divergence is a mean over scored tokens; code of others divides by padding and prompt as well. It is gradient
    difference with another hold.
    """

    title = "KL minimisation (ascent on forgotten records, answers on retained ones held)"
    source = "Maini et al. 2024 (TOFU), arXiv 2401.06121, section 4"

    @dataclass(frozen=True, kw_only=True)
    class Config(Forgetting.Config):
        """Settings of KL minimisation."""

        retain: str = setting(
            "kl",
            "what holds the retained records: the divergence from the original's answers (`kl`), their loss (`nll`), "
            "or nothing (`none`)",
            choices=("nll", "kl", "none"),
        )

    def forgotten(self, batch: Batch) -> Tensor:
        """Return minus the mean loss of a forgotten token."""
        assert batch.forget is not None
        return -batch.forget.loss.mean()
