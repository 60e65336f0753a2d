"""LFSSD: dampening without labels, by how much a parameter moves the length of the answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from expunge.core.config import setting
from expunge.core.level import Level
from expunge.core.problem import Problem
from expunge.engine.dampening import Dampening
from expunge.engine.gradients import Gradients
from expunge.numerics.units import Scored, Units


class Lfssd(Dampening):
    """As SSD, with the mean magnitude of the gradient of the squared length of the outputs for importance.

    No label is looked at. Magnitudes are not squared: a ratio of SSD's is about the square of one of these, and the
    same alpha selects less.
    """

    title = "Loss-free selective synaptic dampening"
    source = "Foster, Schoepf and Brintrup 2024, arXiv 2402.19308, section 3"
    guarantee = Level.AUDITED
    unasked: ClassVar[bool] = False
    trial: ClassVar = {"alpha": 1.0}

    @dataclass(frozen=True, kw_only=True)
    class Config(Dampening.Config):
        """Settings of LFSSD."""

        alpha: float = setting(
            10.0, "select what is so many times as important to the forget set", low=0, search=(0.3, 100)
        )
        strength: float = setting(
            1.0,
            "λ: selected parameters are multiplied by min(λ · ratio, 1); smaller is stronger",
            low=0,
            search=(0.1, 5),
        )

    def objective(self, units: Units) -> Tensor:  # type: ignore[override]
        """Return the mean over units of the squared length of the output: of the logits, where it makes some."""
        if isinstance(units, Scored):
            return units.per_unit(lambda logits, target: logits.square().sum(dim=1)).mean()
        return units.output.square().sum(dim=1).mean()  # type: ignore[attr-defined]

    def magnitude(self, gradient: Tensor) -> Tensor:
        """Return the magnitude, not its square."""
        return gradient.abs()

    def bounds(self, forget: Gradients, whole: Gradients, problem: Problem) -> tuple[float, float]:
        """Return alpha and λ as they were set."""
        return self.config.alpha, self.config.strength
