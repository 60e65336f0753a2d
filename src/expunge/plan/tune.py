"""Tuning: settings of a method that suit a problem, searched without a retrained model.

A study tries a method with other settings within their declared ranges (``search``), on the choosing part, and keeps
the settings for which the objective (``plan/objective``) is smallest. Proposals come from Optuna's tree-structured
Parzen estimator (Bergstra et al. 2011, NeurIPS 24). How hard a method pushes texts is found before: harder as long as
forgotten texts are answered surer than strangers, less hard if not. A trial that is worse after 1, 2, 4, ...
epochs than the median of the earlier ones is cut short (Golovin et al. 2017, KDD, section 3.2.2), unless the method is
one that gets worse before it gets better. All work is counted in record visits, the looks included.

Trial k is a function of seed, method and the trials before it, so a study that was interrupted goes on as if it had not
been; what a trial found is kept as JSON by whoever runs the study.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, get_type_hints

from expunge.core import registry
from expunge.core.errors import UNABLE, Diverged, fault_of_method
from expunge.core.method import Cost, Method
from expunge.core.problem import Problem
from expunge.core.serial import plain
from expunge.engine.context import Context
from expunge.engine.references import seed_of
from expunge.plan.objective import Look, Objective

TRIALS = 40
"""Of one method at the most, however cheap they are."""
STARTUP = 4
"""Trials before Optuna's proposals follow from earlier ones, and before any is cut short."""
LOGARITHMIC = 20.0
"""Ranges of more than this factor are searched on a logarithmic scale."""
PASSES = ("epochs", "repairs")
"""Settings that say how often records are passed through: of these fewer are tried where the budget asks for it."""
ALIKE = 0.05
"""Where forgotten texts and strangers lean less than this, it is found how hard to push."""
APART = 3.0
"""Factor by which it is changed while a single trial is known; twice at once at the most."""
FURTHER = 1.25
"""Factor by which it is pushed further from there, as long as that is better."""
PUSHES = 6
"""Trials that say how hard to push, the first among them, at the most."""
SURE = 0.005
"""A forgotten text is the surer one of no fewer, and no more, than this share of pairs: all is what few pairs say."""
_NOT_ALLOWED = 3.0
"""Added for the search to the value of what is not allowed, which is 2 at the most."""


@dataclass(frozen=True)
class Range:
    """Where a setting is searched, both ends included; ``whole`` numbers only, or on a ``log`` scale."""

    low: float
    high: float
    whole: bool
    log: bool

    @classmethod
    def of(cls, low: float, high: float, *, whole: bool) -> Range:
        """Return the range with the scale that goes with its ends."""
        return cls(low, high, whole, low > 0 and high > LOGARITHMIC * low)


