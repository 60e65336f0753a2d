"""NegGrad+: descend on the retain set, ascend on the forget set, stop at the loss of a retrained model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from expunge.core.config import setting
from expunge.core.level import Level
from expunge.core.method import Cost, Need
from expunge.core.problem import Problem
from expunge.engine.context import Context
from expunge.engine.descent import Descent
from expunge.engine.split import forget_choosing, held_choosing
from expunge.numerics import losses
from expunge.numerics.units import Units


class NegGradPlus(Descent):
    """Minimise ``alpha * retain loss - (1 - alpha) * forget loss``; ascent is unbounded, so it must stop.

    After every epoch the loss on the choosing part of the forget set is compared with that of the choosing
    references; once it is reached, the method stops. The two sets are answered in two calls, and batch statistics move
    with both; some code of others holds them still, as ``batch_statistics = "keep"`` does.
    """

    title = "NegGrad+ (descend on retained, ascend on forgotten records)"
    source = "Kurmanji et al. 2023, arXiv 2302.09880, NegGrad+ baseline"
    guarantee = Level.AUDITED
    of_units = True
    needs: ClassVar[frozenset[Need]] = frozenset({Need.RETAIN, Need.FORGET})

    @dataclass(frozen=True, kw_only=True)
    class Config(Descent.Config):
        """Settings of NegGrad+."""

        epochs: int = setting(5, "passes over the retain set at the most", low=0, search=(1, 10))
        alpha: float = setting(
            0.95, "weight of the retain loss; 1 is fine-tuning, 0 plain ascent", low=0, high=1, search=(0.7, 0.99)
        )

    def objective(self, retain: Units, forget: Units | None) -> Tensor:
        """Return the weighted difference of the two mean losses."""
        assert forget is not None
        return losses.neg_grad_plus(retain, forget, alpha=self.config.alpha)

    def observation(self, problem: Problem) -> Cost:
        """Return the looks at forgotten records after every epoch, and the one at held-out ones."""
        many = self.config.epochs
        return Cost(read=many * forget_choosing(problem) + held_choosing(problem) if many else 0)

    def stop(self, model: nn.Module, epoch: int, run: Context) -> str:
        """Return a reason once the forget loss has reached that of retrained models."""
        target = run.target_loss
        if target is None or not len(run.choosing.forget):
            return ""
        loss = run.mean_loss(model, run.choosing.forget)
        return f"forget loss {loss:.3g} reached that of a retrained model, {target:.3g}" if loss >= target else ""
