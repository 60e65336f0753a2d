"""Tuning as stages of a run: each trial is one, so that a run that was killed goes on with the next."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from expunge.core import registry
from expunge.core.digest import sha256
from expunge.core.method import Cost
from expunge.core.plan import BY_RECIPE, Plan
from expunge.core.report import Tuned
from expunge.core.serial import canonical, plain
from expunge.engine.context import Context
from expunge.plan.auto import GLANCES, MOST, Candidate, ahead, candidates, order, others, spoken_for
from expunge.plan.objective import Objective
from expunge.plan.tune import TRIALS, Study, Trial
from expunge.workflow.settings import Settings
from expunge.workflow.stages import Stages

_TRIAL = re.compile(r"tuning-(.+)-[0-9a-f]{8}-\d+")
_STUDY = re.compile(r"tuning-(.+)-[0-9a-f]{8}-of-.+")


def course(
    stages: Stages, settings: Settings, plan: Plan, notes: list[str], *, blind: bool
) -> Iterator[tuple[str, Mapping[str, object] | None, str]]:
    """Yield what to try, in order: a method, its settings, and how these were found where neither user nor method says.

    The methods that ``auto`` chose are tuned before the first of them is tried, and come in the order of what tuning
    found, as many as fit with the search into the budget; ``notes`` get which did not. Where the audit is ``blind``,
    nothing is tuned: no verdict on a model would mean anything.
    """
    chosen = [option.method for option in plan.options if option.planned and option.tuned]
    recipe = {option.method for option in plan.options if option.planned and option.why == BY_RECIPE}
    first = spoken_for(stages.problem, settings.configs) if recipe else None
    tuned = False
    for name in plan.order:
        if first is not None and name == first.method:
            yield (
                name,
                first.base,
                f"settings of the recipe for texts, those of {first.start} in their place, not tuned",
            )
        elif name not in chosen or blind:
            yield name, settings.configs.get(name), ""
        elif not tuned:
            tuned = True
            most = settings.budget - plan.tuning
            searched = tune_all(stages, settings, plan.tuning, most=most)
            spent = sum(each.share for each in searched)
            for one in searched:
                if one.best is None and one.trials:
                    notes.append(_unusable(one))
                    stages.progress.say(notes[-1])
            for one in order(searched)[:MOST]:
                share = _share(stages, one)
                if spent + share > settings.budget * (1 + 1e-9):
                    done = "tuned and not" if one.trials else "neither tuned nor"
                    notes.append(
                        f"{one.method} was {done} tried: one run of it ({share:.0%} of one retraining) is more "
                        f"than the budget of {settings.budget:.0%} has left"
                    )
                    stages.progress.say(notes[-1])
                    continue
                spent += share
                yield one.method, one.config, one.sentence


def _unusable(one: Tuned) -> str:
    """Return why none of the settings that were found may be used, in words."""
    lost = [f"{many} {what}" for many, what in ((one.failed, "failed"), (one.cut, "cut short")) if many]
    rest = one.trials - one.failed - one.cut
    low = f"{rest} answered less than {one.floor:.1%} of held-out records rightly" if rest else ""
    return f"{one.method} was tuned and not tried: of {one.trials} trials {' and '.join([*lost, *filter(None, [low])])}"


def tune_all(stages: Stages, settings: Settings, budget: float, *, most: float) -> list[Tuned]:
    """Tune the methods that ``auto`` chose; each gets an equal share of what the ones before it have left.

    One trial each goes first to as many others as a part of the budget allows, and to them; where others do better than
    all of them at once, these are tuned in the place of the last ones. ``most`` is what one run of a method may cost:
    what tuning leaves of the whole budget.
    """
    chosen = candidates(stages.problem, settings.configs)
    rest = {each.method: each for each in others(stages.problem, settings.configs, chosen)}
    done: dict[str, Tuned] = {}
    for name, each in rest.items():
        left = budget * GLANCES - sum(one.share for one in done.values())
        study = _study(stages, settings, each, most, asked=False)
        if not study.allowed(left):  # nor do those that cost more
            break
        done[name] = _kept(stages, study, each, left, trials=1)
    left = budget - sum(one.share for one in done.values())
    first = [_kept(stages, _study(stages, settings, each, most), each, left / len(chosen), trials=1) for each in chosen]
    better = [rest[one.method] for one in ahead(first, list(done.values())) if rest[one.method].searched]
    done |= {one.method: one for one in first}
    slots = [*better, *chosen][: len(chosen)]
    for place, each in enumerate(slots):
        left = (budget - sum(one.share for one in done.values())) / (len(slots) - place)
        study = _study(stages, settings, each, most, asked=each.method not in rest)
        done[each.method] = _kept(stages, study, each, done[each.method].share + left)
    return list(done.values())


def _kept(stages: Stages, study: Study, candidate: Candidate, budget: float, *, trials: int = TRIALS) -> Tuned:
    """Return what at most so many trials find for at most ``budget`` of one retraining."""
    name = f"{_key(candidate, study.objective.asked)}-of-{budget:.6g}" + (f"-{trials}" if trials < TRIALS else "")
    return stages.run.stage(name, lambda: _summary(study, candidate, study.run(budget, trials)), Tuned)


def _study(stages: Stages, settings: Settings, candidate: Candidate, most: float, *, asked: bool = True) -> Study:
    """Return the study of a method of which one run may cost ``most``; one that nobody ``asked`` for may break.

    Raises:
        InvalidProblem: there is nothing to tune by.
    """
    whole = stages.retraining()
    assert whole is not None  # a problem with a trainer, whose passes were measured where it does not say them
    visible, choosing = stages.visible()
    return Study(
        method=candidate.method,
        problem=stages.problem,
        objective=Objective(visible, choosing, floor=settings.floor),
        context=lambda seed, label: Context(visible, seed, label, choosing, list, progress=stages.progress),
        whole=whole,
        seed=stages.seed,
        base=candidate.base,
        fixed=candidate.fixed,
        most=most,
        keep=lambda number, make: stages.run.stage(f"{_key(candidate, settings.floor)}-{number}", make, Trial),
        tolerant=not asked,
    )


def _key(candidate: Candidate, floor: float | None) -> str:
    """Return what the stages of a study are called: under another floor trials are other ones from the second on."""
    what = candidate if floor is None else (candidate, floor)
    return f"tuning-{candidate.method}-{sha256(canonical(what))[:8]}"


def found(stages: Stages, floor: float | None) -> tuple[Tuned, ...]:
    """Return what this run directory found, by method the latest, each with the cost of all its trials.

    Of studies with several floors that with this one, where there is one: what a run with another found is another's.
    """
    whole = stages.retraining()
    finished = [str(event["stage"]) for event in stages.run.events if event["event"] == "finished"]
    latest: dict[str, Tuned] = {}
    for name in finished:
        one = stages.read(name, Tuned) if _STUDY.fullmatch(name) is not None else None
        if one is not None and (one.asked == floor or latest.get(one.method, one).asked != floor):
            latest[one.method] = one
    trials = [(m[1], stages.read(name, Trial)) for name in finished if (m := _TRIAL.fullmatch(name)) is not None]
    summed = {name: sum((t.cost for of, t in trials if of == name), Cost()) for name in latest}
    return tuple(
        replace(one, cost=summed[name], share=summed[name].share_of(whole) if whole else one.share)
        for name, one in latest.items()
    )


def _share(stages: Stages, one: Tuned) -> float:
    """Return what one run with the settings found costs, as a share of one retraining."""
    whole = stages.retraining()
    assert whole is not None
    return float(registry.load("methods", one.method)(one.config).cost(stages.problem).share_of(whole))


def _summary(study: Study, candidate: Candidate, trials: list[Trial]) -> Tuned:
    best, kind = study.best(trials), registry.load("methods", candidate.method)
    look = best.look if best is not None else None
    cost = sum((trial.cost for trial in trials), Cost())
    config = study.lengthened(best.config) if best is not None else plain(kind(candidate.base).config)
    return Tuned(
        method=candidate.method,
        title=kind.title,
        start=candidate.start,
        searched=tuple(study.ranges),
        trials=len(trials),
        cut=sum(trial.state == "cut short" for trial in trials),
        failed=sum(trial.state == "failed" for trial in trials),
        best=best.number if best is not None else None,
        config=config,
        match=look.match if look else 0.0,
        harm=look.harm if look else 0.0,
        accuracy=look.accuracy if look else 0.0,
        original=study.objective.original.match if trials else 0.0,
        floor=study.floor if trials else 0.0,
        asked=study.objective.asked,
        missing=study.objective.missing,
        cost=cost,
        share=cost.share_of(study.whole),
        anew=kind(config).anew(study.problem),
    )
