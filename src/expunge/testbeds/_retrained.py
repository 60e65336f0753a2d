"""Test beds whose truth is a retraining, and the problems of those that have a trainer."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from expunge.core.problem import Problem
from expunge.core.records import Records
from expunge.core.request import Request
from expunge.core.testbed import Testbed
from expunge.engine.training import Trainer
from expunge.testbeds._drawn import need


def retrained(bed: Testbed, records: Records, trainer: Trainer, forget: Collection[str]) -> dict[str, np.ndarray]:
    """Return the parameters of a model trained on what remains, with the seed that :func:`forgetting` trains with.

    Raises:
        UsageError: an id that is not there, or no record remains.
    """
    keep = need(bed, bed.kept(forget), 1)
    model = trainer(records.select([records.ids[i] for i in keep]), seed=bed.seed + 1)
    return {name: tensor.numpy() for name, tensor in model.state_dict().items()}


def forgetting(
    bed: Testbed,
    records: Records,
    trainer: Trainer,
    forget: Collection[str],
    holdout: Records,
    *,
    request: Request | None = None,
) -> Problem:
    """Return the problem of forgetting these records, each named once; trains the original on all.

    Raises:
        UsageError: an id that is not there.
    """
    bed.kept(forget)
    original = trainer(records, seed=bed.seed + 1)
    return Problem(
        model=original,
        train=records,
        forget=sorted(set(forget)),
        holdout=holdout,
        task=trainer.task,
        trainer=trainer,
        request=request or Request(),
    )
