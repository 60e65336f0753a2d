"""Fine-tuning on the retain set; the forget set is never read."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from expunge.core.config import setting
from expunge.core.level import Level
from expunge.engine.descent import Descent
from expunge.numerics.losses import mean_loss
from expunge.numerics.units import Units


class Finetune(Descent):
    """Continue training on what remains and let the rest fade."""

    title = "Fine-tune on the retained records"
    source = "baseline FT, e.g. Golatkar et al. 2020, arXiv 1911.04933, section 6"
    guarantee = Level.AUDITED
    of_units = True

    @dataclass(frozen=True, kw_only=True)
    class Config(Descent.Config):
        """Settings of fine-tuning."""

        epochs: int = setting(5, "passes over the retain set", low=0, search=(1, 10))

    def objective(self, retain: Units, forget: Units | None) -> Tensor:
        """Return the mean loss of the retain batch."""
        return mean_loss(retain)
