"""Distil anew: a network drawn anew learns what the original answers about retained records."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from expunge.core.errors import Obstacle
from expunge.core.method import Cost
from expunge.core.problem import Problem
from expunge.engine.anew import Anew
from expunge.engine.batches import in_order
from expunge.engine.context import Context
from expunge.engine.loop import evaluating
from expunge.engine.passes import Batch
from expunge.numerics.losses import away_from


class DistillAnew(Anew):
    """Draw all weights anew and minimise ``KL(original || model)``, the mean over retained records.

    The paper distils a model that was made to forget by its outputs; here classes of which nothing is retained are
    struck out of the original's answers, which leaves those of such a model. The original is asked once, before the
    first pass. Nothing else of it is handed on, neither weights nor answers about forgotten records. What it was taught
    wrongly shows in its answers about others too: where labels are corrected, learn from labels.
    """

    title = "Distil the original's answers about retained records into a network drawn anew"
    source = "Lee et al. 2025, arXiv 2506.06278, distillation into a random student (all weights noised)"
    classes: ClassVar[bool] = True

    def obstacles(self, problem: Problem) -> list[Obstacle]:
        """Return also that the request corrects labels."""
        found = super().obstacles(problem)
        if problem.request.corrections:
            what = f"{self.name} learns what the original answers, which wrong labels have shaped"
            count = f"{len(problem.request.corrections)} corrected labels"
            found.append(Obstacle(what=what, where="request", found=count, fix="take eu_k, which learns labels"))
        return found

    def preparation(self, problem: Problem) -> Cost:
        """Return the one look of the original at the retained records."""
        return Cost(read=len(problem.retain_view))

    def prepare(self, model: nn.Module, problem: Problem, run: Context) -> Cost:
        """Ask the original about the retained records, and draw the weights anew."""
        retain = problem.retain_view
        original = problem.source.open()
        with evaluating(original), torch.no_grad():
            units = [problem.meaning.units(original, batch) for batch in in_order(retain)]
        logits, labels = (torch.cat(each) for each in zip(*((u.logits, u.target) for u in units), strict=True))
        staying = torch.zeros(logits.shape[1], dtype=torch.bool, device=logits.device)
        staying[labels] = True
        logits[:, ~staying] = -torch.inf
        self._answers = logits.softmax(dim=1)
        self._rows = {name: row for row, name in enumerate(retain.ids)}
        return super().prepare(model, problem, run) + self.preparation(problem)

    def learnt(self, batch: Batch) -> Tensor:
        """Return the mean divergence from what the original answers."""
        assert batch.retain is not None
        assert batch.retain_side is not None
        rows = [self._rows[name] for name in batch.retain_side.ids]
        return away_from(batch.retain, self._answers[rows])
