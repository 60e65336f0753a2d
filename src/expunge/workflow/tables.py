"""A problem from files alone: a saved estimator and a table, no code of anybody's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from expunge.core.errors import UsageError
from expunge.core.problem import Problem
from expunge.data._files import together
from expunge.data._rows import names_of
from expunge.data.table import TableRecords
from expunge.engine.fitting import Refit
from expunge.models.estimator import EstimatorModel


def problem(
    *,
    model: str,
    data: str,
    label: str,
    id: str | None = None,
    subject: str | None = None,
    group: str | None = None,
    features: Sequence[str] | None = None,
    holdout: str | None = None,
) -> Problem:
    """Return the problem of a saved classifier or regressor and its rows; another process makes it again.

    The trainer is the estimator itself, fitted anew.

    Args:
        model: a ``.skops`` file, or a folder that holds ``estimator.skops``.
        data: a ``.parquet``, ``.csv`` or ``.jsonl`` file with all rows that the model was fitted on.
        label: the column of labels, or of the numbers that a regressor predicts.
        id: the column of ids; positions where none is named.
        subject: the column that says whose data a row is.
        group: of a classifier, the column of groups between which gaps are judged; it may be a feature as well.
        features: the columns that the model is given; by default those it was fitted with, else all others.
        holdout: a file of the same columns with rows that the model was never fitted on.

    Raises:
        UsageError: a file or a column is missing, a label is no class of the model, or no number, or a column of
            groups names none.
        UnsafeFile: the model is a pickle, or holds types that could run code.
        Refused: a part of the model is fitted beforehand, so that it cannot be fitted anew.
    """
    source = EstimatorModel(model)
    estimator = source.open()
    classes = getattr(estimator, "classes_", None)
    records = TableRecords(
        Path(data),
        label=label,
        id=id,
        subject=subject,
        group=group,
        features=features if features is not None else names_of(estimator),
        numbers=source.regressor,
        classes=None if classes is None or isinstance(classes, list) else np.asarray(classes).tolist(),
    )
    # By names a part of the columns may do (what is left out may be dropped anyway); by places they are all needed.
    fitted = getattr(estimator, "n_features_in_", None) if names_of(estimator) is None else None
    if fitted is not None and len(records.columns.names) != fitted:
        raise UsageError(
            "the table has other columns than the model was fitted on",
            where=f"{Path(data).name}, [data] features",
            found=f"{len(records.columns.names)}: {', '.join(records.columns.names[:12])}",
            expected=f"{fitted}",
            fix='name them, in the order of the fit: features = ["...", ...]',
        )
    others = None if holdout is None else records.like(Path(holdout))
    return Problem(
        model=source,
        task="regression" if source.regressor else "classification",
        train=records,
        holdout=others,
        groups={} if group is None else together(group, records.groups, others.groups if others is not None else {}),
        trainer=Refit(estimator),
    )
