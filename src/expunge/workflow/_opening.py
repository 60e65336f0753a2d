"""The opening of a run: what is looked at before any work, its directory, and a request that finds nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from expunge.audit.policy import Policy
from expunge.certify import keys
from expunge.core import registry
from expunge.core.digest import tree_digests
from expunge.core.errors import InvalidProblem, Obstacle, Refused, Tampered, UsageError
from expunge.core.plan import Plan
from expunge.core.problem import Problem
from expunge.core.serial import canonical, plain
from expunge.core.storage import storing, write_file, write_folder
from expunge.engine import copies, device
from expunge.engine.answering import answers
from expunge.engine.energy import Meter
from expunge.engine.given import examine
from expunge.engine.progress import Progress
from expunge.engine.runs import Artefact, RunDirectory
from expunge.engine.runtime import Workers, single_thread
from expunge.plan.auto import AUTO, obstacles
from expunge.workflow.bad_input import look, untold
from expunge.workflow.ending import as_written, public
from expunge.workflow.launch import at_its_place, pool_of
from expunge.workflow.planning import policy_of, reference_count
from expunge.workflow.settings import Result, Settings
from expunge.workflow.stages import Stages

NOT_FOUND = "not found in what was searched"
"""What stands in the file beside a run directory that a request which finds nothing leaves."""


def with_run(
    problem: Problem,
    settings: Settings,
    progress: Progress | None,
    work: Callable[[Stages, list[str]], Result],
    judged: Path | None = None,
    pool: type[Workers] = Workers,
    before: Callable[[Policy], None] = lambda policy: None,
) -> Result:
    """Look at the problem, open its run directory and ``work`` on its stages; ``judged`` is a model to be audited.

    ``work`` gets the notes of the report; ``before`` is asked with the policy while nothing is written. A run directory
    that was begun in vain, by wrong use, is taken away again.

    Raises:
        InvalidProblem: lists all obstacles, before anything is written.
        ForeignRun: the directory holds another job.
    """
    given_in = problem
    problem, where = at_its_place(problem, settings)
    with closing(Meter()) as meter, device.steady(problem):  # from here on: looking at the problem is work, too
        single_thread()
        if settings.key is not None:
            keys.load_private(Path(settings.key))  # told now, not after hours of training
        pool = pool_of(problem, settings, pool)
        notes, pairs = look(problem)
        tunable(problem, settings)
        candidate = problem.source.digest(opened(problem, judged)) if judged is not None else None
        given = examine(problem, settings.given_references, candidate=candidate)
        policy = policy_of(problem, settings)
        before(policy)
        references = reference_count(problem, settings, policy)
        identity: Mapping[str, Any] = {
            "problem": plain(problem.spec),
            "policy": policy.digest,
            "seed": settings.seed,
            "references": references,
            **({"given references": sorted(one.digest for one in given)} if given else {}),
            **({"tasks of lm-eval": policy.lm_eval.key} if policy.lm_eval.tasks else {}),
        }
        out = folder_of(problem, settings)
        _outside_the_ledger(problem, out)
        count = settings.workers or (1 if problem is not given_in else None)  # they share the device
        with closing(pool(problem, count)) as workers, closing(RunDirectory(out, identity, meter=meter)) as run:
            try:
                if not problem.forget_ids:
                    return _nothing_to_do(problem, run)
                said, watcher = (settings.seed, settings.configs), progress or Progress()
                stages = Stages(problem, policy, references, given, *said, run, workers, watcher, tuple(notes))
                if pairs:
                    copies.write(run.folder, pairs)
                result = work(stages, [*where, *(str(note) for note in notes)])
                _found_after_all(run)
                return replace(result, problem=given_in)
            except (UsageError, Refused):
                run.withdraw()
                raise


def opened(problem: Problem, folder: Path, notes: list[str] | None = None) -> Any:
    """Return the model in ``folder``, which must have finite weights and answers; ``notes`` get what stops nothing."""
    try:
        strange = problem.source.alike(folder, _texts(problem))
        if any(each.fatal for each in strange):
            raise InvalidProblem(strange)
        model = problem.source.reopen(folder)
    except Tampered as error:  # it is no file of ours that somebody changed, but the wrong one
        raise InvalidProblem(error.obstacles) from error
    wrong = registry.adopt("models", model).examine() or [
        each
        for each in answers(problem, model, where="the model to audit", digest=problem.source.digest(model))
        if each.fatal
    ]
    if wrong:
        raise InvalidProblem(wrong)
    if notes is not None:
        notes += map(str, strange)
    return model


def _texts(problem: Problem) -> list[str]:
    """Return texts that a model to audit is asked, and some of those that stay; none where records are no texts."""
    asked = [problem.forget_view, *([problem.held_out] if problem.held_out is not None else []), problem.retain_view]
    said = [part.words(place) for part in asked for place in range(min(len(part), _SOME))]
    return [text for text in said if text is not None]


_SOME = 1000
"""Of each part of the records so many are read to see whether two tokenizers agree."""


def tunable(problem: Problem, settings: Settings) -> None:
    """Refuse ``auto`` where there is nothing to tune by."""
    found = obstacles(problem) if AUTO in settings.methods and problem.forget_ids else []
    if found:
        raise InvalidProblem(found)


def unclaimable(problem: Problem, settings: Settings, policy: Policy, plan: Plan) -> list[Obstacle]:
    """Return what a job must still say where its course, which nobody chose, could end in no claim, whatever is done.

    What is planned needs the audit, and the audit needs retrained models, of which there will be none.
    """
    lacks = untold(problem) if problem.forget_ids and not settings.methods and not settings.given_references else None
    stands = any(option.planned and option.guarantee.stands_alone for option in plan.options)
    return [lacks] if lacks is not None and policy.references and not stands else []


def _outside_the_ledger(problem: Problem, out: Path) -> None:
    """Refuse a run directory in the folder of the ledger: it would be destroyed with it."""
    if problem.ledger is not None and out.resolve().is_relative_to(Path(problem.ledger).resolve()):
        raise UsageError(
            "the run directory lies in the folder of the ledger, which a replay replaces",
            where="out",
            found=out.name,
            expected="another place",
            fix="choose an --out beside the ledger",
        )


def folder_of(problem: Problem, settings: Settings) -> Path:
    """Return the run directory: the one that is named, else one by the digest of the problem."""
    return Path(settings.out) if settings.out else Path("runs") / problem.spec.digest[:12]


def not_found(problem: Problem, settings: Settings, found: Sequence[Obstacle]) -> Result:
    """Write what was searched in vain beside the run directory, which stays free for a request that finds something."""
    out = folder_of(problem, settings)
    file = _in_vain(out)
    said = {
        "result": NOT_FOUND,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "request": public(problem),
        "not found": [plain(each) for each in found],
        "searched": {"records": len(problem.records), "digest": problem.records.manifest.digest},
        "model": problem.source.digest(),
    }
    write_file(file, canonical(said) + b"\n", mode=0o600)
    return Result(out, None, None, not_found=file, problem=problem)


def _in_vain(out: Path) -> Path:
    return out.with_name(f"{out.name}.not-found.json")


def _found_after_all(run: RunDirectory) -> None:
    """Put what an earlier request did not find out of sight of what this run found: it stays, in the private part."""
    file = _in_vain(run.folder)
    try:
        data = file.read_bytes()
        ours = json.loads(data)["result"] == NOT_FOUND
    except (OSError, ValueError, KeyError, TypeError):
        return  # there is none, or it is not of this house
    if ours:
        write_file(run.folder / "private" / "not-found.json", data, mode=0o600)
        with storing(file):
            file.unlink()


def _nothing_to_do(problem: Problem, run: RunDirectory) -> Result:
    source = problem.source
    model = run.folder / "model"

    def copy() -> Artefact:
        write_folder(model, lambda folder: source.save(source.open(), folder))
        return Artefact(model.name, source.digest(source.reopen(model)), tree_digests(model))

    as_written(model, made := run.stage("copy", copy, Artefact), was="went in")
    if made.model != source.digest():
        raise Tampered(
            "the model of this run is not the one that went in",
            where=model.name,
            found="another",
            expected="a copy: the request names no records",
            fix="delete the output directory and run again",
        )
    run.event("nothing to do")
    return Result(run.folder, None, None, nothing_to_do=True, problem=problem)
