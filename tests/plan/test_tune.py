import dataclasses
import json
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import torch

from expunge.core import registry
from expunge.core.config import setting
from expunge.core.errors import Diverged, InvalidProblem, MissingExtra, Obstacle, StorageFailed, UsageError
from expunge.core.level import Level
from expunge.core.method import Cost, Method
from expunge.core.outcome import Outcome
from expunge.core.serial import build, canonical
from expunge.engine.context import Context
from expunge.plan.objective import Look
from expunge.plan.tune import Range, Study, Trial, space
from tests.support import toys

OPTIMUM = 0.02


class Fake(Method):
    """Forgets nothing: its model carries the settings, so that a test can say how good they are."""

    name, title, source, guarantee = "fake", "Fake", "nobody", Level.AUDITED
    dips: ClassVar[bool] = False

    @dataclass(frozen=True, kw_only=True)
    class Config(Method.Config):
        """Settings."""

        lr: float = setting(0.5, "rate", above=0, search=(1e-4, 1.0))
        epochs: int = setting(4, "epochs", low=0, search=(1, 8))
        weight: float = setting(0.5, "weight", low=0, high=1, search=(0.25, 1.0))
        other: float = setting(3.0, "not searched")

    def cost(self, problem):
        return Cost(trained=10.0 * self.config.epochs)

    def unlearn(self, problem, run):
        if self.config.lr > 0.7:
            raise Diverged("it burst", where="epoch 1")
        for epoch in range(1, self.config.epochs):
            if run.watch(self.config, epoch):
                return Outcome(model=self.config, cost=Cost(trained=10.0 * epoch) + run.spent, stopped="cut")
        cost = Cost(trained=10.0 * self.config.epochs) + run.spent
        return Outcome(model=self.config, cost=cost, stopped="done")


class Judge:
    """An objective with a known smallest value, at lr = 0.02 and weight = 1."""

    floor, asked, cost, missing = 0.5, None, Cost(read=30.0), 0
    original = Look(1.0, 0.0, 0.9)

    def look(self, config):
        off = abs(torch.log10(torch.tensor(config.lr / OPTIMUM)).item()) / 4
        return Look(match=min(1.0, off), harm=1 - config.weight, accuracy=0.4 if config.weight < 0.3 else 0.8)

    def allows(self, look):
        return look.accuracy >= self.floor


@pytest.fixture(autouse=True)
def fake(monkeypatch):
    load = registry.load
    monkeypatch.setattr(registry, "load", lambda room, name: Fake if name == "fake" else load(room, name))


def context(seed, label):
    return Context(problem=None, seed=seed, label=label, choosing=None, choosing_models=list)


def study(**more):
    given = {"method": "fake", "problem": None, "objective": Judge(), "context": context, "whole": Cost(trained=1000.0)}
    return Study(**{**given, "seed": 5, **more})


def test_a_space_is_what_is_declared_but_for_what_is_fixed():
    assert space(Fake) == {
        "lr": Range(1e-4, 1.0, whole=False, log=True),
        "epochs": Range(1, 8, whole=True, log=False),
        "weight": Range(0.25, 1.0, whole=False, log=False),
    }
    assert set(space(Fake, ["lr", "weight"])) == {"epochs"}
    assert space(registry.load("methods", "noop")) == {}


def test_the_first_trial_is_what_the_study_starts_from():
    done = study(base={"lr": 0.1, "other": 7.0}).run(10.0, trials=3)
    assert done[0].config == {"lr": 0.1, "epochs": 4, "weight": 0.5, "other": 7.0}
    assert {trial.config["other"] for trial in done} == {7.0}, "what is not searched stays"
    assert len({trial.config["lr"] for trial in done}) == 3


def test_fixed_settings_stay():
    done = study(base={"weight": 0.75}, fixed=("weight",)).run(10.0, trials=6)
    assert {trial.config["weight"] for trial in done} == {0.75}


