"""Which rows a model that forgets by itself holds, beside those of the problem."""

from __future__ import annotations

from expunge.core.errors import Obstacle
from expunge.core.problem import Problem


def other_rows(problem: Problem) -> Obstacle | None:
    """Return that the model holds other rows than the training records; None where it does not, or cannot say.

    After a deletion the file of records is often older than the model: what is trained on it would learn again what the
    model has forgotten.
    """
    if problem.source.forgets is None:
        return None
    model = problem.source.open()
    held = getattr(model, "sample_ids_", None)
    if held is None:
        rows = model.what_remains_.rows
        strange, missing = max(0, rows - len(problem.records)), max(0, len(problem.records) - rows)
    else:
        mine, theirs = set(map(str, held)), set(problem.records.ids)
        strange, missing = len(mine - theirs), len(theirs - mine)
    if not strange and not missing:
        return None
    return Obstacle(
        what="the model holds other rows than the training records",
        where="ids",
        found=f"{missing} of {len(problem.records)} records not held, {strange} rows held that are no record",
        expected="the same ids: those it was given as sample_ids; what is retrained on records that it has forgotten "
        "learns them again",
        fix="give the data file as it was fitted, less what was forgotten since, with the column of ids; of a model "
        "that was fitted without any these are the positions of the rows then, 0, 1, 2, ...: write them into a column",
    )