def space(method: type[Method], fixed: Sequence[str] = ()) -> dict[str, Range]:
    """Return the declared range of every setting of a method that is searched, but for those that are ``fixed``."""
    hints = get_type_hints(method.Config)
    found = {}
    for field in dataclasses.fields(method.Config):
        ends = field.metadata.get("search")
        if ends is not None and field.name not in fixed:
            found[field.name] = Range.of(*ends, whole=hints[field.name] is int)
    return found


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One run of a method on the choosing part.

    Attributes:
        number: 1, 2, ... within its study.
        config: its settings, all of them.
        state: ``finished``, ``cut short``, or ``failed``, and ``why`` in words.
        look: what the objective says of the model, None unless finished.
        steps: what the search was told after an epoch, by epoch.
        cost: its whole work; of a failed one what it would have cost to the end.
    """

    number: int
    config: Mapping[str, object]
    state: str
    why: str
    look: Look | None
    steps: Mapping[str, float]
    cost: Cost


@dataclass(frozen=True, kw_only=True)
class Study:
    """Trials of one method on one problem.

    Attributes:
        method: its name.
        problem: the whole one, by which work is told; a trial sees of it what its context shows.
        objective: what is made small.
        context: ``(seed, label) -> run`` that a trial is given; without retrained models.
        whole: the work of one retraining.
        base: the settings to start from; what is not searched stays as it is there.
        fixed: settings that are not searched.
        seed: of the study.
        most: what one run of the method may cost, as a share of one retraining; dearer settings are not tried.
        keep: ``(number, make) -> trial``: makes it, or returns what an earlier command kept under this number.
        prune: whether trials are cut short.
        tolerant: whether a method that cannot be run here, or breaks, is a failed trial and nothing more.
    """

    method: str
    problem: Problem
    objective: Objective
    context: Callable[[int, str], Context]
    whole: Cost
    seed: int
    base: Mapping[str, object] = dataclasses.field(default_factory=dict)
    fixed: tuple[str, ...] = ()
    most: float = math.inf
    keep: Callable[[int, Callable[[], Trial]], Trial] = lambda number, make: make()
    prune: bool = True
    tolerant: bool = False

    @property
    def ranges(self) -> dict[str, Range]:
        """What is searched; a range is widened to hold what the study starts from."""
        start = plain(self._method(self.base).config)
        found = space(registry.load("methods", self.method), self.fixed)
        return {name: self._widened(each, float(start[name])) for name, each in found.items()}

    @property
    def floor(self) -> float:
        """The lowest accuracy of a trial.

        What cannot know the records may lose twice as much, since retraining may, too; unless a floor was asked for.
        """
        floor = self.objective.floor
        twice = self._anew and self.objective.asked is None
        return floor - (self.objective.original.accuracy - floor if twice else 0.0)

    def allowed(self, budget: float) -> bool:
        """Return whether ``budget`` (a share of one retraining) holds a trial."""
        return self._fitted({**self.base}, budget * (1 + 1e-9), 1) is not None

    def run(self, budget: float, trials: int = TRIALS) -> list[Trial]:
        """Return the trials, in order, that ``budget`` (a share of one retraining) allows; at most so many."""
        done: list[Trial] = []
        left = budget * (1 + 1e-9)
        while len(done) < (trials if self.ranges else min(1, trials)):
            number = len(done) + 1
            held = self._held(done) if done else None
            asked = self._asked(done, held) if done else None
            params = asked.params if asked is not None else {}
            config = self._fitted({**self.base, **params}, left, number)
            # With fewer passes it would say nothing of how hard to push: the rest is for other methods.
            if config is None or (held is not None and any(config[name] != params[name] for name in params)):
                break
            watched = asked if held is None else None  # one that is cut short says nothing of how hard to push
            trial = self.keep(number, lambda n=number, c=config, a=watched: self._trial(n, c, a))
            left -= trial.cost.share_of(self.whole)
            done.append(trial)
        return done

    def best(self, done: Sequence[Trial]) -> Trial | None:
        """Return the trial with the smallest objective among those that may be used; None where none may."""
        usable = [
            (self._value(t.look), t.number, t)
            for t in done
            if t.look is not None and not t.look.below(self.floor) and self._affordable(t.config)
        ]
        return min(usable, default=(0.0, 0, None), key=lambda each: each[:2])[2]

    def lengthened(self, config: Mapping[str, object]) -> Mapping[str, object]:
        """Return settings of what cannot know the records with as many epochs as a run may cost, or its start has.

        A trial is bounded by what is left of the search as well, and longer training is the one way that is known to
        lead towards retraining.
        """
        most = plain(self._method(self.base).config).get("epochs", 0)
        while self._anew and (epochs := int(str(config["epochs"]))) < int(str(most)):
            longer = {**config, "epochs": epochs + 1}
            if not self._affordable(longer):
                break
            config = longer
        return config

    # --- one trial ---------------------------------------------------------------------------------------------

    def _trial(self, number: int, config: Mapping[str, object], asked: Any) -> Trial:
        method, objective = self._method(config), self.objective
        run = self.context(seed_of(self.seed, f"tuning {self.method}", number), f"tune {self.method}: trial {number}")
        steps: dict[str, float] = {}
        cut: list[str] = []

        def watch(model: Any, epoch: int) -> str:
            if not _looked_at(epoch):
                return ""
            run.spent += objective.cost
            steps[str(epoch)] = self._told(objective.look(model))
            asked.report(steps[str(epoch)], epoch)
            if asked.should_prune():
                cut.append(f"after {epoch} epochs worse than half of the earlier trials were then")
            return cut[-1] if cut else ""

        if asked is not None and self._prunes(method):
            run.watch = watch
        first = objective.cost if number == 1 else Cost()  # the original is looked at once
        told: dict[str, Any] = {"number": number, "config": plain(method.config)}
        _ = self.floor  # raises where there is nothing to tune by, which is no fault of the method
        try:
            outcome = method.unlearn(run.problem, run)
            look = None if cut else self._seen(outcome.model)
        except Exception as error:
            # What is wrong with a method is told to whoever asked for it; of others it is a reason to leave them.
            why = fault_of_method(error)
            if not why or not (isinstance(error, UNABLE) or self.tolerant):
                raise
            cost = first + method.cost(self.problem)
            return Trial(**told, state="failed", why=why, look=None, steps=steps, cost=cost)
        cost = first + outcome.cost
        if look is None:
            return Trial(**told, state="cut short", why=cut[0], look=None, steps=steps, cost=cost)
        cost += objective.cost
        return Trial(**told, state="finished", why=outcome.stopped, look=look, steps=steps, cost=cost)

    def _seen(self, model: Any) -> Look:
        look = self.objective.look(model)
        if not math.isfinite(look.value + look.accuracy):
            raise Diverged("the model answers with NaN or infinite numbers")
        return look

    @cached_property
    def _anew(self) -> bool:
        return self._method(self.base).anew(self.problem)

    def _value(self, look: Look) -> float:
        """Return what is made small; of a model that cannot know the records no match: it says how unusual they are."""
        return look.harm if self._anew else look.value

    def _told(self, look: Look) -> float:
        """Return what the search is told: what is not allowed is worse than all that is, by how far it is off."""
        off = look.below(self.floor)
        return self._value(look) + (_NOT_ALLOWED + off if off > 0 else 0.0)

    def _method(self, config: Mapping[str, object]) -> Method:
        method: Method = registry.load("methods", self.method)(config)
        return method

    def _prunes(self, method: Method) -> bool:
        return self.prune and not getattr(method, "dips", False)

    # --- what is tried next ------------------------------------------------------------------------------------

    def _fitted(self, config: dict[str, object], left: float, number: int) -> dict[str, object] | None:
        """Return the settings, with as many fewer passes as the budget asks for; None where nothing fits."""

        def fits() -> bool:
            return self._affordable(config) and self._expected(config, number).share_of(self.whole) <= left

        for name in PASSES:
            least = self.ranges[name].low if name in self.ranges else math.inf
            while not fits() and (now := plain(self._method(config).config).get(name, 0)) > least:
                config = {**config, name: now - 1 if isinstance(now, int) else max(least, now - 1)}
        return config if fits() else None

    def _affordable(self, config: Mapping[str, object]) -> bool:
        return self._method(config).cost(self.problem).share_of(self.whole) <= self.most * (1 + 1e-9)

    def _expected(self, config: Mapping[str, object], number: int) -> Cost:
        """Return the most that a trial costs."""
        method = self._method(config)
        epochs = int(getattr(method.config, "epochs", 0))
        looks = sum(map(_looked_at, range(1, epochs))) if number > 1 and self._prunes(method) else 0
        looks += 2 if number == 1 else 1
        return method.cost(self.problem) + Cost(read=looks * self.objective.cost.read)

    def _asked(self, done: Sequence[Trial], held: Mapping[str, float] | None) -> Any:
        """Return Optuna's next trial, from those that were done, or the first with what is ``held`` in its place.

        It is seeded by its number.
        """
        try:
            import optuna
        except ModuleNotFoundError as error:
            raise registry.missing_extra(error) from error

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        scales = {name: _distribution(optuna, each) for name, each in self.ranges.items()}
        seed = seed_of(self.seed, f"proposal {self.method}", len(done) + 1) % 2**32
        study = optuna.create_study(
            sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP),
        )
        for trial in done:
            study.add_trial(_remembered(optuna, trial, scales, self._told(trial.look) if trial.look else None))
        if held is not None:
            study.enqueue_trial({**{name: done[0].config[name] for name in scales}, **held})
        return study.ask(scales)

    def _held(self, done: Sequence[Trial]) -> dict[str, float] | None:
        """Return what holds a method that pushes texts in the next trial; None where that is found, or cannot be.

        Where the log odds that a forgotten text is surer would be even, were they a line between the nearest two trials
        that lean to either side, both on a logarithmic scale; where all lean to one side, beyond them. From there in
        small steps further, while that is better. A failed trial counts as pushed too far. All else is as at first.
        """
        name, first = getattr(self._method(self.base), "holds", ""), done[0].config
        if name not in self.ranges or self.ranges[name].low <= 0 or len(done) >= PUSHES:
            return None
        others = set(self.ranges) - {name}
        asked = any(t.look is not None and t.look.lean for t in done)  # not of records with one unit
        if not asked or any(t.config[other] != first[other] for t in done for other in others):
            return None
        low, high = self.ranges[name].low, self.ranges[name].high
        least, most = math.log(low), math.log(high)
        tried = {math.log(float(str(t.config[name]))): t for t in done}
        at = _even({x: self._lean(trial) for x, trial in tried.items()}, least, most)
        if at is not None and any(abs(at - x) < math.log(APART) / 20 for x in tried):
            best = min((self._told(t.look), x) for x, t in tried.items() if t.look is not None)[1]
            at = max(best - math.log(FURTHER), least)
            at = None if at >= best or any(at - 1e-9 < x < best for x in tried) else at  # a rounding is no other weight
        return None if at is None else {name: min(max(math.exp(at), low), high)}

    def _lean(self, trial: Trial) -> float:
        """Return to which side a trial leans; what failed, or leans little and lost too much, was pushed too far."""
        if trial.look is None:
            return -0.5
        lost = trial.look.below(self.floor) > 0
        return -ALIKE if lost and abs(trial.look.lean) < ALIKE else trial.look.lean

    def _widened(self, each: Range, start: float) -> Range:
        return dataclasses.replace(each, low=min(each.low, start), high=max(each.high, start))


def _even(leans: Mapping[float, float], least: float, most: float) -> float | None:
    """Return where forgotten texts would lean to no side; None where more hold pushes further, or that lies outside.

    By the logarithm of what holds. Between two sides well inside; beyond one side no further than ``APART`` goes, and
    than twice that where two trials say how fast the log odds fall. A trial that hardly leans is where they are even.
    """
    nearest = min(leans, key=lambda x: abs(leans[x]))
    if abs(leans[nearest]) < ALIKE:
        return nearest
    odds = {x: _log_odds(lean) for x, lean in leans.items()}
    known, pushed = (sorted(x for x, each in odds.items() if (each > 0) is side) for side in (True, False))
    if known and pushed:
        high, low = known[0], pushed[-1]  # the less it is held, the further it is pushed
        share = odds[high] / (odds[high] - odds[low])
        return None if high < low else high + min(max(share, 0.1), 0.9) * (low - high)
    step = math.log(APART)
    near, *farther = known if known else reversed(pushed)
    slope = (odds[farther[0]] - odds[near]) / (farther[0] - near) if farther else 0.0
    far = 2 * step if farther else step
    if slope > 0:
        far = min(abs(odds[near]) / slope, far)
    at = min(max(near - far if known else near + far, least), most)
    return None if at == near else at


def _log_odds(lean: float) -> float:
    share = min(max(0.5 + lean, SURE), 1 - SURE)
    return math.log(share / (1 - share))


def _looked_at(epoch: int) -> bool:
    return math.log2(epoch).is_integer()


def _distribution(optuna: Any, each: Range) -> Any:
    if each.whole:
        return optuna.distributions.IntDistribution(int(each.low), int(each.high), log=each.log)
    return optuna.distributions.FloatDistribution(each.low, each.high, log=each.log)


def _remembered(optuna: Any, trial: Trial, scales: Mapping[str, Any], value: float | None) -> Any:
    """Return a trial of ours as one of Optuna's; a failed one is cut short before any look: the worst there is."""
    states = optuna.trial.TrialState
    return optuna.trial.create_trial(
        params={name: trial.config[name] for name in scales},
        distributions=dict(scales),
        value=value,
        intermediate_values={int(epoch): told for epoch, told in trial.steps.items()},
        state=states.PRUNED if value is None else states.COMPLETE,
    )
