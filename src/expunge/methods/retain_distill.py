"""Retain-distil: answer forgotten records as the original answers held-out records of their class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from expunge.core.config import setting
from expunge.core.errors import InvalidProblem, Obstacle
from expunge.core.level import Level
from expunge.core.method import Cost, Need
from expunge.core.problem import Problem
from expunge.engine.batches import in_order
from expunge.engine.context import Context
from expunge.engine.descent import Descent
from expunge.engine.loop import evaluating
from expunge.engine.relabelling import absent, labels_of
from expunge.engine.split import judged_count
from expunge.numerics.losses import away_from
from expunge.numerics.units import Scored


class RetainDistill(Descent):
    """Minimise ``retain loss + weight * mean over forgotten records of KL(q || model)``.

    q is the mean answer of the original, as probabilities, to held-out records of the choosing part that have the
    forgotten record's label. To draw such a record as a teacher for each forgotten one would have the same slope on
    average. Of ReGUn's paper only the abstract could be followed: this is its plain form, and settings are our own.
    Wrong labels, or a class that goes altogether, ask for another method: held-out records say how right ones are
    answered.
    """

    title = "Distil forgotten records to held-out behaviour of their class (ReGUn)"
    source = "ReGUn, arXiv 2603.11210, after its abstract"
    guarantee = Level.AUDITED
    needs: ClassVar[frozenset[Need]] = frozenset({Need.RETAIN, Need.FORGET})
    classes: ClassVar[bool] = True
    unasked: ClassVar[bool] = False

    @dataclass(frozen=True, kw_only=True)
    class Config(Descent.Config):
        """Settings."""

        weight: float = setting(1.0, "of the divergence on forgotten records", low=0, search=(0.1, 10))

    def obstacles(self, problem: Problem) -> list[Obstacle]:
        """Return also that there are no held-out records, or none of a forgotten class; reads labels for it."""
        found = super().obstacles(problem)
        if not _choosing(problem):
            what, fix = "retain_distill needs held-out records", "give the problem a holdout, 3 records at the least"
            found.append(Obstacle(what=what, where="holdout", found="none in the choosing part", fix=fix))
        gone = None if found else labels_of(problem, problem.forget_view)
        strange = absent(gone, problem.held_out) if gone is not None and problem.held_out is not None else ()
        return [*found, _strange(len(strange), "holdout")] if strange else found

    def preparation(self, problem: Problem) -> Cost:
        """Return one look at the held-out records of the choosing part."""
        return Cost(read=_choosing(problem))

    def prepare(self, model: nn.Module, problem: Problem, run: Context) -> Cost:
        """Find the mean answers to held-out records of each label.

        Raises:
            InvalidProblem: a forgotten record has a label that none of them has.
        """
        held = run.choosing.holdout
        assert held is not None
        with evaluating(model), torch.no_grad():
            units = [problem.meaning.units(model, batch) for batch in in_order(held)]
        shares = torch.cat([each.log_probs.exp() for each in units])
        target = torch.cat([each.target for each in units])
        count = torch.bincount(target, minlength=shares.shape[1])
        self._means = shares.new_zeros(len(count), shares.shape[1]).index_add(0, target, shares) / count[:, None]
        gone = labels_of(problem, problem.forget_view)
        assert gone is not None
        strange = sorted({int(label) for label in gone} - set(target.tolist()))
        if strange:
            raise InvalidProblem([_strange(len(strange), "the choosing part of the holdout")])
        return Cost(read=len(held))

    def objective(self, retain: Scored, forget: Scored | None) -> Tensor:
        """Return the mean retain loss plus the weighted divergence from what is said of held-out records."""
        assert forget is not None
        return retain.loss.mean() + self.config.weight * away_from(forget, self._means[forget.target])


def _strange(count: int, where: str) -> Obstacle:
    return Obstacle(
        what="retain_distill needs held-out records of every forgotten class",
        where=where,
        found=f"none of {count} of the classes of forgotten records",
        fix="give more held-out records, or choose another method",
    )


def _choosing(problem: Problem) -> int:
    held = 0 if problem.held_out is None else len(problem.held_out)
    return held - judged_count(held)
