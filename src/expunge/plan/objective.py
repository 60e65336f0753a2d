"""How good is a trial, without a retrained model? What tuning makes as small as it can.

Two things are added, both shares in [0, 1]:

- ``match``: how far the model's confidence in the labels of forgotten records lies from its confidence in those of
  their strangers (``engine/strangers``), as the Wasserstein-1 distance of the two distributions. Loss, margin and
  confidence of a record are one number in three forms, so matching one of them exactly matches all; near is measured
  in confidence, since the size of margins changes with every further step of training whatever is forgotten, and a
  distance in them mostly says how long the training was (``benchmarks/tuning.py`` shows the others beside it).
  Texts have many units each, and confidence in one is the geometric mean of theirs. That of all texts which are not
  known is nearly 0, though a mean loss of 4 nats a token is told from one of 8 at a glance. So of texts half of the
  match is the largest distance between the distribution functions of margins: which of two texts is the likelier one;
- ``harm``: how much confidence in the labels of retained and of held-out records was lost against the original, the
  mean of what either lost. More than the original had is no gain: nothing is asked but to hold it.

A trial whose accuracy falls below the ``floor`` by more than its standard error is not allowed, whatever else it does
well: that on held-out records; of texts that on retained ones, since what was never learnt by heart is hardly said by
heart, by any model.

Only the choosing part is looked at, and a sample of the retained records.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expunge.core.digest import keyed
from expunge.core.errors import InvalidProblem, Obstacle
from expunge.core.method import Cost
from expunge.core.problem import Problem
from expunge.core.records import View
from expunge.engine.split import Part
from expunge.engine.strangers import Said, Strangers, said
from expunge.numerics.matching import distance, gap, lean

FLOOR, FLOOR_OF_TEXTS = 0.03, 0.015
"""How much accuracy a trial may lose, unless a floor is asked for: three quarters of what the shipped policies allow,
`standard` on held-out records and `language` on retained texts."""


@dataclass(frozen=True)
class Look:
    """What the objective says of one model.

    Attributes:
        match: distance of forgotten records from their strangers, in [0, 1]; 0 only where they are answered exactly
            alike: of two draws of one law there is a rest, in few texts a large one (``numerics/matching.gap``).
        harm: confidence that was lost on what stays, in [0, 1].
        accuracy: share of held-out records of the choosing part, of classes that stay, that are answered right; of
            texts the share of the tokens of retained ones.
        doubt: standard error of how much of it was lost against the original, on the same records.
        lean: how far beyond a half it is that a forgotten text is answered surer than a stranger, in [-1/2, 1/2]: above
            0 what was to go is still known, below it was pushed too far; 0 of records with one unit.
    """

    match: float
    harm: float
    accuracy: float
    doubt: float = 0.0
    lean: float = 0.0

    @property
    def value(self) -> float:
        """What tuning minimises, in [0, 2]."""
        return self.match + self.harm

    def below(self, floor: float) -> float:
        """Return by how much accuracy is below a floor, beyond what so few records leave in doubt; 0 at the least."""
        return max(0.0, floor - self.accuracy - self.doubt)


class Objective:
    """Looks at models of one problem.

    Args:
        problem: the problem as methods see it.
        choosing: its choosing part.
        floor: lowest accuracy of a trial that is asked for, in [0, 1]; where None so much below the original's:
            ``FLOOR``, of texts ``FLOOR_OF_TEXTS``.

    Raises:
        InvalidProblem: nothing can be compared: no holdout, no classes, or no held-out record of a forgotten class.
    """

    def __init__(self, problem: Problem, choosing: Part, *, floor: float | None = None) -> None:
        if not len(choosing.forget) or choosing.holdout is None or not len(choosing.holdout):
            found = f"{len(choosing.forget)} forgotten and {len(choosing.holdout or ())} held-out records to choose by"
            raise _obstacle(found, "3 forgotten and 3 held-out records or more: a third of either is for choosing")
        self._problem, self._forget, self._holdout = problem, choosing.forget, choosing.holdout
        retain = problem.retain_view
        ranked = sorted(retain.ids, key=lambda name: keyed(b"expunge objective", name))
        self._retain: View = retain.select(ranked[: len(self._holdout)])
        self._strangers = Strangers(problem, self._forget, self._holdout)
        self.asked = floor

    @property
    def cost(self) -> Cost:
        """The work of one look."""
        return Cost(read=len(self._forget) + len(self._holdout) + len(self._retain))

    @property
    def missing(self) -> int:
        """How many forgotten records of the choosing part have no stranger, and are not looked at."""
        return self._strangers.missing

    @property
    def floor(self) -> float:
        """The lowest accuracy of a trial."""
        if self.asked is not None:
            return self.asked
        return self.original.accuracy - (FLOOR_OF_TEXTS if self._before[0].several else FLOOR)

    @cached_property
    def original(self) -> Look:
        """What it says of the original, which loses nothing against itself."""
        return self._look(*self._before)

    def look(self, model: Any) -> Look:
        """Return what it says of ``model``; every layer's mode is restored."""
        return self._look(*self._said(model))

    def allows(self, look: Look) -> bool:
        """Return whether the model does well enough on what stays."""
        return not look.below(self.floor)

    @cached_property
    def _before(self) -> tuple[Said, Said, Said]:
        return self._said(self._problem.source.open())

    def _said(self, model: Any) -> tuple[Said, Said, Said]:
        forget, holdout, retain = (said(self._problem, model, r) for r in (self._forget, self._holdout, self._retain))
        if forget is None or holdout is None or retain is None:
            raise _obstacle("a task without classes", "a classifier")
        return forget, holdout, retain

    def _look(self, forget: Said, holdout: Said, retain: Said) -> Look:
        confidence, staying = self._strangers.probabilities(forget, holdout), self._strangers.staying
        if not confidence or not staying.any():
            raise _obstacle(
                "no held-out record of the classes that are forgotten, or of any that stays",
                "held-out records of the same classes as the forgotten ones",
            )
        before = self._before
        match, right, was = distance(confidence), holdout.right[staying], before[1].right[staying]
        side = 0.0
        if forget.several:
            scores = self._strangers.kinds(forget, holdout)
            match, side = (match + gap(scores)) / 2, lean(scores)
            right, was = retain.right, before[2].right
        lost_right = was.astype(float) - right
        lost = (_lost(before[1], holdout, staying), _lost(before[2], retain, np.ones(len(self._retain), dtype=bool)))
        return Look(
            match=match,
            harm=sum(lost) / len(lost),
            accuracy=float(right.mean()),
            doubt=float(lost_right.std(ddof=1) / math.sqrt(len(right))) if len(right) > 1 else 0.0,
            lean=side,
        )


def _lost(before: Said, after: Said, kept: NDArray[np.bool_]) -> float:
    return max(0.0, float((before.known - after.known)[kept].mean()))


def _obstacle(found: str, expected: str) -> InvalidProblem:
    return InvalidProblem(
        [
            Obstacle(
                what="nothing to tune by",
                where="method auto",
                found=found,
                expected=expected,
                fix="name a method and its settings, or add such records to the holdout",
            )
        ]
    )
