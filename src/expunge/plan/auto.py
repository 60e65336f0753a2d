"""``auto``: which methods to tune on a problem, and in which order to try what tuning found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from expunge.core import registry
from expunge.core.errors import Obstacle
from expunge.core.level import Level
from expunge.core.method import Method
from expunge.core.problem import Problem
from expunge.core.report import Tuned
from expunge.engine.loop import batch_sizes
from expunge.engine.training import settings_of
from expunge.plan import recipes
from expunge.plan.objective import FLOOR
from expunge.plan.tune import space

AUTO = "auto"
"""What is named in the place of a method."""
MOST = 3
"""Methods that are tuned: each further one takes from the trials of the others."""
GLANCES = 0.25
"""Share of what tuning may spend that goes to one trial each of other methods, those that cost least first."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A method to tune.

    Attributes:
        method: its name.
        base: settings to start from: those of a recipe, with those that suit the problem in their place, and in the
            place of these the user's; no larger batches than the training's, unless they are the user's.
        fixed: those that are not searched: the user's, and what the problem settles.
        start: where the others come from, in words.
    """

    method: str
    base: Mapping[str, object]
    fixed: tuple[str, ...]
    start: str

    @property
    def searched(self) -> bool:
        """Whether the method has settings that can be searched."""
        return bool(space(registry.load("methods", self.method)))


def candidates(problem: Problem, configs: Mapping[str, Mapping[str, object]]) -> tuple[Candidate, ...]:
    """Return the methods to tune, at most :data:`MOST`, those that the recipes speak for first.

    Any method with settings to search, no guarantee of its own, and nothing that keeps it from the problem. Those with
    a recipe for the case come first, then those with one for another case, each by what the recipe measured, then the
    rest by cost. The user's own settings are kept, and not searched.
    """
    case = recipes.case_of(problem)
    ours, others = recipes.for_case(case), {r.method: r for r in reversed(recipes.shipped())}
    found = []
    for one, spent in _possible(problem, configs, case):
        if one.searched:
            known = ours.get(one.method) or others.get(one.method)
            near = known.measured.gap if known else 0.0
            found.append(((one.method not in ours, known is None, near, spent, one.method), one))
    return tuple(one for _, one in sorted(found, key=lambda each: each[0])[:MOST])


def others(
    problem: Problem, configs: Mapping[str, Mapping[str, object]], chosen: Sequence[Candidate]
) -> tuple[Candidate, ...]:
    """Return the methods that are possible beside the ``chosen`` ones, those that cost least first.

    What a recipe measured on one kind of data need not hold on another: where one of these does better at first sight
    than all that the recipes speak for, it is tuned in the place of the last of them (:func:`ahead`). Of texts there
    are none: how hard to push them is found in several trials, and at first sight no method does well. Nor is another
    short retraining one where one is chosen: it ends as near, and would take the place of a method of another kind.
    """
    taken, case = {each.method for each in chosen}, recipes.case_of(problem)
    if case == "texts":
        return ()
    retrains = any(_anew(problem, each) for each in chosen)
    possible = _possible(problem, configs, case, tolerant=True)
    found = [(spent, one.method, one) for one, spent in possible if not (retrains and _anew(problem, one))]
    return tuple(one for _, name, one in sorted(found, key=lambda each: each[:2]) if name not in taken)


def ahead(chosen: Sequence[Tuned], glanced: Sequence[Tuned]) -> list[Tuned]:
    """Return which of the others do better in their one trial than each of the ``chosen`` in its first, best first."""
    best = min((preference(t.value, anew=t.anew, harm=t.harm) for t in chosen if t.best is not None), default=None)
    return [t for t in order(glanced) if best is None or preference(t.value, anew=t.anew, harm=t.harm) < best]


def _anew(problem: Problem, one: Candidate) -> bool:
    method: Method = registry.load("methods", one.method)(one.base)
    return method.anew(problem)


def _possible(
    problem: Problem, configs: Mapping[str, Mapping[str, object]], case: str, *, tolerant: bool = False
) -> Iterator[tuple[Candidate, float]]:
    """Yield every method that can act on the problem and has no guarantee of its own, and what a run of it costs.

    Where ``tolerant``, one that breaks when it is asked is none; the user has not named it, and others remain.
    """
    for name in registry.names("methods"):
        kind: type[Method] = registry.load("methods", name)
        try:
            one = candidate(problem, case, name, configs.get(name, {}))
            method = kind(one.base)
            if kind.control or method.guarantee_on(problem) is not Level.AUDITED or method.obstacles(problem):
                continue
            cost = method.cost(problem)
        except Exception:
            if tolerant and name not in configs:
                continue
            raise
        yield one, 3 * cost.trained + cost.read


def spoken_for(problem: Problem, configs: Mapping[str, Mapping[str, object]]) -> Candidate | None:
    """Return what is tried first where nobody names a method: on texts what the recipes for them found nearest.

    On texts the methods that are cheap and come with settings of their own leave most of the tokens. What a recipe
    found suits another training only in its ratios to that one, so None where the settings of the training are unknown;
    and on anything else.
    """
    if not problem.forget_ids or settings_of(problem) is None or recipes.case_of(problem) != "texts":
        return None
    known = (candidate(problem, "texts", name, configs.get(name, {})) for name in recipes.for_case("texts"))
    return next((one for one in known if not registry.load("methods", one.method)(one.base).obstacles(problem)), None)


def candidate(problem: Problem, case: str, name: str, given: Mapping[str, object]) -> Candidate:
    """Return a method with the settings that a search begins with, on a problem of the ``case``; ``given`` by the user.

    A case that is none, ``""``, has no recipe. Papers' batches suit tens of thousands of records, and make a step or
    two an epoch of a few hundred: they are no larger than the training's, where the trainer says these.
    """
    kind: type[Method] = registry.load("methods", name)
    recipe, trained = recipes.for_case(case).get(name), kind.start(problem)
    base = {**(recipe.config if recipe else {}), **trained, **given}
    if (training := settings_of(problem)) is not None:
        larger = (each for each, size in batch_sizes(kind(base).config).items() if size > training.batch_size)
        base.update({each: training.batch_size for each in larger if each not in given})
    start = "the training" if trained else f"the recipe for {case}" if recipe else "the method's own"
    # A rate that follows from the training suits its optimiser, and weights: adapters want another one.
    settled = set() if {"lora", "optimiser"} & given.keys() else kind.settled & trained.keys()
    return Candidate(method=name, base=base, fixed=tuple(sorted({*given, *settled})), start=start)


def obstacles(problem: Problem) -> list[Obstacle]:
    """Return what keeps a problem from being tuned, before any work."""
    found = []
    if problem.trainer is None:
        found.append(
            Obstacle(
                what="the budget of tuning is a share of one retraining, and what that costs is unknown",
                where=f"method {AUTO}",
                found="no trainer",
                expected="a trainer",
                fix="give the problem its trainer, or name a method and its settings",
            )
        )
    if problem.held_out is None or not len(problem.held_out):
        found.append(
            Obstacle(
                what="nothing to tune by: forgotten records are compared with held-out ones of their classes",
                where=f"method {AUTO}",
                found="no holdout",
                expected="records that the model was never trained on",
                fix="give the problem a holdout, or name a method and its settings",
            )
        )
    return found


def order(tuned: Sequence[Tuned]) -> list[Tuned]:
    """Return what to try, the smallest objective first; what was not tuned last, what no trial may do not at all."""
    usable = [each for each in tuned if each.best is not None or not each.trials]
    return sorted(usable, key=lambda t: (t.best is None, *preference(t.value, anew=t.anew, harm=t.harm), t.method))


def preference(value: float, *, anew: bool, harm: float) -> tuple[bool, float]:
    """Return what settings are ordered by, the smallest first.

    Before all others what leaves nothing of the original, if it loses no more than such a model may. The objective asks
    whether forgotten records are answered as held-out ones are, and guesses there by what is the same for both: what
    was never read is answered as it would be.
    """
    return not (anew and harm <= 2 * FLOOR), value
