"""The whole way: plan, forget, audit, certify. The composition root behind API, CLI and service."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from expunge.audit.judge import leak_decisions
from expunge.audit.policy import Policy
from expunge.certify import keys
from expunge.core import registry
from expunge.core.digest import tree_digests
from expunge.core.errors import ForeignRun, InvalidProblem, NotFound, Obstacle, Refused, Tampered, UsageError
from expunge.core.finder import Finder, Found
from expunge.core.level import Level
from expunge.core.method import Method, Need
from expunge.core.plan import Plan
from expunge.core.problem import Problem
from expunge.core.report import Audit
from expunge.core.serial import canonical, plain
from expunge.core.storage import storing, write_file, write_folder
from expunge.core.verdict import control_has_power
from expunge.engine import copies, device
from expunge.engine.answering import answers
from expunge.engine.energy import Meter
from expunge.engine.given import examine
from expunge.engine.progress import Progress
from expunge.engine.runs import Artefact, RunDirectory
from expunge.engine.runtime import Workers, single_thread
from expunge.plan.auto import AUTO, obstacles
from expunge.workflow.bad_input import look, sentence, untold
from expunge.workflow.ending import FINAL, Shipped, as_written, finish, public, ship
from expunge.workflow.heirs import deliver, erases
from expunge.workflow.launch import at_its_place, kept_back, pool_of
from expunge.workflow.planning import declared_passes, filters, only_filters, plan_of, policy_of, reference_count
from expunge.workflow.settings import Result, Settings
from expunge.workflow.stages import EXTERNAL, Stages
from expunge.workflow.tuning import course, found

__all__ = ["Choice", "Result", "Settings", "attempt", "audit", "choose", "erase", "find", "judge", "plan", "prepare"]


NOT_FOUND = "not found in what was searched"
"""What stands in the file beside a run directory that a request which finds nothing leaves."""
NOTHING_ASKED = "The request names no records: nothing of this would be done, and the model would be copied as it is."
"""What a plan says of such a request first."""


def find(problem: Problem, way: str = "alike", *, device: str = "") -> Found:
    """Return retained records that a ``way`` (see ``expunge.find``) finds to belong to the request; changes nothing.

    They are for people to look at; ``problem.widened(found.ids)`` forgets them as well. ``device`` is that of
    :class:`Settings`.

    Raises:
        UnknownName: no such way.
        InvalidProblem: lists all obstacles.
    """
    finder: Finder = registry.load("find", way)()
    problem, _ = at_its_place(problem, Settings(device=device))
    look(problem)
    single_thread()
    return finder.find(problem)


def plan(problem: Problem, **settings: Any) -> Plan:
    """Return what is possible on ``problem``, what it costs, and what would be tried in which order; trains nothing.

    Keyword arguments are the fields of :class:`Settings`.

    Raises:
        InvalidProblem: lists all obstacles.
    """
    chosen = Settings.of(settings)
    problem, where = at_its_place(problem, chosen)
    notes, _ = look(problem)
    _tunable(problem, chosen)
    examine(problem, chosen.given_references)
    pool_of(problem, chosen, Workers)  # what several processes cannot do is told before they are asked to
    policy = policy_of(problem, chosen)
    plan = plan_of(problem, chosen, policy, passes=declared_passes(problem))
    said = map(sentence, [*_unclaimable(problem, chosen, policy, plan), *notes])
    nothing = () if problem.forget_ids else (NOTHING_ASKED,)
    return replace(plan, advice=(*nothing, *plan.advice, *said, *(f"{each[0].upper()}{each[1:]}." for each in where)))


def erase(
    problem: Problem, *, progress: Progress | None = None, pool: type[Workers] = Workers, **settings: Any
) -> Result:
    """Go the whole way: plan, forget, audit, certify; resumes where an earlier call on ``out`` stopped.

    Keyword arguments are the fields of :class:`Settings`; ``pool`` says where retraining and audits run. A request of
    which nothing is found leaves a file that says so, ``Result.not_found``, and nothing else.

    Raises:
        InvalidProblem: lists all obstacles, before anything is written.
        ForeignRun: ``out`` holds another job.
    """
    chosen = Settings.of(settings)

    def refuse_unclaimable(policy: Policy) -> None:
        if (_out(problem, chosen) / "run.json").exists():
            return  # a run that was begun goes on, and one that is finished is shown
        plan = plan_of(problem, chosen, policy, passes=declared_passes(problem))
        if found := _unclaimable(problem, chosen, policy, plan):
            raise InvalidProblem(found)

    try:
        return _with_run(
            problem,
            chosen,
            progress,
            lambda stages, notes: _erase(stages, chosen, notes),
            pool=pool,
            before=refuse_unclaimable,
        )
    except NotFound as error:
        return _not_found(problem, chosen, error.obstacles)


def audit(
    problem: Problem,
    *,
    model: str | Path,
    progress: Progress | None = None,
    pool: type[Workers] = Workers,
    **settings: Any,
) -> Result:
    """Judge the saved model in ``model``, whoever made it; it counts as an attempt of the run directory.

    Keyword arguments are the fields of :class:`Settings`. No certificate is issued: how the model was made
    is not known.
    """
    chosen = Settings.of(settings)
    if not isinstance(model, (str, Path)):
        raise UsageError(
            "the model to audit is given as an object",
            where="model",
            found=type(model).__name__,
            expected="the folder it is saved in: what is judged is what is shipped",
            fix="save it (model.safetensors, or a .skops file), and give the folder",
        )
    return _with_run(
        problem,
        chosen,
        progress,
        lambda stages, notes: _audit(stages, chosen, notes, Path(model)),
        judged=Path(model),
        pool=pool,
    )


def prepare(
    problem: Problem, *, progress: Progress | None = None, pool: type[Workers] = Workers, **settings: Any
) -> Path:
    """Do what every method on this problem needs, and return the run directory: the references, the control audit.

    A copy of the directory is a run to which :func:`attempt` and :func:`erase` with the same settings add a method.
    Keyword arguments are the fields of :class:`Settings`.

    Raises:
        InvalidProblem: lists all obstacles, before anything is written.
        ForeignRun: ``out`` holds another job.
    """

    def work(stages: Stages, notes: list[str]) -> Result:
        if stages.references > len(stages.given) or stages.passes() is None:
            stages.trainer()
        stages.original()
        stages.control()
        return Result(stages.run.folder, None, None, problem=stages.problem)

    return _with_run(problem, Settings.of(settings), progress, work, pool=pool).out


class Choice(NamedTuple):
    """A method, its settings, and what finding them cost as a share of one retraining."""

    method: str
    config: Mapping[str, object]
    share: float


def attempt(
    problem: Problem, *, progress: Progress | None = None, pool: type[Workers] = Workers, **settings: Any
) -> Path:
    """Run the first of the named methods, save its model unjudged, and return the run directory.

    Of ``auto`` that is the method that tuning finds best, with its settings. :func:`judge` with the same settings, in
    another process if need be, goes on with the audit. Keyword arguments are the fields of :class:`Settings`.

    Raises:
        InvalidProblem: lists all obstacles, before anything is written; or ``auto`` finds nothing to try.
    """
    chosen = Settings.of(settings)

    def work(stages: Stages, notes: list[str]) -> Result:
        name, config, tuned = _first(stages, chosen)
        _try(stages, name, registry.load("methods", name)(config), tuned)
        return Result(stages.run.folder, None, None, problem=stages.problem)

    return _with_run(problem, chosen, progress, work, pool=pool).out


def choose(
    problem: Problem, *, progress: Progress | None = None, pool: type[Workers] = Workers, **settings: Any
) -> Choice:
    """Return what :func:`attempt` with the same arguments would run, and run nothing else.

    Of ``auto`` the search is stages of the run directory: killed, the same call goes on. Keyword arguments are the
    fields of :class:`Settings`.

    Raises:
        InvalidProblem: lists all obstacles, before anything is written; nothing is to be forgotten, or ``auto`` finds
            nothing to try.
    """
    if not problem.forget_ids:
        raise InvalidProblem([Obstacle(what="nothing to choose a method for", where="request", found="no record")])
    chosen, made = Settings.of(settings), list[Choice]()

    def work(stages: Stages, notes: list[str]) -> Result:
        name, config, _ = _first(stages, chosen)
        made.append(Choice(name, config or {}, sum(one.share for one in found(stages, chosen.floor))))
        return Result(stages.run.folder, None, None, problem=stages.problem)

    _with_run(problem, chosen, progress, work, pool=pool)
    return made[0]


def judge(
    problem: Problem, *, progress: Progress | None = None, pool: type[Workers] = Workers, **settings: Any
) -> Result:
    """Audit what :func:`attempt` saved in the run directory, and write the report.

    Keyword arguments are the fields of :class:`Settings`, as :func:`attempt` was given them.

    Raises:
        UsageError: nothing was attempted there.
    """
    chosen = Settings.of(settings)

    def work(stages: Stages, notes: list[str]) -> Result:
        plan = _plan(stages, chosen)
        tried = stages.attempts()
        if not tried:
            raise UsageError(
                "nothing to judge",
                where=stages.run.folder.name,
                found="no attempt",
                expected="a run directory in which a method was run",
                fix="run `attempt` with the same settings first",
            )
        for one in tried:
            stages.judge(one.number, one.guarantee)
        return finish(stages, chosen, plan, notes, tried=[one.number for one in tried])

    return _with_run(problem, chosen, progress, work, pool=pool)


def _first(stages: Stages, settings: Settings) -> tuple[str, Mapping[str, object] | None, str]:
    """Return the first method to run: its name, its settings, and how these were found where they were tuned."""
    name = settings.methods[0]
    if name != AUTO:
        config = settings.configs.get(name)
        if wrong := registry.load("methods", name)(config).obstacles(stages.problem):
            raise InvalidProblem(wrong)
        return name, config, ""
    if stages.passes() is None:
        stages.trainer()  # what a retraining costs bounds the search
    plan = _plan(stages, settings)
    first = next(course(stages, settings, plan, [], blind=False), None)
    if first is None:
        raise InvalidProblem(
            [
                Obstacle(
                    what="tuning found nothing to try",
                    where=f"method {AUTO}",
                    found=f"a budget of {settings.budget:.0%} of one retraining"
                    + (f", a floor of {settings.floor:.1%}" if settings.floor is not None else ""),
                    expected="settings that fit into it and keep the accuracy on held-out records",
                    fix="raise the budget, or name a method"
                    if settings.floor is None
                    else "raise the budget, lower the floor, or name a method",
                )
            ]
        )
    return first


def _with_run(
    problem: Problem,
    settings: Settings,
    progress: Progress | None,
    work: Callable[[Stages, list[str]], Result],
    judged: Path | None = None,
    pool: type[Workers] = Workers,
    before: Callable[[Policy], None] = lambda policy: None,
) -> Result:
    given_in = problem
    problem, where = at_its_place(problem, settings)
    with closing(Meter()) as meter, device.steady(problem):  # from here on: looking at the problem is work, too
        single_thread()
        if settings.key is not None:
            keys.load_private(Path(settings.key))  # told now, not after hours of training
        pool = pool_of(problem, settings, pool)
        notes, pairs = look(problem)
        _tunable(problem, settings)
        candidate = problem.source.digest(_opened(problem, judged)) if judged is not None else None
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
        out = _out(problem, settings)
        _outside_the_ledger(problem, out)
        count = settings.workers or (1 if problem is not given_in else None)  # they share the device
        with closing(pool(problem, count)) as workers, closing(RunDirectory(out, identity, meter=meter)) as run:
            try:
                if not problem.forget_ids:
                    return _nothing_to_do(problem, run)
                said, watcher = (settings.seed, settings.configs), progress or Progress()
                stages = Stages(problem, policy, references, given, *said, run, workers, watcher)
                if pairs:
                    copies.write(run.folder, pairs)
                result = work(stages, [*where, *(str(note) for note in notes)])
                _found_after_all(run)
                return replace(result, problem=given_in)
            except (UsageError, Refused):
                run.withdraw()
                raise


def _tunable(problem: Problem, settings: Settings) -> None:
    found = obstacles(problem) if AUTO in settings.methods and problem.forget_ids else []
    if found:
        raise InvalidProblem(found)


def _unclaimable(problem: Problem, settings: Settings, policy: Policy, plan: Plan) -> list[Obstacle]:
    """Return what a job must still say where its course, which nobody chose, could end in no claim, whatever is done.

    What is planned needs the audit, and the audit needs retrained models, of which there will be none.
    """
    lacks = untold(problem) if problem.forget_ids and not settings.methods and not settings.given_references else None
    stands = any(option.planned and option.guarantee.stands_alone for option in plan.options)
    return [lacks] if lacks is not None and policy.references and not stands else []


def _plan(stages: Stages, settings: Settings) -> Plan:
    return plan_of(stages.problem, settings, stages.policy, passes=stages.passes(), begun=stages.begun())


def _runnable(stages: Stages, settings: Settings) -> None:
    """Refuse a course of which no named method can run: nothing is trained for it."""
    problem, begun = stages.problem, stages.begun()
    named = [registry.load("methods", name)(settings.configs.get(name)) for name in settings.methods if name != AUTO]
    found = [m.obstacles(problem) or ([] if m.name in begun else m.futile(problem)) for m in named]
    if found and all(found) and AUTO not in settings.methods:
        raise InvalidProblem([obstacle for each in found for obstacle in each])


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


def _out(problem: Problem, settings: Settings) -> Path:
    return Path(settings.out) if settings.out else Path("runs") / problem.spec.digest[:12]


def _not_found(problem: Problem, settings: Settings, found: Sequence[Obstacle]) -> Result:
    """Write what was searched in vain beside the run directory, which stays free for a request that finds something."""
    out = _out(problem, settings)
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


def _erase(stages: Stages, settings: Settings, notes: list[str]) -> Result:
    if stages.run.done(FINAL):
        return _again(stages, settings)
    _runnable(stages, settings)
    made = _filtered(stages, settings)
    if made and only_filters(stages.problem, settings):
        stages.original()
        plan = _plan(stages, settings)
        return finish(stages, settings, plan, notes, tried=made)
    if stages.references > len(stages.given) or stages.passes() is None:
        stages.trainer()
    plan = _plan(stages, settings)
    stages.progress.plan(plan)
    left_out = [each for each in plan.options if not each.planned and each.method in settings.methods]
    notes += [f"{each.title} was not tried: {each.why}" for each in left_out]
    stages.original()
    control = stages.control()
    tried: list[int] = []
    for name, config, tuned in course(stages, settings, plan, notes, blind=_blind(control)):
        method: Method = registry.load("methods", name)(config)
        guarantee = method.guarantee_on(stages.problem)
        if _blind(control) and guarantee is Level.AUDITED and name not in settings.methods:
            notes.append(
                f"{name} was not tried: the audit cannot tell the original from retrained models, "
                "so no verdict on another model would mean anything"
            )
            stages.progress.say(notes[-1])
            continue
        if because := kept_back(method):
            notes.append(because)
            stages.progress.say(because)
            continue
        number = _try(stages, name, method, tuned, asked=name in plan.order)
        stages.judge(number, guarantee)
        tried.append(number)
        if erases(stages.attempt(number)) or not (settings.escalate or filters(method, stages.problem)):
            break
    return finish(stages, settings, plan, notes, tried=tried)


def _filtered(stages: Stages, settings: Settings) -> list[int]:
    """Write the filters that are asked for, before anything is trained or audited; return their attempts.

    What a filter claims rests on no model that never saw the records: who needs one needs it now.
    """
    made = []
    for name in settings.methods:
        method = None if name == AUTO else registry.load("methods", name)(settings.configs.get(name))
        if method is None or not filters(method, stages.problem) or method.obstacles(stages.problem):
            continue
        number = _try(stages, name, method)
        if stages.attempt(number).claim is not None:
            deliver(stages.run, number)
            made.append(number)
    return made


def _try(stages: Stages, name: str, method: Method, tuned: str = "", *, asked: bool = True) -> int:
    """Run a method and save its model; return the number of the attempt.

    ``tuned`` says how its settings were found; whether it was ``asked`` for, by name or by the plan.
    """
    if Need.TRAINER in method.needs:
        stages.trainer()
    number = stages.begin(name, plain(method.config), tuned=tuned)
    stages.forget(number, method, alone=bool(tuned), asked=asked)
    return number


def _audit(stages: Stages, settings: Settings, notes: list[str], folder: Path) -> Result:
    if stages.run.done(FINAL):
        raise _finished(stages.run, stages.read(FINAL, Shipped))
    source = stages.problem.source
    model = _opened(stages.problem, folder)
    stages.trainer()
    plan = _plan(stages, settings)
    stages.original()
    number = stages.begin(EXTERNAL, {"model": source.digest(model)})
    stages.adopt(number, model)
    stages.judge(number, Level.AUDITED)
    return finish(stages, settings, plan, notes, tried=[number])


def _opened(problem: Problem, folder: Path) -> Any:
    """Return the model in ``folder``, which must have finite weights and answers."""
    try:
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
    return model


def _blind(control: Audit) -> bool:
    return not control_has_power(leak_decisions(control.findings))


def _again(stages: Stages, settings: Settings) -> Result:
    shipped = stages.read(FINAL, Shipped)
    attempt = shipped.report.shipped
    assert attempt is not None
    if (
        settings.methods
        and attempt.method not in settings.methods
        and not (_searched(shipped) and AUTO in settings.methods)
    ):
        raise _finished(stages.run, shipped)
    other = _other_settings(shipped, settings)
    if other:
        raise ForeignRun(
            "this run is finished, with other settings",
            where=stages.run.folder.name,
            found=", ".join(f"{name} = {was}" for name, (was, _) in other.items()),
            expected=", ".join(f"{name} = {asked}" for name, (_, asked) in other.items()),
            fix="choose another --out to start anew, or ask with the settings that it was made with",
        )
    return ship(stages, settings, shipped)


def _other_settings(shipped: Shipped, settings: Settings) -> dict[str, tuple[object, object]]:
    """Return what a finished run was made with and what is asked for now, where these differ, by setting."""
    attempt = shipped.report.shipped
    assert attempt is not None
    given = dict(settings.configs.get(attempt.method, {}))
    asked = dict(plain(registry.load("methods", attempt.method)(given).config) or {})
    # Of a method that was tuned only what was given was not searched; what it gained since was not asked then.
    names = [name for name in asked if name in given or (name in attempt.config and not attempt.tuned)]
    pairs = {name: (attempt.config.get(name), asked[name]) for name in names}
    pairs = {f"methods.{attempt.method}.{name}": pair for name, pair in pairs.items()}
    pairs["budget"] = (shipped.report.plan.budget, settings.budget)
    pairs["floor"] = (shipped.report.plan.floor, settings.floor)
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _searched(shipped: Shipped) -> bool:
    """Return whether ``auto`` chose what a finished run ships."""
    return any(one.method == getattr(shipped.report.shipped, "method", "") for one in shipped.report.tuned)


def _finished(run: RunDirectory, shipped: Shipped) -> ForeignRun:
    attempt = shipped.report.shipped
    return ForeignRun(
        "this run is finished, and what it was made with is destroyed",
        where=run.folder.name,
        found=f"done by {attempt.method}" if attempt else "done",
        expected="a run that is not finished",
        fix="choose another --out",
    )