def test_a_start_outside_the_range_widens_it():
    one = study(base={"lr": 1e-6})
    assert one.ranges["lr"] == Range(1e-6, 1.0, whole=False, log=True)
    assert len(one.run(10.0, trials=3)) == 3


def test_searching_beats_drawing_at_random():
    best = []
    for seed in range(3):
        one = study(seed=seed, prune=False)
        found = one.best(one.run(100.0, trials=40))
        best.append(found.look.value)
    draw = np.random.default_rng(0)
    rates, weights = 10 ** draw.uniform(-4, np.log10(0.7), (500, 40)), draw.uniform(0.3, 1.0, (500, 40))
    drawn = np.abs(np.log10(rates / OPTIMUM)) / 4 + 1 - weights
    assert np.mean(best) < 0.7 * drawn.min(axis=1).mean()


def test_the_best_is_allowed_and_the_first_of_equals():
    one, look = study(), Look(0.1, 0.1, 0.8)
    trials = [
        Trial(number=n, config={}, state="finished", why="", look=each, steps={}, cost=Cost())
        for n, each in enumerate([Look(0.0, 0.0, 0.4), look, look, None, Look(0.3, 0.0, 0.9)], start=1)
    ]
    assert one.best(trials).number == 2
    assert one.best(trials[:1]) is None
    assert one.best([]) is None


def test_the_search_is_told_that_what_is_not_allowed_is_worse_than_all_that_is():
    told = study()._told
    worst, barred, further = Look(1.0, 1.0, 0.5), Look(0.0, 0.0, 0.49), Look(0.0, 0.0, 0.2)
    assert told(Look(0.1, 0.2, 0.9)) == pytest.approx(0.3)
    assert told(worst) < told(barred) < told(further)


def test_the_budget_is_kept_and_all_work_is_counted():
    one = study(prune=False)
    for budget in (0.03, 0.1, 0.3):
        done = one.run(budget)
        assert done
        assert sum(t.cost.share_of(one.whole) for t in done) <= budget + 1e-9
    # 4 epochs of 10 visits, the original and the model looked at
    assert one.run(0.1, trials=1)[0].cost == Cost(trained=40.0, read=60.0)
    # 20 visits' worth of looks fit into 3%: 30 visits; one epoch is left of four
    assert one.run(0.03)[0].config["epochs"] == 1
    assert one.run(0.029) == []


def test_what_fails_costs_what_it_would_have_and_teaches():
    one = study(base={"lr": 0.9})
    first, *others = one.run(100.0, trials=12)
    assert (first.state, first.why, first.look) == ("failed", "it burst (epoch 1)", None)
    assert first.cost == Cost(trained=40.0, read=30.0)
    assert one.best([first]) is None
    assert any(trial.state == "finished" for trial in others)


@pytest.mark.parametrize(
    ("error", "why"),
    [(RuntimeError("of record zebra-7"), "RuntimeError in the method"), (UsageError("no such layer"), "no such layer")],
)
def test_a_method_that_nobody_asked_for_may_break_and_one_that_was_may_not(monkeypatch, error, why):
    def broken(self, problem, run):
        raise error

    monkeypatch.setattr(Fake, "unlearn", broken)
    (trial,) = study(tolerant=True).run(10.0, trials=1)
    assert (trial.state, trial.why, trial.look) == ("failed", why, None)
    with pytest.raises(type(error)):
        study().run(10.0, trials=1)
    monkeypatch.setattr(Fake, "unlearn", lambda self, problem, run: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        study(tolerant=True).run(10.0, trials=1)


def test_a_method_that_cannot_act_is_a_failed_trial_even_where_it_was_asked_for(monkeypatch):
    cannot = InvalidProblem([Obstacle(what="no layer of that name")])
    monkeypatch.setattr(Fake, "unlearn", lambda self, problem, run: (_ for _ in ()).throw(cannot))
    (trial,) = study().run(10.0, trials=1)
    assert (trial.state, trial.why) == ("failed", "no layer of that name")


def test_that_there_is_nothing_to_tune_by_is_no_fault_of_a_method(monkeypatch):
    def nothing(self):
        raise InvalidProblem([Obstacle(what="nothing to tune by")])

    monkeypatch.setattr(Judge, "floor", property(nothing))
    with pytest.raises(InvalidProblem, match="nothing to tune by"):
        study(tolerant=True).run(10.0, trials=1)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), MemoryError(), StorageFailed("full")])
