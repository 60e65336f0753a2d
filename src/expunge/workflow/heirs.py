"""What ships beside a model: the ledger that a replay wrote in the place of the old one, or filters around it."""

from __future__ import annotations

import shutil
from pathlib import Path

from expunge.core.digest import tree_digests
from expunge.core.level import Level
from expunge.core.problem import Problem
from expunge.core.report import Attempt
from expunge.core.storage import storing, write_file
from expunge.core.suppression import FILTERS
from expunge.engine.ledger import beside, settle
from expunge.engine.runs import RunDirectory

STALE = (
    "The ledger of the recorded training still holds ids of the forgotten records, and states that saw them: {method} "
    "does not change it. Destroy it, or replay."
)


def attempt_folder(number: int) -> str:
    """Return where an attempt keeps what is its own, relative to the run directory."""
    return f"attempts/{number}"


def erases(attempt: Attempt) -> bool:
    """Return whether an attempt reached a claim that its model may ship with; a filter leaves the model as it was."""
    return attempt.claim is not None and attempt.claim is not Level.SUPPRESSED


def deliver(run: RunDirectory, number: int) -> None:
    """Put the filters of an attempt into the run directory: they are all that there is to ship."""
    for name in FILTERS:
        made = run.folder / attempt_folder(number) / name
        if made.exists():  # plain texts ask nothing: of these there is no filter of prompts
            write_file(run.folder / name, made.read_bytes())


def stale(problem: Problem, chosen: Attempt | None) -> list[str]:
    """Return what must be known of a ledger that the method which ships leaves as it was."""
    if problem.ledger is None or chosen is None or chosen.method in ("replay", "sharded"):
        return []
    return [STALE.format(method=chosen.method)]


def succeed(problem: Problem, run: RunDirectory, heir: Path) -> None:
    """Put the ledger ``heir`` in the place of the problem's; the old one, with every state in it, is destroyed.

    Killed anywhere, it can be repeated: ``heir`` stays until the run directory is cleared.
    """
    if problem.ledger is None or not heir.is_dir():
        return
    place = Path(problem.ledger)
    settle(place)
    new, old = beside(place)
    with storing(place):
        if place.is_dir() and tree_digests(place) == tree_digests(heir):
            return  # killed after the exchange, before the end
        shutil.rmtree(new, ignore_errors=True)
        shutil.copytree(heir, new)
        if place.exists():
            place.rename(old)
        settle(place)
    run.event("destroyed", what="the ledger of the run that saw the records")
