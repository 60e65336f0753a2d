"""NegMerge: fine-tune on the forgotten records in several ways, and go against what all of them agree on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from expunge.core.config import setting
from expunge.core.errors import UsageError
from expunge.core.level import Level
from expunge.engine.task_vectors import Negated


class NegMerge(Negated):
    """Task arithmetic with the mean of several task vectors on those weights where all have one sign, 0 elsewhere.

    The fine-tunings differ in learning rate and in the order of records; the paper's differ in augmentation as well.
    Retained records are held as in task arithmetic, by ``kl`` or by nothing, as in the paper.
    """

    title = "NegMerge (what several fine-tunings on forgotten records agree on, negated)"
    source = "Kim et al. 2025, arXiv 2410.05583"
    guarantee = Level.AUDITED

    @dataclass(frozen=True, kw_only=True)
    class Config(Negated.Config):
        """Settings of NegMerge."""

        factors: tuple[float, ...] = setting((0.5, 1.0, 2.0), "on the learning rate, one for each fine-tuning")

        def __post_init__(self) -> None:
            """Check that there is a fine-tuning, and none that goes backwards."""
            super().__post_init__()
            if not self.factors or min(self.factors) <= 0:
                raise UsageError(
                    "no fine-tuning, or one with no learning rate",
                    where=f"{type(self).__qualname__}.factors",
                    found=str(list(self.factors)),
                    expected="one number above 0 for each fine-tuning",
                    fix="for example factors = [0.5, 1.0, 2.0]",
                )

    def rates(self) -> Sequence[float]:
        """Return the factors of the settings."""
        factors: tuple[float, ...] = self.config.factors
        return factors