def test_what_is_wrong_with_the_machine_is_no_fault_of_a_method(monkeypatch, error):
    monkeypatch.setattr(Fake, "unlearn", lambda self, problem, run: (_ for _ in ()).throw(error))
    with pytest.raises(type(error)):
        study(tolerant=True).run(10.0, trials=1)


def test_a_model_that_answers_with_nothing_is_a_failed_trial(monkeypatch):
    monkeypatch.setattr(Judge, "look", lambda self, config: Look(match=float("nan"), harm=0.0, accuracy=0.8))
    (trial,) = study().run(10.0, trials=1)
    assert (trial.state, trial.why) == ("failed", "the model answers with NaN or infinite numbers")


def test_whether_a_budget_holds_a_trial_is_known_before():
    one = study(base={"epochs": 4})
    assert one.allowed(0.1) == bool(one.run(0.1, trials=1)) is True
    assert one.allowed(0.029) == bool(one.run(0.029, trials=1)) is False


def test_a_bad_trial_is_cut_short_and_one_that_gets_worse_first_is_not(monkeypatch):
    done = study().run(100.0, trials=30)
    cut = [trial for trial in done if trial.state == "cut short"]
    assert cut
    assert all(trial.number > 5 and trial.look is None and trial.why.startswith("after") for trial in cut)
    worst = [float(list(trial.steps.values())[-1]) for trial in cut]
    finished = [trial.look.value for trial in done if trial.look]
    assert min(worst) > sorted(finished)[len(finished) // 4]
    for trial in cut:
        epoch = int(list(trial.steps)[-1])
        assert epoch in (1, 2, 4)
        assert trial.cost == Cost(trained=10.0 * epoch, read=30.0 * len(trial.steps)), "as far as it went"
    monkeypatch.setattr(Fake, "dips", True)
    assert not [trial for trial in study().run(100.0, trials=30) if trial.steps]


def test_an_interrupted_study_goes_on_as_if_it_had_not_been():
    whole = study().run(100.0, trials=12)
    kept, made = {}, []

    def keep(number, make):
        if number not in kept:
            if number == 7 and not made:
                made.append(number)
                raise KeyboardInterrupt
            kept[number] = canonical(make())
        return build(Trial, json.loads(kept[number]), where="trial")

    with pytest.raises(KeyboardInterrupt):
        study(keep=keep).run(100.0, trials=12)
    assert len(kept) == 6
    assert study(keep=keep).run(100.0, trials=12) == whole


def test_another_seed_is_another_study_and_each_trial_has_its_own():
    assert study().run(10.0, trials=4) == study().run(10.0, trials=4)
    assert study().run(10.0, trials=4) != study(seed=6).run(10.0, trials=4)
    seeds = []
    study(context=lambda seed, label: seeds.append(seed) or context(seed, label)).run(10.0, trials=5)
    assert len(set(seeds)) == 5


def test_a_method_without_ranges_is_tried_once():
    assert len(study(fixed=("lr", "epochs", "weight")).run(100.0)) == 1


def test_without_optuna_the_command_that_installs_it_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(MissingExtra, match=r"expunge\[tune\]"):
        study().run(100.0)


def test_a_real_method_is_tuned_on_a_real_objective():
    from expunge.plan.objective import Objective

    of = toys.problem()
    choosing = toys.context(of).choosing

    def run(seed, label):
        return dataclasses.replace(toys.context(of, choosing=choosing), seed=seed, label=label)

    seen = Objective(of, choosing, floor=0.0)
    one = Study(
        method="finetune",
        problem=of,
        objective=seen,
        context=run,
        whole=Cost(trained=4 * 48.0),
        seed=1,
        base={"epochs": 2},
    )
    done = one.run(9.0, trials=7)
    assert len(done) == 7
    best = one.best(done)
    assert best.look.value == min(trial.look.value for trial in done if trial.look)
    again = registry.load("methods", "finetune")(best.config).unlearn(of, run(0, ""))
    assert seen.look(again.model).harm >= 0


@pytest.mark.parametrize("method", ["finetune", "neg_grad_plus", "kde"])
def test_a_trial_costs_what_its_method_says_of_the_whole_problem(method):
    """A method sees the choosing part of the holdout alone: told by that view, its looks would be a third as many."""
    from expunge.plan.objective import Objective

    of = toys.problem(holdout=90)
    choosing = toys.context(of).choosing
    shown = dataclasses.replace(of, holdout=choosing.holdout)

    def run(seed, label):
        return toys.context(shown, seed=seed, choosing=choosing)

    whole, base = Cost(trained=4 * 48.0), {"epochs": 3, "lr": 1e-6} | ({"warm": 1} if method == "kde" else {})
    told = registry.load("methods", method)(base).cost(of)
    given = {"method": method, "problem": of, "objective": Objective(of, choosing, floor=0.0), "context": run,
             "whole": whole, "seed": 1, "base": base}  # fmt: skip
    (trial,) = Study(**given, most=told.share_of(whole)).run(99.0, trials=1)
    assert trial.config["epochs"] == 3
    assert trial.cost == told + Cost(read=2 * given["objective"].cost.read)
    (less,) = Study(**given, most=told.share_of(whole) - 0.01).run(99.0, trials=1)
    assert less.config["epochs"] == 2


def test_no_run_of_what_is_tried_costs_more_than_it_may():
    """An epoch costs 0.01 of a retraining: of the four that it starts with three are allowed."""
    done = study(most=0.03).run(2.0, trials=8)
    assert len(done) == 8
    assert max(trial.config["epochs"] for trial in done) == done[0].config["epochs"] == 3
    assert study(most=0.005).run(2.0, trials=8) == [], "one epoch is too dear"
    dear = study().run(2.0, trials=8)
    within = [trial for trial in dear if trial.look is not None and trial.config["epochs"] <= 2]
    assert study(most=0.02).best(dear) in within, "what an earlier command kept is not chosen"


def test_where_one_epoch_is_too_dear_there_are_fewer_repairs(monkeypatch):
    class Mending(Fake):
        @dataclass(frozen=True, kw_only=True)
        class Config(Fake.Config):
            repairs: int = setting(2, "repairs", low=0, search=(0, 2))

        def cost(self, problem):
            return Cost(trained=10.0 * self.config.epochs * (1 + self.config.repairs))

    monkeypatch.setattr(registry, "load", lambda room, name: Mending)
    assert [(t.config["epochs"], t.config["repairs"]) for t in study(most=0.02).run(2.0, trials=1)] == [(1, 1)]
    assert study(most=0.06).run(2.0, trials=1)[0].config["repairs"] == 2, "epochs go first"
    assert study(most=0.005).run(2.0, trials=1) == []


def test_of_what_cannot_know_the_records_only_harm_is_made_small_and_it_may_lose_twice_as_much(monkeypatch):
    def trial(number, match, harm, accuracy):
        look = Look(match=match, harm=harm, accuracy=accuracy)
        return Trial(number=number, config={}, state="finished", why="", look=look, steps={}, cost=Cost())

    done = [trial(1, 0.1, 0.2, 0.9), trial(2, 0.3, 0.1, 0.9), trial(3, 0.0, 0.05, 0.11), trial(4, 0.0, 0.0, 0.09)]
    assert study().best(done).number == 1
    assert study().floor == 0.5
    monkeypatch.setattr(Fake, "anew", lambda self, problem: True)
    assert study().best(done).number == 3
    assert study().floor == pytest.approx(0.1), "the original has 0.9"
    monkeypatch.setattr(Judge, "asked", 0.5)
    assert study().floor == 0.5, "what is asked for is asked of all"
    assert study().best(done).number == 2


def test_what_cannot_know_the_records_is_run_for_as_long_as_a_run_may_cost(monkeypatch):
    short = {"epochs": 1, "lr": 0.1}
    assert study(base={"epochs": 6}).lengthened(short) == short
    monkeypatch.setattr(Fake, "anew", lambda self, problem: True)
    assert study(base={"epochs": 6}).lengthened(short) == {"epochs": 6, "lr": 0.1}, "no longer than where it began"
    assert study(base={"epochs": 6}, most=0.045).lengthened(short) == {"epochs": 4, "lr": 0.1}


class Pushing(Fake):
    """The more ``weight`` it is held by, the more it still knows; it breaks under a small one."""

    name = "fake"
    holds = "weight"

    @dataclass(frozen=True, kw_only=True)
    class Config(Fake.Config):
        """Settings."""

        weight: float = setting(1.0, "weight", above=0, search=(0.01, 100.0))

    def unlearn(self, problem, run):
        if self.config.weight < 0.05:
            raise Diverged("it burst", where="epoch 1")
        return super().unlearn(problem, run)


class Leaning(Judge):
    """The log odds that a forgotten text is surer rise by ``steep`` with the logarithm of the weight, from 0."""

    steep = 0.5

    def __init__(self, right):
        self.right = right

    def look(self, config):
        lean = float(1 / (1 + np.exp(-self.steep * np.log(config.weight / self.right))) - 0.5)
        return Look(match=abs(lean), harm=0.0, accuracy=0.8, lean=lean)


def weights(monkeypatch, right, trials=5, **more):
    load = registry.load
    monkeypatch.setattr(registry, "load", lambda room, name: Pushing if name == "fake" else load(room, name))
    done = study(objective=Leaning(right), **{"prune": False, **more}).run(100.0, trials=trials)
    return [trial.config["weight"] for trial in done], done


def test_how_hard_to_push_is_found_first_and_all_else_stays(monkeypatch):
    found, done = weights(monkeypatch, right=0.2)
    # the log odds at 1 and 1/3 lie on a line in the logarithm, which is 0 where it is right
    assert found[:3] == pytest.approx([1.0, 1 / 3, 0.2]), "harder while it is still known"
    assert found[3] == pytest.approx(0.16), "a little further, which is worse"
    assert {trial.config["lr"] for trial in done[:4]} == {0.5}
    assert done[4].config["lr"] != 0.5, "then all is searched"
    assert done[4].config["weight"] != pytest.approx(0.2)


@pytest.mark.parametrize("right", [1.512535483634449, 2.0, 5.0])  # the first rounds up
def test_no_weight_is_tried_twice(monkeypatch, right):
    found, done = weights(monkeypatch, right=right, trials=6)
    held = [w for w, trial in zip(found, done, strict=True) if trial.config["lr"] == 0.5]
    assert len({round(w, 6) for w in held}) == len(held) >= 3


def test_none_that_says_how_hard_to_push_is_cut_short(monkeypatch):
    look = Leaning.look

    def falls_off(self, config):
        """Return a look at what is better the further it is pushed, up to a point where it is worst."""
        match = abs(np.log(config.weight / 1.9)) if config.weight > 1.9 else 1.0
        return replace(look(self, config), match=match)

    monkeypatch.setattr(Leaning, "look", falls_off)
    found, done = weights(monkeypatch, right=3.0, trials=6, prune=True)
    assert found[:5] == pytest.approx([1.0, 3.0, 2.4, 1.92, 1.536])
    assert [trial.state for trial in done[:5]] == ["finished"] * 5, "the last is worse than half of the others"


def test_it_is_pushed_further_while_that_is_better(monkeypatch):
    look = Leaning.look
    monkeypatch.setattr(
        Leaning, "look", lambda self, config: replace(look(self, config), match=abs(np.log(config.weight / 0.13)))
    )
    found, done = weights(monkeypatch, right=0.2, trials=6)
    assert found[2:5] == pytest.approx([0.2, 0.16, 0.128])
    assert done[5].config["lr"] == 0.5
    assert found[5] == pytest.approx(0.1024), "the last that is asked"


def test_where_two_trials_say_little_of_how_fast_it_falls_no_step_is_larger_than_two_at_once(monkeypatch):
    monkeypatch.setattr(Leaning, "steep", 4.0)
    found, _ = weights(monkeypatch, right=0.2, trials=4, base={"weight": 90.0})
    assert found[:3] == pytest.approx([90.0, 30.0, 30.0 / 9]), "both are as sure as can be told"
    assert 0.15 < found[3] < 1.0


def test_a_trial_that_says_how_hard_to_push_has_all_its_passes_or_is_not_made(monkeypatch):
    _, done = weights(monkeypatch, right=0.1, trials=5)
    cost = [trial.cost.share_of(Cost(trained=1000.0)) for trial in done]
    one = study(objective=Leaning(0.1), prune=False)
    cut = one.run(sum(cost[:2]) + 0.9 * cost[2])
    assert [trial.config["epochs"] for trial in cut] == [4, 4], "with three epochs a third would fit"
    assert one.run(sum(cost[:2]) + cost[2])[2].config["weight"] == pytest.approx(0.1)


def test_what_pushes_too_hard_is_held_back(monkeypatch):
    found, _ = weights(monkeypatch, right=2.0, trials=3)
    assert found[:3] == pytest.approx([1.0, 3.0, 2.0])


def test_a_trial_that_failed_was_pushed_too_far(monkeypatch):
    found, done = weights(monkeypatch, right=0.055, trials=4, base={"weight": 0.1})
    assert done[1].state == "failed", "0.033 is too little"
    assert 0.033 < found[2] < 0.1


@pytest.mark.parametrize(
    "more",
    [
        {"fixed": ("weight",)},
        {"base": {"weight": 0.01}, "right": 1e-5},  # no room below
        {"base": {"weight": 0.04}},  # fails: nothing says that these are texts
    ],
)
def test_where_that_is_found_or_given_all_is_searched(monkeypatch, more):
    _, done = weights(monkeypatch, **{"right": 0.15, "trials": 3, **more})
    assert done[1].config["lr"] != 0.5
    assert done[2].config["lr"] != 0.5, "nor is it gone back to, once something else was changed"


def test_what_may_not_be_used_is_not_found(monkeypatch):
    look = Leaning.look
    monkeypatch.setattr(
        Leaning, "look", lambda self, config: replace(look(self, config), accuracy=0.8 if config.weight > 0.35 else 0.4)
    )
    found, _ = weights(monkeypatch, right=0.33, trials=4)
    assert found[1] == pytest.approx(1 / 3), "it leans little, and lost too much"
    assert 0.35 < found[2] < 0.5


def test_of_records_with_one_unit_all_is_searched(monkeypatch):
    monkeypatch.setattr(Leaning, "look", lambda self, config: Look(match=0.1, harm=0.0, accuracy=0.8))
    _, done = weights(monkeypatch, right=0.15, trials=2)
    assert done[1].config["lr"] != 0.5


def test_what_holds_a_method_that_pushes_is_the_weight_of_what_is_retained():
    wga = registry.load("methods", "wga")
    assert wga({}).holds == "retain_weight"
    assert wga({"retain": "none"}).holds == wga({"retain_weight": 0.0}).holds == ""
