"""Gradient difference: up on forgotten records, down on retained ones."""

from __future__ import annotations

from torch import Tensor

from expunge.engine.forgetting import Forgetting
from expunge.engine.visits import Batch


class GradDiff(Forgetting):
    """Minimise ``-forget_weight * mean forgotten loss + retain_weight * what holds the retained records``.

    Ascent has no bound: without the rule that stops it, it ends in a model that says nothing. ``neg_grad_plus`` is the
    same difference led by the retained records, a pass over all of them in every epoch.
    """

    title = "Gradient difference (ascent on forgotten, descent on retained records)"
    source = "Liu et al. 2022, arXiv 2203.12817; Maini et al. 2024 (TOFU), arXiv 2401.06121, section 4"

    def forgotten(self, batch: Batch) -> Tensor:
        """Return minus the mean loss of a forgotten token."""
        assert batch.forget is not None
        return -batch.forget.loss.mean()
