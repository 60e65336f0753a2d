import pytest

from expunge.core import registry
from expunge.core.check import EvidenceKind
from expunge.core.errors import Obstacle, UnknownName, UsageError
from expunge.core.level import Level
from expunge.core.method import Cost
from expunge.core.plan import BY_RECIPE, OVER_BUDGET
from expunge.core.problem import Problem
from expunge.core.serial import plain
from expunge.data.arrays import ArrayRecords
from expunge.plan.planner import make_plan
from tests.support import toys

# 48 records stay and 12 go; a retraining reads each retained record 40 times: 1,920 visits.
# The guard looks at 8 of 24 held-out records, at the original and after each of 5 epochs: 48 reads, 16 visits' worth.
# finetune: 5 x 48 + 16 = 256 visits, 13.3%. neg_grad_plus also looks at 4 of 12 forgotten records after every epoch and
# once for a warning, and again at the 8 held-out ones: 32 reads. 5 x (48 + 12) + 16 + 32 / 3 = 326.7 visits, 17.0%.
FINETUNE, BOTH = 256 / 1920, (256 + 316 + 32 / 3) / 1920
RETRAINING = Cost(trained=40 * 48)
AUDIT = Cost(read=576)  # a tenth of a retraining


@pytest.fixture(autouse=True)
def four_methods(monkeypatch):
    """Plan with these four, whatever else is registered: their costs are worked out by hand here."""
    names = registry.names
    known = ("finetune", "neg_grad_plus", "noop", "retrain")
    monkeypatch.setattr(registry, "names", lambda room: known if room == "methods" else names(room))


def plan_of(problem=None, **changes):
    settings = {"budget": 0.3, "references": 5, "choosing_references": 1, "audit": AUDIT, "passes": 40.0, **changes}
    return make_plan(problem or toys.problem(), **settings)


def by_name(plan):
    return {option.method: option for option in plan.options}


def test_a_method_that_waits_to_be_named_is_an_option_and_no_more(monkeypatch):
    monkeypatch.setattr(registry.load("methods", "finetune"), "unasked", False)
    plan = plan_of(budget=1.0)
    assert plan.order == ("neg_grad_plus", "retrain")
    assert by_name(plan)["finetune"].why == "tried only where it is named: --method finetune"
    assert by_name(plan)["finetune"].share == pytest.approx(FINETUNE)
    assert plan_of(only=["finetune"], budget=1.0).order == ("finetune",)


def test_a_method_that_finds_nothing_to_act_on_is_an_obstacle_with_its_reason(monkeypatch):
    """A network of which parameters are dampened that matter more to a random sample: none do."""
    vain = Obstacle(what="finds nothing to act on", where="request", found="a random sample")
    kind = registry.load("methods", "finetune")
    monkeypatch.setattr(kind, "futile", lambda self, problem: [vain])
    for named in ([], ["finetune", "retrain"]):
        plan = plan_of(only=named, budget=1.0)
        assert "finetune" not in plan.order
        assert by_name(plan)["finetune"].why == "finds nothing to act on (found: a random sample)"
    assert "finetune" in plan_of(only=["finetune"], tuned=["finetune"], budget=1.0).order, "auto may try it"
    begun = plan_of(only=["finetune"], begun=["finetune"], budget=1.0)
    assert begun.order == ("finetune",)
    assert f"{kind.title}: finds nothing to act on (found: a random sample)." in begun.advice
    assert "finetune" not in plan_of(begun=["finetune"], budget=1.0).order, "nobody asks for it"
    monkeypatch.setattr(kind, "obstacles", lambda self, problem: [Obstacle(what="cannot run")])
    assert by_name(plan_of())["finetune"].why == "cannot run"


def test_what_recipes_speak_for_takes_the_place_of_all_that_must_earn_their_claim():
    plan = plan_of(first="neg_grad_plus", budget=1.0)
    assert plan.order == ("neg_grad_plus", "retrain")
    assert by_name(plan)["neg_grad_plus"].why == BY_RECIPE
    assert by_name(plan)["finetune"].why == "tried only where it is named: --method finetune"
    assert by_name(plan_of(first="neg_grad_plus", budget=0.1))["neg_grad_plus"].why.startswith(OVER_BUDGET)


def test_methods_come_by_cost_and_those_that_stand_alone_last():
    plan = plan_of(budget=1.0)
    assert plan.order == ("finetune", "neg_grad_plus", "retrain")
    shares = {name: option.share for name, option in by_name(plan).items()}
    assert shares == pytest.approx({"finetune": FINETUNE, "neg_grad_plus": BOTH - FINETUNE, "retrain": 1.0})
    assert by_name(plan)["retrain"].guarantee is Level.EXACT
    assert (plan.budget, plan.references, plan.choosing_references) == (1.0, 5, 1)
    assert plan.retraining == RETRAINING


