"""ASSD: dampening whose threshold follows from the size of the forget set; nothing to tune."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import torch

from expunge.core.level import Level
from expunge.core.problem import Problem
from expunge.engine.dampening import Dampening
from expunge.engine.gradients import Gradients


class AdaptiveSsd(Dampening):
    """As SSD with λ = 1, and alpha a percentile of the ratios of importances.

    The percentile is ``100 - ln(1 + 100 f)`` with f the share of records that are forgotten: 97.6 at a tenth. So
    a share of the parameters is selected whatever the forget set, on an ordinary sample, too, where ratios are noise.
    Where calibration records stand for the retained ones, f is the share among these and the forgotten ones.
    """

    title = "Adaptive selective synaptic dampening"
    source = (
        "Schoepf, Foster and Brintrup 2024, arXiv 2402.10098, parameter-tuning-free; percentile as in the released code"
    )
    guarantee = Level.AUDITED
    unasked: ClassVar[bool] = False

    def bounds(self, forget: Gradients, whole: Gradients, problem: Problem) -> tuple[float, float]:
        """Return the percentile of all finite ratios, and 1."""
        ratios = torch.cat([(forget[name] / whole[name]).flatten() for name in forget]).double().cpu().numpy()
        finite = ratios[np.isfinite(ratios)]
        share = len(problem.forget_view) / (len(problem.forget_view) + len(problem.retain_view))
        alpha = float(np.percentile(finite, percentile(share))) if len(finite) else 0.0
        return alpha, 1.0


def percentile(share: float) -> float:
    """Return the percentile of ratios above which is dampened, of the ``share`` of records that are forgotten."""
    return 100.0 - math.log(1.0 + 100.0 * share)
