"""CT: turn every kernel on its side, and let the retained records repair what that broke."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from expunge.core.config import setting
from expunge.core.errors import Obstacle
from expunge.core.level import Level
from expunge.core.method import Cost
from expunge.core.problem import Problem
from expunge.engine.context import Context
from expunge.engine.descent import Descent
from expunge.numerics.losses import mean_loss
from expunge.numerics.units import Units


class KernelTransposition(Descent):
    """Swap rows and columns of every convolution's kernel, then fine-tune on the retained records.

    Kernels that are not square stay as they are: turned, they would be another network, which the user's own code could
    not load. The rate falls from step to step, in the entry's code from epoch to epoch.
    """

    title = "Convolution transpose (CT)"
    source = "NeurIPS 2023 unlearning competition, 5th place, as re-implemented for Cadet et al. 2024, arXiv 2410.01276"
    guarantee = Level.AUDITED
    unasked: ClassVar[bool] = False
    dips: ClassVar[bool] = True
    trial: ClassVar[Mapping[str, object]] = {"lr": 0.01}

    @dataclass(frozen=True, kw_only=True)
    class Config(Descent.Config):
        """Settings; the defaults are the entry's."""

        epochs: int = setting(3, "passes over the retain set", low=0, search=(1, 10))
        schedule: str = setting("cosine", "learning rate over steps", choices=("constant", "one_cycle", "cosine"))
        optimiser: str = setting("sgd", "optimiser", choices=("adamw", "sgd"))
        weight_decay: float = setting(5e-4, "decoupled for adamw, L2 for sgd", low=0)

    def obstacles(self, problem: Problem) -> list[Obstacle]:
        """Return also that there is no kernel to turn."""
        found = super().obstacles(problem)
        if not found and not _square(problem.source.open()):
            found.append(
                Obstacle(
                    what=f"{self.name} turns the kernels of convolutions, and this network has none to turn",
                    where="the model",
                    found="no Conv2d with a square kernel larger than 1 x 1 that may move",
                    fix="choose another method, such as msg or finetune",
                )
            )
        return found

    def advice(self, problem: Problem) -> tuple[str, ...]:
        """Return how many kernels are turned, where some are not."""
        model = problem.source.open()
        turned, others = len(_square(model)), sum(isinstance(m, nn.Conv2d) for m in model.modules())
        return () if turned == others else (f"{turned} of {others} kernels are turned: square, larger than 1 x 1",)

    def prepare(self, model: nn.Module, problem: Problem, run: Context) -> Cost:
        """Turn the kernels."""
        transpose(model)
        return Cost()

    def objective(self, retain: Units, forget: Units | None) -> Tensor:
        """Return the mean loss of the retain batch."""
        return mean_loss(retain)


@torch.no_grad()
def transpose(model: nn.Module) -> None:
    """Swap rows and columns of every square kernel that may move, in place; done twice, nothing has changed."""
    for weight in _square(model):
        weight.copy_(weight.transpose(2, 3).clone())


def _square(model: nn.Module) -> list[Tensor]:
    """Return the weights that are turned, each once although layers may share it."""
    weights = [m.weight for m in model.modules() if isinstance(m, nn.Conv2d)]
    found = {id(w): w for w in weights if w.requires_grad and w.shape[2] == w.shape[3] > 1}
    return list(found.values())
