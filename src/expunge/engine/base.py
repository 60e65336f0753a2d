"""Does what the training starts from know the forgotten answers already? Then retrained models know them as well.

References share the base: what it holds of the records is in all of them, so that no verdict can show it. It is looked
at by itself here, before any work: how much of the forgotten answers it gives by heart, beside held-out ones of the
same kind. A base that saw the records and kept little of them is not told from one that never did.

The test of the difference: Mann and Whitney 1947, one-sided.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu

from expunge.core.digest import keyed
from expunge.core.errors import Obstacle
from expunge.core.problem import Problem
from expunge.core.records import Records
from expunge.engine.answers import Spoken, output_of
from expunge.engine.loop import ready
from expunge.engine.training import Trainer
from expunge.tasks.causal_lm import CausalLM

MOST = 256
"""Records of either side that are asked for."""
KNOWS = "what the model was trained from knows the forgotten answers already"
LEVEL, APART = 0.005, 0.05
"""Said is what chance explains so rarely, and what comes to so much of an answer."""


def known(problem: Problem) -> Obstacle | None:
    """Return a note where the base gives more of the forgotten answers by heart than of held-out ones, else None.

    So is said where what it answers is no number.

    Nothing is looked at where the training starts from new weights, or there are no held-out records.
    """
    holdout = problem.held_out
    some = len(problem.forget_ids) and holdout is not None and len(holdout)
    if not some or not isinstance(problem.meaning, CausalLM) or (base := _start(problem)) is None:
        return None
    mine, theirs = (_by_heart(problem, base, some) for some in (problem.forget_view, holdout))
    broken = sum(int(np.isnan(part).sum()) for part in (mine, theirs))
    if broken:
        return Obstacle(
            what="what the model was trained from gives answers that are NaN or infinite",
            where="base",
            found=f"{broken} of {len(mine) + len(theirs)} records that were asked",
            expected="finite numbers",
            fatal=False,
            fix="look for NaN in its weights, and for a number format too small for it: nothing can be trained from it",
        )
    p = float(mannwhitneyu(mine, theirs, alternative="greater").pvalue) if np.ptp([*mine, *theirs]) else 1.0
    if p > LEVEL or mine.mean() - theirs.mean() < APART:
        return None
    return Obstacle(
        what=KNOWS,
        where="base",
        found=f"{mine.mean():.0%} of the forgotten answers by heart (extraction strength, {len(mine)} records), "
        f"and {theirs.mean():.0%} of held-out ones ({len(theirs)})",
        expected="a base that never saw the records",
        fatal=False,
        fix="forget them in the base first, or start from another: models that are retrained from it know them too, so "
        "no verdict here can say that they are gone",
    )


def start_of(problem: Problem) -> str | None:
    """Return the digest of what the training starts from; None where that is new weights, "" where nobody knows it."""
    build = getattr(problem.trainer, "build", None)
    if problem.source.rests_on or getattr(build, "base", None):
        return problem.source.rests_on or getattr(build, "rests_on", "")
    return None


def _start(problem: Problem) -> torch.nn.Module | None:
    """Return the base: what adapters lie on, or what the training starts from; None where that is new weights."""
    trainer = problem.trainer
    bare: torch.nn.Module | None = problem.source.bare()
    if bare is None and isinstance(trainer, Trainer) and getattr(trainer.build, "base", None) is not None:
        return ready(trainer.begin(0))  # type: ignore[no-any-return]
    return bare


def _by_heart(problem: Problem, model: torch.nn.Module, records: Records) -> NDArray[np.float64]:
    """Return the extraction strength of some of the records, [n] in [0, 1]; NaN where what is said is not finite."""
    some = records.select(sorted(records.ids, key=lambda name: keyed(b"expunge base", name))[:MOST])
    spoken = Spoken(output_of(problem, model, some, size=32), np.asarray(some.read(range(len(some)))[1]))
    return np.where(np.isfinite(spoken.loss), spoken.extraction, np.nan)  # which token is likeliest, NaN does not say
