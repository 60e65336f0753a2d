"""EU-k: draw the last blocks anew and train them from scratch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from expunge.core.config import setting
from expunge.core.problem import Problem
from expunge.engine.anew import ALL, Anew
from expunge.engine.passes import Batch
from expunge.numerics.losses import mean_loss


class EuK(Anew):
    """Draw the head and the k blocks before it anew, freeze the rest, and train on what remains.

    What is frozen still comes from a training that saw the forgotten records. The paper trains as long as the original
    was trained: ``epochs`` says so. The penalty on the distance to the start that later re-implementations add is not
    in the paper, and not here.
    """

    title = "Retrain the last k blocks on the retained records"
    source = "Goel et al. 2022, arXiv 2201.06640, EU-k"

    @dataclass(frozen=True, kw_only=True)
    class Config(Anew.Config):
        """Settings of EU-k."""

        k: int = setting(1, "blocks before the head drawn anew with it; more than there are: all", low=0)

    @classmethod
    def start(cls, problem: Problem) -> Mapping[str, object]:
        """Return all blocks, and the settings of the training itself in smaller batches, where it says them."""
        found = super().start(problem)
        return {**found, "k": ALL} if found else found

    @property
    def fresh(self) -> int:
        """How many blocks before the head are drawn anew with it."""
        return int(self.config.k)

    def learnt(self, batch: Batch) -> Tensor:
        """Return the mean loss of the retained records."""
        assert batch.retain is not None
        return mean_loss(batch.retain)
