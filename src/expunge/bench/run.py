"""Running a benchmark: what is missing is made, several cells at a time; what is there is left alone."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from expunge import workflow
from expunge.bench import measures
from expunge.bench.cell import Cell, Judged, Quality, State, place
from expunge.bench.entries import Entry
from expunge.bench.site import Site
from expunge.core import registry
from expunge.core.errors import BrokenTrainer, Diverged, ExpungeError, InvalidProblem, Obstacle, fault_of_method
from expunge.core.method import Cost, Method
from expunge.core.outcome import Outcome
from expunge.core.problem import Problem
from expunge.core.report import Attempt, Report
from expunge.core.serial import build, canonical, plain
from expunge.core.storage import write_file, write_folder
from expunge.engine import references
from expunge.engine.context import Context
from expunge.engine.progress import Progress
from expunge.engine.references import Retrained
from expunge.engine.runs import Artefact
from expunge.engine.runtime import Turns, Workers, cores, resolve, seed_everything
from expunge.engine.split import Part, split
from expunge.numerics.forgetting import MIN_MODELS, Rule, forgetting
from expunge.plan import auto
from expunge.workflow import Choice

Key = tuple[str, str, int]


def run(site: Site, *, workers: int | None = None, progress: Progress | None = None) -> list[Cell]:
    """Make every cell that is missing and return all of them, in the order of the grid.

    Where a scenario has no work for a core, the next one has; where both have, the earlier one goes first.

    Args:
        site: the results directory.
        workers: cells at a time, each in a process of its own; the number of cores by default.
        progress: told of each step, by several threads.

    Raises:
        ForeignRun: what is there was measured in another way.
        ExpungeError: something other than one cell failed (no data, no room on the disk); what is done stays.
    """
    site.current()
    scenarios, count = site.bench.scenarios, workers or cores()
    shared = _Shared(progress or Progress(), Site(site.bench, site.folder))
    # What is judged is reopened in processes in which no method ever ran.
    with (
        ThreadPoolExecutor(len(scenarios)) as threads,
        _pool(site, count) as makers,
        _pool(site, count) as judges,
        closing(Turns(count)) as turns,
    ):
        if not makers.spawns:
            for scenario in scenarios:
                _scenario(site, scenario, makers, judges, shared)
            return cells(site)
        lanes = [
            threads.submit(_scenario, site, one, makers.in_turn(turns, rank), judges.in_turn(turns, rank), shared)
            for rank, one in enumerate(scenarios)
        ]
        for lane in as_completed(lanes):
            lane.result()
    return cells(site)


@dataclass(frozen=True)
class _Shared:
    """What the scenarios share: who is told, what is opened in this process, and whose turn it is to draw."""

    progress: Progress
    opened: Site
    drawing: Lock = field(default_factory=Lock)


def _scenario(site: Site, scenario: str, makers: Workers, judges: Workers, shared: _Shared) -> None:
    """Make what is missing of a scenario: its cells, and the forgetting qualities of its methods."""
    bench, progress = site.bench, shared.progress
    todo = [key for key in grid(site) if key[0] == scenario and not _file(site, key).exists()]
    pairs = list(dict.fromkeys((scenario, seed) for _, _, seed in todo))
    with shared.drawing:  # some have originals in common, and numbers that records are chosen by
        reasons = _all(makers, progress, f"{scenario}: draw, and train originals", "begin", pairs, first=True)
    fit = [pair for pair in pairs if pair not in reasons]
    broken = refer(shared.opened, scenario, makers, progress) if fit else ""
    reasons |= {pair: broken for pair in fit if broken}
    sound = [] if broken else fit
    asked = [(scenario, index) for index in range(bench.judges)] if sound else []
    _all(judges, progress, f"{scenario}: ask references", "ask", asked)
    reasons |= _all(judges, progress, f"{scenario}: audit originals", "lay", sound)
    for key in todo:
        if (scenario, key[2]) in reasons:
            _write(site, _without(key, State.IMPOSSIBLE, reasons[scenario, key[2]]))
    for pool, name in ((makers, "forget"), (judges, "judge")):
        left = [key for key in todo if not _file(site, key).exists()]
        _all(pool, progress, f"{scenario}: {name}", name, left)
    if bench.models:
        made = Counter(cell.method for cell in cells(site) if cell.scenario == scenario and cell.verdict)
        wanted = [(scenario, m) for m, count in made.items() if count == bench.seeds]  # of each seed there is a model
        missing = [pair for pair in wanted if not _quality(site, *pair).exists()]
        _all(makers, progress, f"{scenario}: forgetting quality", "rate", missing)


def _pool(site: Site, workers: int | None) -> AbstractContextManager[Workers]:
    return closing(Workers(site, workers))


def grid(site: Site) -> list[Key]:
    """Return (scenario, method, seed) of every cell."""
    bench = site.bench
    return [(s, m, seed) for s in bench.scenarios for m in bench.methods for seed in range(bench.seeds)]


def cells(site: Site) -> list[Cell]:
    """Return the finished cells, in the order of the grid."""
    files = (_file(site, key) for key in grid(site))
    return [build(Cell, json.loads(file.read_text()), where=file.name) for file in files if file.exists()]


def qualities(site: Site) -> list[Quality]:
    """Return the forgetting qualities that were measured, in the order of the grid."""
    files = (_quality(site, s, m) for s in site.bench.scenarios for m in site.bench.methods)
    return [build(Quality, json.loads(file.read_text()), where=file.name) for file in files if file.exists()]


def begin(site: Site, scenario: str, seed: int) -> str:
    """Draw a scenario and train the original; return why that cannot be, or nothing."""
    try:
        site.problem(scenario, seed)
    except InvalidProblem as error:
        return _said(error)
    return ""


class _Lent(Workers):
    """Workers that hold a benchmark, lent to one of its scenarios, whose problem they open."""

    def __init__(self, pool: Workers, scenario: str) -> None:
        self._lender, self._scenario = pool, scenario

    def map(self, name: str, arguments: Sequence[tuple[Any, ...]]) -> Iterator[tuple[int, Any]]:
        """Call ``module:function(problem, *arguments)`` for each tuple; yield (index, result) as they finish."""
        return self._lender.map(f"{__name__}:on", [(self._scenario, name, *each) for each in arguments])


def on(site: Site, scenario: str, name: str, *arguments: Any) -> Any:
    """Return ``module:function(problem, *arguments)`` on the problem of a scenario."""
    return resolve(name)(site.problem(scenario, 0), *arguments)


def refer(site: Site, scenario: str, pool: Workers, progress: Progress) -> str:
    """Train the references of a scenario, several at a time; return why that cannot be, or nothing.

    What the ``site`` opens is kept on it: it is not the one that crosses to other processes.
    """
    try:
        site.references(scenario, workers=_Lent(pool, scenario), progress=progress)
    except (InvalidProblem, BrokenTrainer, Diverged) as error:
        return _said(error)
    return ""


def ask(site: Site, scenario: str, index: int) -> str:
    """Ask a reference about every record."""
    site.heard(scenario, index)
    return ""


def lay(site: Site, scenario: str, seed: int) -> str:
    """Audit the original; return why that cannot be, or nothing."""
    try:
        site.base(scenario, seed)
    except InvalidProblem as error:
        return _said(error)
    return ""


def forget(site: Site, scenario: str, method: str, seed: int) -> str:
    """Run the method of one cell and save its model; a cell without a model is written down."""
    key = (scenario, method, seed)
    try:
        _forget(site, key)
    except (InvalidProblem, Diverged) as error:
        impossible = isinstance(error, InvalidProblem)
        _write(site, _without(key, State.IMPOSSIBLE if impossible else State.FAILED, _said(error)))
    except ExpungeError:
        raise
    except Exception as error:  # noqa: BLE001  # a method's own fault is a result of that method, not the grid's end
        _write(site, _without(key, State.FAILED, f"{type(error).__name__} in the method"))
    return ""


def judge(site: Site, scenario: str, method: str, seed: int) -> str:
    """Audit the model of one cell and write the cell down."""
    _write(site, _judged(site, (scenario, method, seed)))
    return ""


def rate(site: Site, scenario: str, method: str) -> str:
    """Measure the forgetting quality of a method by the models that it gives, and write it down with what failed."""
    phi, failed = [], Counter[str]()
    for index in range(site.bench.models):
        number = index % site.bench.seeds
        problem = site.problem(scenario, number)
        seed = references.seed_of(index, f"bench quality {method}", 0)
        try:
            again = _rated(site, problem, (scenario, method, number))
            choosing = split(problem, seed)[0]
            model = _in_a_row(site, problem, scenario, again, seed, choosing)[0].model
            phi.append(_finite(measures.said(problem, model, problem.forget_view).confidence))
        except Exception as error:
            why = fault_of_method(error)
            if not why:
                raise
            failed[why] += 1
    quality = Quality(scenario=scenario, method=method, models=len(phi), failed=failed)
    if len(phi) >= MIN_MODELS:
        retrained = [_finite(site.heard(scenario, index).forget.confidence) for index in range(len(phi))]
        found = forgetting(np.stack(phi), retrained=np.stack(retrained), rule=Rule.COMPETITION)
        quality = replace(
            quality,
            quality=found.quality,
            null=found.null_quality,
            deviation=found.null_deviation,
            p_value=found.p_value,
        )
    write_file(_quality(site, scenario, method), canonical(quality))
    return ""


def _finite(confidence: np.ndarray) -> np.ndarray:
    """Return the confidence of a model in each record to forget, [N], as it is.

    Raises:
        Diverged: it is NaN or infinite.
    """
    if not np.isfinite(confidence).all():
        raise Diverged("the answers of the model are NaN or infinite")
    return confidence


def _rated(site: Site, problem: Problem, key: Key) -> Method:
    """Return a method with the settings of a cell; what ``auto`` found in that cell is not searched again.

    Raises:
        InvalidProblem: ``auto`` found nothing there.
    """
    entry = Entry.of(key[1])
    if not entry.tuned:
        found: Method = registry.load("methods", entry.method)(
            entry.configs(problem, site.bench.configs).get(entry.method)
        )
        return found
    cell = build(Cell, json.loads(_file(site, key).read_text()), where="cell.json")
    if not cell.chosen:
        raise InvalidProblem([Obstacle(what="auto found nothing to run with this seed", where=cell.name)])
    again: Method = registry.load("methods", cell.chosen)(cell.config)
    return again


def _all(
    pool: Workers, progress: Progress, label: str, name: str, jobs: Iterable[tuple[Any, ...]], *, first: bool = False
) -> dict[tuple[Any, ...], str]:
    """Call a function of this module for each job; return the reasons of those that could not be done.

    With ``first`` one job goes ahead: it makes what all of them share.
    """
    todo, reasons = list(jobs), dict[tuple[Any, ...], str]()
    if not todo:
        return reasons
    progress.start(label, len(todo))
    parts = [todo[:1], todo[1:]] if first else [todo]
    for part in parts:
        for index, reason in pool.map(f"{__name__}:{name}", part):
            if reason:
                reasons[part[index]] = reason
            progress.advance(label)
    progress.finish(label)
    return reasons


def _forget(site: Site, key: Key) -> None:
    scenario, label, seed = key
    problem, run = site.problem(scenario, seed), site.folder / place(*key) / "run"
    entry = Entry.of(label)
    configs = entry.configs(problem, site.bench.configs)
    wrong = _obstacles(problem, entry, configs)
    if wrong:
        raise InvalidProblem(wrong)
    site.fork(site.base(scenario, seed), run)
    settings = {**site.settings(scenario, seed), "configs": configs}
    if len(site.draw(scenario).requests) == 1:
        workflow.attempt(problem, out=run, methods=(entry.method,), **settings)
    elif not (run.parent / "steps.json").exists():
        made = Choice(entry.method, configs.get(entry.method, {}), 0.0)
        if entry.tuned:  # once, by the choosing part of all of them: what each request had to choose by would be judged
            made = workflow.choose(problem, out=run, methods=(entry.method,), **settings)
        method: Method = registry.load("methods", made.method)(made.config)
        outcome, share, seconds = _in_a_row(site, problem, scenario, method, seed, split(problem, seed)[0])
        write_folder(run.parent / "model", lambda aside: problem.source.save(outcome.model, aside))
        tuning = made.share / len(site.draw(scenario).requests)
        found = {"share": None if share is None else share + tuning, "seconds": seconds}
        if entry.tuned:
            found |= {"tuning": tuning, "chosen": made.method, "config": plain(method.config)}
        write_file(run.parent / "steps.json", canonical(found))


def _obstacles(problem: Problem, entry: Entry, configs: Mapping[str, Mapping[str, Any]]) -> list[Obstacle]:
    if entry.tuned:
        return auto.obstacles(problem)
    method: Method = registry.load("methods", entry.method)(configs.get(entry.method))
    return method.obstacles(problem)


def _judged(site: Site, key: Key) -> Cell:
    scenario, label, seed = key
    problem, run = site.judged(scenario, seed), site.folder / place(*key) / "run"
    entry = Entry.of(label)
    settings = {**site.settings(scenario, seed), "configs": entry.configs(problem, site.bench.configs)}
    steps = run.parent / "steps.json"
    if steps.exists():
        result = workflow.audit(problem, model=run.parent / "model", out=run, **settings)
    else:
        result = workflow.judge(problem, out=run, methods=(entry.method,), keep=True, **settings)
    assert result.report is not None
    attempt = result.report.attempts[-1]
    if not attempt.audits:
        return _without(key, State.FAILED, attempt.outcome.stopped.removeprefix("failed: "))
    audit = attempt.audits[-1]
    model = problem.source.reopen(run / "artefacts" / f"attempt-{attempt.number}")
    scores = site.scores(problem, measures.listen(problem, model), seed=seed)
    retrained = site.yardstick(scenario, seed).references
    if steps.exists():
        cost = json.loads(steps.read_text())
    else:
        cost = _cost(result.report, attempt, run)
        cost |= {"chosen": attempt.method if entry.tuned else "", "config": dict(attempt.config)}
    return Cell(
        scenario=scenario,
        method=label,
        seed=seed,
        state=State.DONE,
        verdict=audit.verdict.value,
        checks=Judged.of(audit),
        scores={**scores, **measures.gaps(scores, retrained)} if retrained else scores,
        run=f"{place(*key)}/run",
        **cost,
    )


def _in_a_row(
    site: Site, problem: Problem, scenario: str, method: Method, seed: int, choosing: Part
) -> tuple[Outcome, float | None, float]:
    """Carry out the requests of a scenario one after the other, each on the model that the one before left.

    Of all of them only what lies in the ``choosing`` part is chosen by: what judges at the end no request was shown.

    Returns:
        (the last outcome, mean work of a request as a share of one retraining, seconds).
    """
    requests = site.draw(scenario).requests
    model, gone = problem.source.open(), list[str]()
    spent, start, outcome = Cost(), time.perf_counter(), Outcome()
    for index, request in enumerate(requests):
        step = _step(problem, model, request, gone=gone)
        mine = choosing.forget.select([name for name in choosing.forget.ids if name in set(request)])
        part = Part(mine, choosing.holdout)
        outcome = _unlearn(step, method, references.seed_of(seed, f"bench request {method.name}", index), part)
        model, gone, spent = outcome.model, [*gone, *request], spent + outcome.cost
    passes = float(getattr(problem.trainer, "passes", 0.0))
    whole = Cost(trained=passes * len(problem.retain_view))
    share = spent.share_of(whole) / len(requests) if passes else None
    return outcome, share, time.perf_counter() - start


def _step(problem: Problem, model: Any, request: Sequence[str], *, gone: Sequence[str]) -> Problem:
    """Return the problem of one request of several, on the model that those before left; their records are ``gone``."""
    mine = set(request)
    corrections = {record: label for record, label in problem.request.corrections.items() if record in mine}
    return replace(
        problem,
        model=model,
        train=problem.records.without(gone),
        forget=request,
        origin=None,
        request=replace(problem.request, corrections=corrections),
    )


def _unlearn(problem: Problem, method: Method, seed: int, choosing: Part) -> Outcome:
    """Run a method without a run directory, with no model retrained for its choices."""

    def retrain(chosen: int) -> tuple[Any, Retrained]:
        assert problem.trainer is not None
        model = problem.trainer(problem.retain_view, seed=chosen)
        passes = float(getattr(problem.trainer, "passes", 0.0))
        return model, Retrained(Artefact("", "", {}), chosen, Cost(trained=passes * len(problem.retain_view)))

    visible = replace(problem, holdout=choosing.holdout)
    context = Context(
        problem=visible, seed=seed, label=method.name, choosing=choosing, choosing_models=list, retrain=retrain
    )
    seed_everything(seed)
    return method.unlearn(visible, context)


def _cost(report: Report, attempt: Attempt, run: Path) -> dict[str, Any]:
    """Return the work of an attempt, with tuning and the models that were retrained for its choices; its seconds."""
    whole, share, tuning = report.plan.retraining, attempt.share, sum(one.share for one in report.tuned)
    if whole is not None and share is not None:
        chosen = [line.cost for line in report.costs if line.what.startswith("references for choosing")]
        share += tuning + sum(cost.share_of(whole) for cost in chosen)
    events = map(json.loads, (run / "events.jsonl").read_text().splitlines())
    seconds = [e["took"] for e in events if e["event"] == "worked" and e["attempt"] == attempt.number]  # one a start
    return {"share": share, "tuning": tuning, "seconds": float(max(seconds)) if seconds else None}


def _said(error: ExpungeError) -> str:
    return "; ".join(
        one.what + (f" (found {one.found}; needs {one.expected})" if one.expected else "") for one in error.obstacles
    )


def _without(key: Key, state: State, because: str) -> Cell:
    return Cell(scenario=key[0], method=key[1], seed=key[2], state=state, because=because)


def _write(site: Site, cell: Cell) -> None:
    write_file(site.folder / cell.name / "cell.json", canonical(cell))


def _file(site: Site, key: Key) -> Path:
    return site.folder / place(*key) / "cell.json"


def _quality(site: Site, scenario: str, method: str) -> Path:
    return site.folder / "quality" / scenario / f"{method}.json"
