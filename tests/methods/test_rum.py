import numpy as np
import pytest

from expunge.core.errors import UnknownName, UsageError
from expunge.core.method import Cost
from expunge.engine.strata import unsure
from expunge.methods.finetune import Finetune
from expunge.methods.neg_grad_plus import NegGradPlus
from expunge.methods.rum import RefinedUnlearning
from tests.support import toys

CONFIG = {"epochs": 2, "batch_size": 16, "lr": 0.01}


def ranked(problem):
    """Return the ids to forget, the surest first."""
    values = unsure(problem, problem.source.open(), problem.forget_view, toys.context(problem))
    return [problem.forget_ids[i] for i in np.argsort(values, kind="stable")]


def test_one_part_is_the_plain_method_to_the_bit():
    problem = toys.problem(build=toys.Noisy)
    one = RefinedUnlearning({"methods": ["neg_grad_plus"], "settings": [CONFIG]})
    outcome = one.unlearn(problem, toys.context(problem))
    plain = NegGradPlus(CONFIG).unlearn(problem, toys.context(problem))
    assert toys.same(outcome.model, plain.model)
    assert outcome.cost == plain.cost + Cost(read=12)
    assert [row["objective"] for row in outcome.history] == [row["objective"] for row in plain.history]


def test_parts_go_one_after_the_other_on_the_running_model():
    problem = toys.problem()
    method = RefinedUnlearning({"methods": ["finetune", "neg_grad_plus"], "settings": [CONFIG, CONFIG]})
    outcome = method.unlearn(problem, toys.context(problem))
    low, high = ranked(problem)[:6], ranked(problem)[6:]
    first = toys.problem(train=problem.records.without(high), forget=0)
    first.forget = low
    between = Finetune(CONFIG).unlearn(first, toys.context(first)).model
    assert f"part 1, 6 records: finetune after 2 epochs; model {problem.source.digest(between)[:12]}" in outcome.stopped
    assert [(row["epoch"], row["part"]) for row in outcome.history] == [(1, 1), (2, 1), (3, 2), (4, 2)]
    assert outcome.stopped.endswith(f"model {problem.source.digest(outcome.model)[:12]}")
    assert not toys.same(between, outcome.model)
    swapped = RefinedUnlearning({"methods": ["neg_grad_plus", "finetune"], "settings": [CONFIG, CONFIG]})
    assert not toys.same(swapped.unlearn(problem, toys.context(problem)).model, outcome.model)


@pytest.mark.parametrize("retain", ["exclude_all", "cumulative"])
def test_what_is_still_to_be_forgotten_is_trained_on_only_where_asked_for(retain):
    problem = toys.problem(holdout=0)
    high = ranked(problem)[6:]
    settings = {"methods": ["finetune", "nothing"], "settings": [CONFIG, {}], "retain": retain}
    problem.records.seen.clear()
    outcome = RefinedUnlearning(settings).unlearn(problem, toys.context(problem))
    times = 1 + (2 if retain == "cumulative" else 0)  # once to be ranked
    assert {problem.records.seen[name] for name in high} == {times}
    assert {problem.records.seen[name] for name in ranked(problem)[:6]} == {2}  # ranked, here and above
    assert outcome.cost.trained == 2 * (48 + (6 if retain == "cumulative" else 0))
    assert RefinedUnlearning(settings).cost(problem).trained == outcome.cost.trained


def test_a_part_left_alone_changes_nothing():
    problem = toys.problem()
    outcome = RefinedUnlearning({"methods": ["nothing", "nothing"]}).unlearn(problem, toys.context(problem))
    assert toys.same(outcome.model, problem.source.open())
    assert outcome.touched == 0
    assert "no parameter changed" in outcome.warnings[0]


def test_warnings_say_of_which_part_they_are():
    problem = toys.problem()
    settings = {"methods": ["nothing", "finetune"], "settings": [{}, {"epochs": 0}]}
    outcome = RefinedUnlearning(settings).unlearn(problem, toys.context(problem))
    assert outcome.warnings == ("no parameter changed: the method had no effect",)


def test_calibration_records_stand_for_retained_ones_in_every_part():
    problem = toys.problem(
        train=toys.records(12), calibration=toys.records(20, prefix="c", seed=5), trainer=None, holdout=0
    )
    method = RefinedUnlearning({"methods": ["finetune", "neg_grad_plus"], "settings": [CONFIG, CONFIG]})
    assert method.obstacles(problem) == []
    outcome = method.unlearn(problem, toys.context(problem))
    assert outcome.cost.trained == 2 * 20 + 2 * (20 + 2 * 6)
    assert {row["part"] for row in outcome.history} == {1, 2}


@pytest.mark.parametrize(
    "wrong",
    [
        {"methods": []},
        {"methods": ["rum"]},
        {"methods": ["finetune"], "settings": [{}, {}]},
        {"methods": ["noop"]},
        {"methods": ["retrain"]},
        {"methods": ["finetune"], "settings": [{"alpha": 0.5}]},
        {"by": "age"},
    ],
)
def test_parts_without_a_method_of_their_own_are_refused(wrong):
    with pytest.raises(UsageError):
        RefinedUnlearning(wrong)


def test_an_unknown_method_is_named():
    with pytest.raises(UnknownName, match="finetun") as told:
        RefinedUnlearning({"methods": ["scrub", "finetun"]})
    assert told.value.obstacles[0].where == "[methods.rum] methods[1]", "as a user writes it"


def test_obstacles_of_the_methods_and_the_proxy_are_those_of_the_whole():
    problem = toys.problem(model=toys.network(), holdout=0)
    found = [o.what for o in RefinedUnlearning({"methods": ["nothing", "ct", "kde"]}).obstacles(problem)]
    assert found == [
        "ct turns the kernels of convolutions, and this network has none to turn",
        "kde distils on held-out records",
    ]
    few = toys.problem(train=toys.records(12), calibration=toys.records(20, prefix="c", seed=5))
    aside = RefinedUnlearning({"methods": ["finetune", "finetune"], "retain": "cumulative"})
    assert [o.what for o in aside.obstacles(few)] == ["rum retains the parts that are still to be forgotten"]
    ranked_by = RefinedUnlearning({"methods": ["nothing"], "by": "held_out"})
    assert [o.what for o in ranked_by.obstacles(problem)] == ["rum ranks by training on held-out records"]
    assert not problem.records.seen


def test_records_that_a_proxy_cannot_rank_are_an_obstacle():
    given = toys.records(30)
    tokens = toys.Witness(given.x.abs().long(), given.y, ids=given.ids)
    method = RefinedUnlearning({"methods": ["nothing", "finetune"], "by": "curvature"})
    assert [o.what for o in method.obstacles(toys.problem(train=tokens))] == ["inputs are no continuous numbers"]
    assert not method.obstacles(toys.problem())
