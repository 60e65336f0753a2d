"""SSD: dampen what matters more to the forget set than to all training records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from expunge.core.config import setting
from expunge.core.level import Level
from expunge.core.problem import Problem
from expunge.engine.dampening import Dampening
from expunge.engine.gradients import Gradients


class Ssd(Dampening):
    """Dampen parameters by the ratio of two diagonal Fisher informations; no training.

    Importance is the mean square of the batches' gradients, in evaluation mode; the second set is all training records,
    the forget set among them (with ``calibration``, that and the forget set). On a forget set that is an ordinary
    sample both importances are alike and next to nothing is selected: a warning says so, with the share. Unlike the
    released code, both sets are read in batches of one size (``engine/dampening`` says why); ``batch_size = 1`` is the
    diagonal that the paper defines.
    """

    title = "Selective synaptic dampening"
    source = "Foster, Schoepf and Brintrup 2024, arXiv 2308.07707, equations 3 and 4"
    guarantee = Level.AUDITED
    unasked: ClassVar[bool] = False
    trial: ClassVar = {"alpha": 1.0}

    @dataclass(frozen=True, kw_only=True)
    class Config(Dampening.Config):
        """Settings of SSD."""

        alpha: float = setting(
            10.0,
            "select what is so many times as important to the forget set; the authors' 10 for ResNet-18, 5 to 25 for "
            "ViT, 50 for faces",
            low=0,
            search=(0.1, 100),
        )
        strength: float = setting(
            1.0,
            "λ: selected parameters are multiplied by min(λ · ratio, 1); smaller is stronger",
            low=0,
            search=(0.1, 5),
        )

    def bounds(self, forget: Gradients, whole: Gradients, problem: Problem) -> tuple[float, float]:
        """Return alpha and λ as they were set."""
        return self.config.alpha, self.config.strength
