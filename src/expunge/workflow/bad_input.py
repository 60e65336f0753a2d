"""What is worth knowing of the input before any work."""

from __future__ import annotations

from expunge.core.errors import InvalidProblem, Obstacle, UsageError
from expunge.core.problem import Problem
from expunge.engine import base, copies, shift
from expunge.engine.copies import Pair
from expunge.engine.groups import ungrouped
from expunge.engine.holding import other_rows
from expunge.engine.legible import illegible
from expunge.engine.relabelling import labels_of
from expunge.engine.training import Trainer

TEXTS = "expunge.workflow.texts:problem"
"""What makes the problem of a job file that names a language model and its texts."""


def look(problem: Problem) -> tuple[list[Obstacle], list[Pair]]:
    """Return what is worth knowing and stops nothing, and the copies of forgotten records that stay.

    Raises:
        InvalidProblem: lists all that does stop the work.
        UsageError: it is no problem at all.
    """
    if not isinstance(problem, Problem):
        raise UsageError(
            "what is to be worked on is no problem",
            where="problem",
            found=type(problem).__name__,
            expected="an expunge.Problem",
            fix="expunge.Problem(model=..., train=..., forget=...); a job file is for the command line",
        )
    notes = problem.check()
    wrong = problem.trainer.obstacles() if isinstance(problem.trainer, Trainer) else []
    if wrong:
        raise InvalidProblem(wrong)
    strange = other_rows(problem) if problem.calibration is None else None  # of whose records the rest is gone
    if strange is not None:
        raise InvalidProblem([strange])
    unread = illegible(problem)
    if any(each.fatal for each in unread):
        raise InvalidProblem(unread)
    pairs = copies.find(problem)
    seen = (shift.shifted(problem), base.known(problem), ungrouped(problem))
    more = (*unread, shortened(problem), unchanged(problem), *copies.notes(problem, pairs), *seen)
    return [*notes, *(note for note in more if note is not None)], pairs


def unchanged(problem: Problem) -> Obstacle | None:
    """Return that true labels are those which the records carry; None where all that are given are others."""
    named = [name for name in problem.forget_ids if name in problem.truth]
    labels = labels_of(problem, problem.records.select(named)) if named else None
    if labels is None:
        return None
    same = sum(int(label) == problem.truth[name] for name, label in zip(named, labels, strict=True))
    if not same:
        return None
    return Obstacle(
        what="true labels are given that the records carry already",
        where="corrections of the request",
        found=f"{same} of {len(named)}",
        expected="labels that differ: none of these was wrong, and what the model says of them corrects nothing",
        fix="see that they are the true labels, and not those of the file",
        fatal=False,
    )


def shortened(problem: Problem) -> Obstacle | None:
    """Return that records were cut to what the model reads; None where none was."""
    cut, all_ = len(problem.records.cut), len(problem.records)
    if not cut:
        return None
    forgotten = f"{len(problem.forget_view.cut)} of the {len(problem.forget_view)} to forget among them"
    return Obstacle(
        what="records were cut to what the model reads at once",
        where="training records",
        found=f"{cut} of {all_} records, {forgotten}",
        expected="whole records: what is cut off is not learnt, not forgotten, and not looked at",
        fix="split them into shorter records, in the training as well",
        fatal=False,
    )


def untold(problem: Problem) -> Obstacle | None:
    """Return what a problem from files of texts lacks where nobody said how its model was trained; None of any other.

    No training is assumed in its place: models that are retrained otherwise differ from the original for that reason,
    and what is judged by them, or shipped as one of them, would not be the model without the records.
    """
    origin = problem.origin
    if problem.trainer is not None or problem.calibration is not None or origin is None or origin.target != TEXTS:
        return None
    lines = ["training = { epochs = 3, batch_size = 8, lr = 5e-5 }"]
    if problem.holdout is None:
        lines.append('holdout = { path = "records-it-never-saw.jsonl" }')
    return Obstacle(
        what="nothing could be claimed: how the model was trained is not known, so none can be retrained beside it",
        where="[training]",
        found="none",
        expected="the settings of the training that made the model",
        fix=f"write at the top of the job file, with what is true of yours: {' and '.join(lines)}; and under [model], "
        'unless it started from nothing: base = "what-it-was-fine-tuned-from"',
    )


def sentence(note: Obstacle) -> str:
    """Return a note as one sentence, for where there is room for no more."""
    where = f" ({note.where})" if note.where else ""
    return f"{note.what[:1].upper()}{note.what[1:]}{where}: {note.found}. To mend it: {note.fix}."
