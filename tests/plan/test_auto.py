from dataclasses import replace

import pytest

from expunge.core import registry
from expunge.core.level import Level
from expunge.core.method import Cost
from expunge.core.report import Tuned
from expunge.plan import auto, recipes
from expunge.plan.tune import space
from tests.support import languages as L
from tests.support import toys


def tuned(method, match, *, best=1, trials=3, anew=False):
    return Tuned(
        method=method,
        title=method,
        start="the method's own",
        searched=("lr",),
        trials=trials,
        cut=0,
        failed=0,
        best=best,
        config={},
        match=match,
        harm=0.01,
        accuracy=0.9,
        original=0.5,
        floor=0.8,
        missing=0,
        cost=Cost(),
        share=0.1,
        anew=anew,
    )


def test_methods_that_can_be_tuned_and_no_others():
    found = auto.candidates(toys.problem(), {})
    assert 1 <= len(found) <= auto.MOST
    for each in found:
        method = registry.load("methods", each.method)
        assert not method.control
        assert method.guarantee is Level.AUDITED
        assert space(method)
        assert not method().obstacles(toys.problem())


def test_of_texts_the_best_recipe_is_tried_first_in_steps_that_suit_the_training():
    first = auto.spoken_for(L.spoken(trainer=L.TRAINER), {"wga": {"epochs": 3}})
    assert first.method == next(iter(recipes.for_case("texts"))) == "wga"
    recipe, training = recipes.for_case("texts")["wga"].config, L.TRAINER.config
    assert first.base["retain_weight"] == recipe["retain_weight"]
    assert first.base["lr"] == pytest.approx(0.4 * training.lr) != recipe["lr"]
    assert first.base["batch_size"] < training.batch_size
    assert first.base["epochs"] == 3, "the user's"


@pytest.mark.parametrize(
    "problem",
    [lambda: L.spoken(trainer=lambda records, *, seed: None), lambda: L.spoken(), toys.problem],
    ids=["settings of the training unknown", "no trainer", "a classifier"],
)
def test_elsewhere_no_recipe_says_what_is_tried_first(problem):
    assert auto.spoken_for(problem(), {}) is None


def test_the_others_are_all_that_is_possible_and_the_cheapest_stand_first():
    of = toys.problem()
    chosen = auto.candidates(of, {})
    rest = auto.others(of, {}, chosen)
    assert not {each.method for each in chosen} & {each.method for each in rest}
    assert "unsir" not in {each.method for each in rest}, "it needs all records of a class"
    spent = []
    for each in rest:
        method = registry.load("methods", each.method)(each.base)
        assert not method.control
        assert method.guarantee_on(of) is Level.AUDITED
        assert not method.obstacles(of)
        spent.append(3 * method.cost(of).trained + method.cost(of).read)
    assert len(rest) > 10
    assert spent == sorted(spent)
    assert any(not each.searched for each in rest), "those with nothing to search may be looked at"
    given = auto.others(of, {"scrub": {"gamma": 0.5}}, chosen)
    (scrub,) = (each for each in given if each.method == "scrub")
    assert (scrub.base["gamma"], scrub.fixed) == (0.5, ("gamma",))


def test_of_texts_no_others_are_glanced_at(monkeypatch):
    of = toys.problem()
    chosen = auto.candidates(of, {})
    monkeypatch.setattr(auto.recipes, "case_of", lambda problem: "texts")
    assert auto.others(of, {}, chosen) == ()


def test_a_second_short_retraining_is_not_glanced_at_beside_the_one_that_is_tuned():
    of = toys.problem()
    chosen = auto.candidates(of, {})
    assert "eu_k" in {each.method for each in chosen}
    assert "distill_anew" not in {each.method for each in auto.others(of, {}, chosen)}
    head = auto.candidates(of, {"eu_k": {"k": 0}})
    assert "eu_k" in {each.method for each in head}
    assert "distill_anew" in {each.method for each in auto.others(of, {}, head)}, "of eu_k most blocks stay"


def test_a_method_that_breaks_when_it_is_asked_is_none_of_the_others_unless_it_was_named(monkeypatch):
    of = toys.problem()
    chosen = auto.candidates(of, {})
    monkeypatch.setattr(registry.load("methods", "scrub"), "cost", lambda self, problem: 1 / 0)
    assert "scrub" not in {each.method for each in auto.others(of, {}, chosen)}
    with pytest.raises(ZeroDivisionError):
        auto.others(of, {"scrub": {}}, chosen)


def test_who_does_better_than_all_that_recipes_speak_for_is_ahead():
    chosen = [tuned("a", 0.3), tuned("b", 0.2), tuned("c", 0.0, best=None)]
    other = [tuned("x", 0.25), tuned("y", 0.1), tuned("z", 0.05), tuned("failed", 0.0, best=None)]
    assert [t.method for t in auto.ahead(chosen, other)] == ["z", "y"]
    assert auto.ahead([*chosen, tuned("d", 0.2, anew=True)], other) == [], (
        "a short retraining that does no harm is first"
    )
    assert [t.method for t in auto.ahead(chosen[2:], other)] == ["z", "y", "x"], "none of them may be used"


