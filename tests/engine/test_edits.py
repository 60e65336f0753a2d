import pytest
import torch
from sklearn.naive_bayes import GaussianNB

from expunge.core.errors import Diverged
from expunge.core.level import Level
from expunge.core.method import Cost
from expunge.engine.edits import Edit, Edited
from tests.support import toys


class Scaling(Edit):
    """Reads four records, multiplies every parameter by a number, and counts one visit to each forgotten record."""

    title, source, guarantee = "Toy", "written for this test", Level.AUDITED
    factor = 2.0

    def work(self, problem):
        return Cost(trained=len(problem.forget_view))

    def edit(self, model, problem, run):
        run.spent += Cost(trained=len(problem.forget_view))
        with torch.no_grad():
            for p in model.parameters():
                p.mul_(self.factor).add_(1e-3 * torch.rand(()))
        return Edited("scaled", ("a warning",))


class Still(Scaling):
    def edit(self, model, problem, run):
        return Edited("looked")


def scaling(factor):
    return type("Other", (Scaling,), {"factor": factor})()


def test_it_changes_a_copy_counts_the_work_and_hands_on_what_was_said():
    problem = toys.problem(build=toys.Noisy)
    original = problem.source.open()
    outcome = Scaling().unlearn(problem, toys.context(problem))
    for mine, theirs in zip(outcome.model.parameters(), original.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs * 2, atol=1.1e-3, rtol=0)
    assert toys.same(problem.source.open(), original)
    assert (outcome.touched, outcome.stopped) == (1.0, "scaled")
    assert outcome.warnings[0] == "a warning"
    # Eight held-out records are looked at twice, and the four forgotten ones of the choosing part once.
    assert Scaling().cost(problem) == outcome.cost == Cost(trained=12, read=8 * 2 + 4)


def test_what_is_random_follows_the_seed_alone():
    problem = toys.problem()
    one, again, other = (Scaling().unlearn(problem, toys.context(problem, seed=s)).model for s in (1, 1, 2))
    assert toys.same(one, again)
    assert not toys.same(one, other)


def test_nothing_to_forget_is_nothing_to_do():
    problem = toys.problem(forget=0)
    outcome = Scaling().unlearn(problem, toys.context(problem))
    assert toys.same(outcome.model, problem.source.open())
    assert (outcome.cost, outcome.stopped) == (Cost(), "nothing to forget")


def test_an_edit_that_changes_nothing_says_so():
    problem = toys.problem(trainer=None)
    outcome = Still().unlearn(problem, toys.context(problem))
    assert outcome.touched == 0
    assert outcome.warnings == ("no parameter changed: the method had no effect",)


def test_weights_that_are_no_numbers_are_no_result():
    problem = toys.problem()
    with pytest.raises(Diverged, match="a weight is NaN"):
        scaling(float("nan")).unlearn(problem, toys.context(problem))


def test_a_ruined_model_is_no_result_and_the_advice_fits_a_method_without_epochs():
    trained = toys.TRAINER(toys.records(60), seed=1)
    problem = toys.problem(model=trained, holdout=150)
    with pytest.raises(Diverged, match="collapsed") as error:
        scaling(0.0).unlearn(problem, toys.context(problem))
    assert error.value.obstacles[0].where == "after the change"
    assert error.value.obstacles[0].fix == "choose milder settings; the original is untouched"


def test_a_model_without_gradients_is_refused_before_any_work():
    train = toys.records(60)
    problem = toys.problem(train=train, model=GaussianNB().fit(train.x.numpy(), train.y.numpy()))
    assert [each.found for each in Scaling().obstacles(problem)] == ["no network"]
