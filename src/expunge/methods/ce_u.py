"""CE-U: learn what the model itself would say without the memorised token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from expunge.core.config import setting
from expunge.core.errors import InvalidProblem, Obstacle
from expunge.core.problem import Problem
from expunge.engine.forgetting import Forgetting
from expunge.engine.visits import Batch
from expunge.numerics.token_losses import place, without


class CeU(Forgetting):
    """Minimise the cross entropy of forgotten tokens against the model's own answer with the token left out.

    The pull on a token's logit is its probability, and fades with it. The first ``skip`` scored tokens of every record
    are left alone: what an answer begins with is seldom its secret. The paper holds the retained records by nothing
    (``retain = "none"``).
    """

    title = "Cross entropy with the target left out (CE-U)"
    source = "CE-U, 2025, arXiv 2503.01224"
    trial: ClassVar[Mapping[str, object]] = {**Forgetting.trial, "skip": 0}

    @dataclass(frozen=True, kw_only=True)
    class Config(Forgetting.Config):
        """Settings of CE-U."""

        skip: int = setting(1, "scored tokens at the beginning of every record that are left alone", low=0)

    def obstacles(self, problem: Problem) -> list[Obstacle]:
        """Return also that every record is one unit, as where it has one class label, and that this one is skipped."""
        found = super().obstacles(problem)
        if not found and self.config.skip and problem.meaning.labelled:
            found.append(self._skipped("records with one label each, and nothing else scored"))
        return found

    def forgotten(self, batch: Batch) -> Tensor:
        """Return the cross entropy against the answers without the target.

        Raises:
            InvalidProblem: a record has no more tokens than are skipped.
        """
        assert batch.forget is not None
        chosen = place(batch.forget) >= self.config.skip
        left = batch.forget.sum_by_record(chosen.double())
        if not bool(left.all()):
            raise InvalidProblem([self._skipped(f"{int((left == 0).sum())} of {len(left)} records of a batch")])
        return without(batch.forget, chosen)

    def _skipped(self, found: str) -> Obstacle:
        return Obstacle(
            what=f"ce_u skips the first {self.config.skip} scored tokens, and records have no others",
            where="forget set",
            found=found,
            expected="a token in every record that is to be forgotten",
            fix="set skip = 0, or take another method",
        )