def test_recipes_for_the_case_come_first_and_are_started_from(monkeypatch):
    shipped, names = recipes.shipped(), registry.names
    known = ("finetune", "neg_grad_plus", "noop", "retrain")
    monkeypatch.setattr(registry, "names", lambda room: known if room == "methods" else names(room))
    monkeypatch.setattr(recipes, "shipped", lambda: ())
    by_cost = [each.method for each in auto.candidates(toys.problem(), {})]
    one = next(recipe for recipe in shipped if recipe.method == "finetune" and recipe.case == "ordinary")
    other = recipes.Recipe(
        method="neg_grad_plus",
        case="ordinary",
        config={"lr": 0.002, "alpha": 0.9},
        found=one.found,
        measured=one.measured,
    )
    for ours, expected in (
        ([], by_cost),
        ([other], ["neg_grad_plus", "finetune"]),
        ([one], ["finetune", "neg_grad_plus"]),
    ):
        monkeypatch.setattr(recipes, "shipped", lambda ours=ours: tuple(ours))
        found = auto.candidates(toys.problem(), {"neg_grad_plus": {"alpha": 0.8}})
        assert [each.method for each in found] == expected
    monkeypatch.setattr(recipes, "shipped", lambda: (other,))
    first = auto.candidates(toys.problem(), {"neg_grad_plus": {"alpha": 0.8}})[0]
    assert {"lr": 0.002, "alpha": 0.8}.items() <= first.base.items(), "what the user gives stands"
    assert first.fixed == ("alpha",)
    assert first.start == "the recipe for ordinary"


def test_the_nearest_is_tried_first_and_what_no_trial_may_do_never():
    far, near = tuned("far", 0.4), tuned("near", 0.1)
    untuned, hopeless = tuned("untuned", 0.0, best=None, trials=0), tuned("hopeless", 0.0, best=None)
    assert [each.method for each in auto.order([untuned, far, hopeless, near])] == ["near", "far", "untuned"]
    assert near.value == pytest.approx(0.11)
    assert near.sentence == "settings of trial 1 of 3, found without a retrained model; start: the method's own"
    assert untuned.sentence == "settings of the method's own, not tuned: the budget allows no trial"


def test_what_keeps_a_problem_from_being_tuned_is_said_at_once():
    assert auto.obstacles(toys.problem()) == []
    found = auto.obstacles(toys.problem(trainer=None, holdout=0))
    assert [each.found for each in found] == ["no trainer", "no holdout"]
    assert all(each.fix for each in found)


def test_what_leaves_nothing_of_the_original_is_tried_before_all_others():
    found = [tuned("ct", 0.001), tuned("eu_k", 0.2, anew=True), tuned("ssd", 0.0, best=None, trials=0)]
    assert [each.method for each in auto.order(found)] == ["eu_k", "ct", "ssd"]
    assert [each.method for each in auto.order([tuned("ct", 0.001), tuned("eu_k", 0.2)])] == ["ct", "eu_k"]
    short = replace(tuned("eu_k", 0.2, anew=True), harm=0.061)
    assert [each.method for each in auto.order([tuned("ct", 0.001), short])] == ["ct", "eu_k"], "it lost too much"
    assert [each.method for each in auto.order([tuned("ct", 0.3), short])] == ["eu_k", "ct"], "less than the other"
    assert ", for as many epochs as a run may cost, found without" in tuned("eu_k", 0.2, anew=True).sentence
    assert tuned("eu_k", 0.2, anew=True).value == 0.01, "how unlike held-out records they are is no fault of it"


def test_the_training_of_the_problem_goes_before_a_recipe_and_what_is_given_before_both(monkeypatch):
    names = registry.names
    monkeypatch.setattr(registry, "names", lambda room: ("eu_k",) if room == "methods" else names(room))
    (one,) = auto.candidates(toys.problem(), {"eu_k": {"batch_size": 5}})
    config = toys.TRAINER.config
    assert one.start == "the training"
    assert (one.base["lr"], one.base["optimiser"], one.base["epochs"]) == (config.lr, config.optimiser, config.epochs)
    assert one.base["batch_size"] == 5
    assert one.fixed == ("batch_size",)
    (other,) = auto.candidates(toys.problem(trainer=lambda records, *, seed: toys.network()), {})
    assert other.start == "the recipe for ordinary"


def test_batches_are_no_larger_than_the_training_s_unless_the_user_says_so():
    smaller = replace(toys.TRAINER, config=replace(toys.TRAINER.config, batch_size=10))

    def batch(trainer, method="salun", **given):
        base = auto.candidate(toys.problem(trainer=trainer), "ordinary", method, given).base
        return registry.load("methods", method)(base).config.batch_size

    assert registry.load("methods", "salun")().config.batch_size == 256, "as its paper has it, for 45,000 images"
    assert batch(smaller) == 10
    assert batch(smaller, batch_size=50) == 50
    assert batch(lambda records, *, seed: toys.network()) == 256, "nothing is known of the training"
    larger = replace(toys.TRAINER, config=replace(toys.TRAINER.config, batch_size=300))
    assert batch(larger) == 256


@pytest.mark.parametrize(("given", "sizes"), [({}, (10, 10)), ({"forget_batch_size": 20}, (10, 20))])
def test_nor_are_those_of_a_set_that_has_batches_of_its_own(given, sizes):
    smaller = replace(toys.TRAINER, config=replace(toys.TRAINER.config, batch_size=10))
    found = auto.candidate(toys.problem(trainer=smaller), "ordinary", "scrub", given)
    config = registry.load("methods", "scrub")(found.base).config
    assert (config.batch_size, config.forget_batch_size) == sizes
    assert registry.load("methods", "scrub")().config.forget_batch_size == 32, "as its authors' code has it"
