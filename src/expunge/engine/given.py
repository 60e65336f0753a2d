"""References made elsewhere: opened, compared with what their manifests say, and adopted by the run directory.

That they were trained as their manifests say cannot be seen from here; it is the word of whoever gave them, and the
report says so. What can be seen is refused: a manifest that names a forgotten record, one that is not the retain set,
and two references that are one model (or one that is the original or the model under audit), which would make the
spread between retrained models look smaller than it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from expunge.core.errors import ExpungeError, InvalidProblem, Refused, UsageError
from expunge.core.method import Cost
from expunge.core.problem import Problem
from expunge.engine import manifests
from expunge.engine.answering import answers
from expunge.engine.manifests import TrainedOn
from expunge.engine.references import Retrained
from expunge.engine.runs import Artefact, RunDirectory

STAGE = "given-"
"""How the name of a stage starts that adopts one."""


@dataclass(frozen=True)
class Given:
    """A reference made elsewhere that stands every test: its folder and its model digest."""

    folder: Path
    digest: str

    @property
    def seed(self) -> int:
        """A number below 0, from its digest: its seed is not known, and those of ours are never below 0."""
        return -1 - int(self.digest[:8], 16)


def examine(problem: Problem, folders: Sequence[str | Path], *, candidate: str | None = None) -> tuple[Given, ...]:
    """Return the references in ``folders``, each of which stands every test; changes nothing.

    Args:
        problem: whose records they must (not) have been trained on.
        folders: one model each, with its manifest.
        candidate: model digest of the model under audit, if there is one yet.

    Raises:
        Refused: no manifest, a forgotten record in it, other records than those that stay, or one model twice.
        UsageError: a folder or a manifest that cannot be read.
        InvalidProblem: its weights or answers are not finite.
        Tampered: the model is truncated, or not of the original's architecture.
    """
    found: list[Given] = []
    taken = {problem.source.digest(): "the original"}
    if candidate is not None:
        taken[candidate] = "the model under audit"
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise UsageError(
                "no such reference",
                where=folder.name,
                found="a file" if folder.exists() else "no such folder",
                expected="a folder with a model and its manifest",
                fix="check the path",
            )
        _compare(problem, folder.name, manifests.read(folder))
        given = Given(folder, _digest(problem, folder))
        if given.digest in taken:
            raise Refused(
                "a reference is a model that is there already",
                where=folder.name,
                found=f"the weights of {taken[given.digest]}",
                expected="models that were trained one by one, each with a seed of its own",
                fix="leave it out: one model twice would make retrained models look more alike than they are",
            )
        taken[given.digest] = f"the reference {folder.name}"
        found.append(given)
    return tuple(found)


def adopt(problem: Problem, run: RunDirectory, given: Given) -> Retrained:
    """Copy a reference into the run directory, once, and return its record; it costs nothing here.

    Raises:
        Tampered: the copy was changed since.
    """
    name = f"{STAGE}{given.digest[:16]}"
    source = problem.source

    def copy() -> Retrained:
        model = source.reopen(given.folder)
        artefact: Artefact = run.save(name, source.digest(model), lambda folder: source.save(model, folder))
        return Retrained(artefact, given.seed, Cost())

    adopted = run.stage(name, copy, Retrained)
    run.open_artefact(adopted.artefact)
    return adopted


def _digest(problem: Problem, folder: Path) -> str:
    try:
        strange = problem.source.alike(folder, ())
        if any(each.fatal for each in strange):
            raise InvalidProblem(strange)
        model = problem.source.reopen(folder)
    except InvalidProblem as error:
        named = [replace(each, where=f"reference {folder.name}, {each.where}") for each in error.obstacles]
        raise InvalidProblem(named) from error
    except ExpungeError as error:
        said = error.obstacles[0]
        where = f"reference {folder.name}, {said.where}"  # every reference has files of the same names
        raise type(error)(said.what, where=where, found=said.found, expected=said.expected, fix=said.fix) from error
    digest = problem.source.digest(model)
    wrong = [one for one in answers(problem, model, where=f"reference {folder.name}", digest=digest) if one.fatal]
    if wrong:
        raise InvalidProblem(wrong)
    return digest


def _compare(problem: Problem, name: str, said: TrainedOn) -> None:
    """Raise unless the manifest holds the retained records, each once, and nothing else."""
    gone = set(problem.forget_ids)
    entries = problem.records.manifest.entries
    stay = Counter(content for record, content in entries if record not in gone)
    # What stays under another id as an exact copy is known to whoever was trained on it; more of it than stays is not.
    lost = Counter(content for record, content in entries if record in gone)
    told = Counter(said.contents)
    forgotten = ((told - stay) & lost).total()
    if said.ids is not None:
        forgotten = max(forgotten, len(gone & set(said.ids)))
    if forgotten:
        raise Refused(
            "a reference was trained on forgotten records",
            where=name,
            found=f"{forgotten} of {len(gone)} by its manifest",
            expected="a model that never saw one of them",
            fix="retrain it without them: against such a model every verdict would be worthless",
        )
    missing, strange = (stay - told).total(), (told - stay).total()
    if missing or strange:
        raise Refused(
            "a reference was not trained on the records that stay",
            where=name,
            found=f"{missing} of {stay.total()} missing, {strange} that are not among them",
            expected="exactly the training records without the forgotten ones",
            fix="retrain it on these; where it was, write its manifest from the same records as here (the same types "
            "and shapes: digests are over what is read)",
        )
