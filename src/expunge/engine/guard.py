"""The eye on a method while it runs: a model that has lost what it could do is a failure, never a result."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from scipy.stats import binomtest
from torch import Tensor

from expunge.core.errors import Diverged
from expunge.core.method import Cost
from expunge.core.problem import Problem
from expunge.core.records import Records
from expunge.engine.batches import in_order
from expunge.engine.context import Context
from expunge.engine.loop import evaluating
from expunge.engine.relabelling import labels_of
from expunge.engine.split import forget_choosing, held_choosing
from expunge.numerics.units import Scored

EDGE = 0.5
"""A model that has surely lost more than this share of the original's lead over guessing has collapsed; guessing is
naming the class that is right most often."""
OVER = 0.05
"""How far the accuracy on forgotten records may fall below that on held-out ones of the same classes, unremarked."""
LEVEL = 0.01


class Guard:
    """Looks at the choosing part between epochs: is the model still a model?

    ``model`` is the original, or a copy that nothing has changed yet; ``fix`` is what to do where it collapses. Without
    holdout records, or for a task without classes, there is nothing to look at; NaN is seen by the loop.
    """

    def __init__(
        self,
        model: Any,
        problem: Problem,
        run: Context,
        *,
        dips: bool,
        reads_forget: bool,
        fix: str = "lower the learning rate, or fewer epochs",
    ) -> None:
        self._problem, self._run, self._dips, self._reads_forget, self._fix = problem, run, dips, reads_forget, fix
        self._holdout = run.choosing.holdout
        self._floor: float | None = None
        self._right: Tensor | None = None
        if self._holdout is not None and len(self._holdout):
            right = right_answers(run, model, self._holdout)
            if right is not None:
                guess = _guessing(problem, self._holdout)
                lead = float(right.double().mean()) - guess
                # An original that does no better than guessing has nothing that it could lose.
                self._floor = guess + (1 - EDGE) * lead if lead > 0 else 0.0

    @staticmethod
    def cost(problem: Problem, looks: int, *, reads_forget: bool) -> Cost:
        """Return the most that it reads: the original once, then as many looks at the model, and one for its warnings.

        ``problem`` is the whole one: of a method's view of it the holdout is the choosing part already.
        """
        held = held_choosing(problem)
        warned = forget_choosing(problem) if held and reads_forget else 0
        return Cost(read=held * (looks + 1) + warned if looks else 0)

    def look(self, model: Any, epoch: int, *, last: bool) -> None:
        """Stop a model that has collapsed, after its last epoch, or any where nothing later would repair it.

        ``epoch`` is 0 for a method that has none.

        Raises:
            Diverged: its held-out accuracy has surely lost more than half of the original's lead over guessing
                (Clopper-Pearson, one-sided 99 %).
        """
        if self._floor is None or self._holdout is None or (self._dips and not last):
            return
        right = right_answers(self._run, model, self._holdout)
        assert right is not None
        self._right = right
        if _at_most(right) < self._floor:
            raise Diverged(
                "the model collapsed: it has lost most of what it could do on held-out records",
                where=f"epoch {epoch}" if epoch else "after the change",
                found=f"{float(right.double().mean()):.0%} of the choosing holdout right",
                expected=f"at least {self._floor:.0%}, half-way between guessing and the original",
                fix=f"{self._fix}; the original is untouched",
            )

    def warnings(self, model: Any) -> tuple[str, ...]:
        """Return what a reader must know: that the model may have collapsed, or forgotten records went too far."""
        return (*self._unsure(model), *self._over_forgetting(model))

    def _seen(self, model: Any) -> Tensor:
        """Return how much of each held-out record was answered right at the last look, or now where there was none."""
        if self._right is None:  # a method that was interrupted after its last look has not looked again
            assert self._holdout is not None
            self._right = right_answers(self._run, model, self._holdout)
        assert self._right is not None
        return self._right

    def _unsure(self, model: Any) -> tuple[str, ...]:
        """Return that so few held-out records stand for the model that its collapse could not be told from chance."""
        if self._floor is None or self._holdout is None:
            return ()
        seen = self._seen(model)
        if (share := float(seen.double().mean())) >= self._floor:
            return ()
        return (
            f"the model may have collapsed: {share:.0%} of the {len(seen)} held-out records of the choosing "
            f"part are answered right, and half-way between guessing and the original are {self._floor:.0%}; so few do "
            "not tell it from chance",
        )

    def _over_forgetting(self, model: Any) -> tuple[str, ...]:
        """Return that forgotten records are answered worse than ones never trained on."""
        forget = self._run.choosing.forget
        if self._floor is None or self._holdout is None or not len(forget) or not self._reads_forget:
            return ()
        mine, theirs = (labels_of(self._problem, part) for part in (forget, self._holdout))
        if mine is None or theirs is None or not np.isin(theirs, mine).any():
            return ()
        right = right_answers(self._run, model, forget)
        assert right is not None
        held = float(self._seen(model).numpy()[np.isin(theirs, mine)].mean())
        if _at_most(right) >= held - OVER:
            return ()
        return (
            f"over-forgetting: {float(right.double().mean()):.0%} of the forgotten records of the choosing part are "
            f"answered right, {held:.0%} of held-out records of their classes; a retrained model treats both alike "
            "where the forgotten are an ordinary sample",
        )


def right_answers(run: Context, model: Any, records: Records) -> Tensor | None:
    """Return how much of each record is answered right, [n] in [0, 1], in evaluation mode; None without classes.

    1 or 0 of a classifier; of a language model the share of its tokens. Counted as reading.
    """
    run.spent += Cost(read=len(records))
    found = []
    with evaluating(model), torch.no_grad():
        for batch in in_order(records):
            units = run.problem.meaning.units(model, batch)
            if not isinstance(units, Scored):
                return None
            found.append(units.by_record(units.correct.double()))
    return torch.cat(found)


def _guessing(problem: Problem, records: Records) -> float:
    """Return the share of the most frequent label; 0 where there are no labels to count."""
    labels = labels_of(problem, records)
    return 0.0 if labels is None else float(np.unique(labels, return_counts=True)[1].max() / len(labels))


def _at_most(right: Tensor) -> float:
    """Return the upper bound of the share of right answers (Clopper and Pearson 1934, one-sided at ``LEVEL``).

    Shares in between 0 and 1 vary less than coins of their mean do, so that the bound holds for them as well.
    """
    exact = binomtest(math.ceil(float(right.sum())), len(right)).proportion_ci(
        confidence_level=1 - 2 * LEVEL, method="exact"
    )
    return float(exact.high)