def test_the_order_follows_the_cost_and_not_the_name():
    plan = plan_of(configs={"neg_grad_plus": {"epochs": 1}})
    assert plan.order == ("neg_grad_plus", "finetune")


def test_a_budget_of_a_fifth_stops_before_retraining():
    plan = plan_of(budget=0.2)
    retrain = by_name(plan)["retrain"]
    assert not retrain.planned
    assert "over the budget of 20%" in retrain.why
    assert retrain.share == 1.0
    assert plan.options[-1].planned is False, "what is not planned comes last"


@pytest.mark.parametrize(
    ("budget", "order"),
    [
        (0.1, ()),
        (FINETUNE, ("finetune",)),
        (0.2, ("finetune",)),
        (BOTH, ("finetune", "neg_grad_plus")),
        (0.99, ("finetune", "neg_grad_plus")),
        (1.0, ("finetune", "neg_grad_plus", "retrain")),
    ],
)
def test_approximations_share_the_budget_and_retraining_must_fit_alone(budget, order):
    assert plan_of(budget=budget).order == order


def test_without_a_trainer_retraining_is_impossible_and_says_why():
    plan = plan_of(toys.problem(trainer=None), passes=None, references=0)
    retrain = by_name(plan)["retrain"]
    assert not retrain.planned
    assert retrain.why == "retrain needs a trainer"
    assert (retrain.share, retrain.cost) == (None, Cost())
    assert plan.order == ("finetune", "neg_grad_plus")
    assert (plan.retraining, plan.audit_share, plan.whole) == (None, None, None)
    assert any("Without a trainer" in line for line in plan.advice)
    assert any("there is no trainer to retrain with" in line for line in plan.advice)
    assert not any("as shares of one retraining" in line for line in plan_of().advice)


def test_what_auto_chose_may_cost_all_that_tuning_leaves_whatever_it_costs_by_itself():
    """A search may find settings dearer than those it starts from; with it, all attempts stay within the budget."""
    named, tuned = ["finetune", "neg_grad_plus", "retrain"], ["finetune", "neg_grad_plus"]
    plan = plan_of(only=named, tuned=tuned, tuning=0.3, budget=1.0)
    shares = {option.method: (option.tuned, option.share) for option in plan.options}
    assert shares["finetune"] == shares["neg_grad_plus"] == (True, pytest.approx(0.7))
    assert shares["retrain"] == (False, 1.0)
    beside = plan_of(only=["retrain"], budget=1.0)
    attempts = 2 * AUDIT.share_of(RETRAINING)
    assert plan.whole == pytest.approx(beside.whole + 1.0 + attempts), "the budget, once, and an audit of each"


def test_unknown_passes_leave_shares_unknown():
    plan = plan_of(toys.problem(trainer=lambda records, *, seed: None), passes=None)
    assert {option.share for option in plan.options} == {None}
    assert plan.order == ("finetune", "neg_grad_plus", "retrain"), "what is not known is not over the budget"
    assert plan.whole is None
    assert any("erase measures it first" in line for line in plan.advice)
    assert by_name(plan)["finetune"].cost == Cost(trained=240, read=48)


def test_a_trainer_that_was_measured_is_believed():
    plan = plan_of(toys.problem(trainer=lambda records, *, seed: None), passes=7.0, budget=1.0)
    assert by_name(plan)["retrain"].cost == Cost(trained=7.0 * 48)
    assert by_name(plan)["retrain"].share == 1.0


def test_controls_are_run_only_by_name():
    controls = [name for name in registry.names("methods") if registry.load("methods", name).control]
    assert "noop" in controls
    assert not set(controls) & set(by_name(plan_of(budget=1.0)))
    assert plan_of(only=["noop"]).order == ("noop",)


def test_what_is_asked_for_is_tried_in_that_order_whatever_it_costs():
    plan = plan_of(only=["retrain", "noop", "finetune"], budget=0.01)
    assert plan.order == ("retrain", "noop", "finetune")
    assert {option.why for option in plan.options} == {"asked for by name"}


def test_what_is_impossible_is_not_planned_even_if_asked_for():
    plan = plan_of(toys.problem(trainer=None), passes=None, only=["retrain", "finetune"])
    assert plan.order == ("finetune",)


def test_settings_decide_costs_and_wrong_ones_are_refused():
    plan = plan_of(configs={"finetune": {"epochs": 1}})
    assert by_name(plan)["finetune"].cost == Cost(trained=48, read=16)
    with pytest.raises(UsageError):
        plan_of(configs={"finetune": {"epoch": 1}})
    with pytest.raises(UnknownName, match="finetune"):
        plan_of(only=["fine_tune"])


def test_the_whole_course_counts_references_and_audits():
    plan = plan_of(budget=BOTH)
    # Two attempts; six references; an audit for each attempt, for the original and for every reference.
    assert plan.whole == pytest.approx(BOTH + 6 + 0.1 * (2 + 1 + 6))
    assert plan.audit_share == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("settings", "share"),
    [({}, 0.5), ({"references": 0, "choosing_references": 0}, 0.0), ({"given": 6, "only": ["retrain"]}, 0.5)],
)
def test_checking_the_trainer_is_counted_where_it_is_used(settings, share):
    plain = plan_of(**settings)
    checked = plan_of(**settings, checking=Cost(trained=0.5 * plain.retraining.trained))
    assert checked.whole - plain.whole == pytest.approx(share)


def test_where_one_retraining_is_cheaper_that_is_said():
    dear = plan_of(budget=0.3)
    assert any(f"{dear.whole:.1f} retrainings" in line and "--method retrain" in line for line in dear.advice)
    lacking = {"forget_accuracy": "retrained references"}
    cheap = plan_of(budget=0.3, references=0, choosing_references=0, missing=lacking)
    assert cheap.whole < 1
    assert not any("retrainings" in line for line in cheap.advice)
    assert any("Without references" in line for line in cheap.advice)


def test_where_retraining_is_impossible_it_is_not_advised():
    plan = plan_of(toys.problem(trainer=None), passes=None, references=0)
    assert not any("--method" in line for line in plan.advice)


def test_evidence_that_will_be_missing_is_said_before_work():
    missing = {"loss_membership": "holdout records", "holdout_accuracy": "holdout records"}
    (line,) = [line for line in plan_of(missing=missing).advice if "inconclusive" in line]
    assert "loss_membership, holdout_accuracy" in line
    assert line.count("holdout records") == 1


def test_planning_reads_no_record_and_trains_nothing():
    problem = toys.problem()
    plan_of(problem, budget=1.0)
    assert not problem.records.seen


def test_a_plan_is_plain_data():
    assert plain(plan_of())["options"][0]["method"] == "finetune"
    assert all(option.why and option.title for option in plan_of().options)


def test_retrained_models_that_are_all_one_are_said_and_not_planned():
    missing = {"forget_accuracy": EvidenceKind.REFERENCES.value}
    plan = plan_of(references=0, choosing_references=0, missing=missing, alike=True)
    assert any("one model whatever the seed" in line for line in plan.advice)
    assert not any("one model" in line for line in plan_of(references=0, missing=missing).advice)


def test_a_guarantee_may_depend_on_the_problem(monkeypatch):
    finetune = registry.load("methods", "finetune")
    monkeypatch.setattr(finetune, "guarantee_on", lambda self, problem: Level.BITWISE)
    plan = plan_of(budget=1.0)
    assert by_name(plan)["finetune"].guarantee is Level.BITWISE
    assert plan.order == ("neg_grad_plus", "finetune", "retrain")


def alone(calibration, **more):
    train = toys.records(12)
    return Problem(model=toys.network(), train=train, forget=train.ids, calibration=calibration, **more)


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ("copies", "calibration records are copies of forgotten ones"),
        ("labels", "labels outside the classes of the model"),
        ("inputs", "inputs are NaN or infinite"),
    ],
)
def test_calibration_records_are_looked_at_like_any_others(changed, what):
    """What stands for the retained records is trained on."""
    few = toys.records(20, prefix="c", seed=9)
    if changed == "copies":
        few = ArrayRecords(toys.records(12).x, toys.records(12).y, ids=[f"c{i}" for i in range(12)])
    elif changed == "labels":
        few.y[3] = 50
    else:
        few.x[3] = float("nan")
    found = [each for each in alone(few).validate() if each.fatal]
    assert [each.what for each in found] == [what]
    assert "calibration" in found[0].where


def test_counter_examples_are_looked_at_like_any_others():
    more = toys.records(20, prefix="m", seed=9)
    more.y[4] = 9
    (found,) = [each for each in toys.problem(counterexamples=more).validate() if each.fatal]
    assert (found.what, found.where) == (
        "labels outside the classes of the model",
        "counter-examples, first at position 4",
    )


def test_with_calibration_records_the_plan_says_what_is_lost():
    whole = toys.problem(count=60, forget=12)
    problem = Problem(
        model=whole.model,
        train=whole.forget_view,
        forget=whole.forget_ids,
        holdout=whole.held_out,
        calibration=toys.records(20, prefix="c", seed=9),
    )
    plan = plan_of(problem, passes=None, references=0)
    assert "20 calibration records stand for them" in " ".join(plan.advice)
    assert by_name(plan)["finetune"].planned
    assert by_name(plan)["finetune"].cost.trained == 5 * 20
    assert not by_name(plan)["retrain"].planned


def test_what_a_method_says_of_its_work_is_heard_where_it_may_be_tried(monkeypatch):
    kind = registry.load("methods", "finetune")
    monkeypatch.setattr(kind, "advice", lambda self, problem: ("mind the step",))
    said = f"{kind.title}: mind the step."
    assert said in plan_of().advice
    monkeypatch.setattr(kind, "unasked", False)
    assert said not in plan_of().advice
    assert said in plan_of(only=["finetune"]).advice
